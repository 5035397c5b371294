//! Commands inside: exit codes, streams, environment.

use banger_e2e::Home;
use sha2::{Digest, Sha256};

#[test]
fn a_bare_command_prints_and_leaves_nothing() {
    let home = Home::new();
    let ran = home.banger(["vm", "run", "--rm", "--", "echo", "hi"]).expect_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("hi\n", ""));
    home.expect_nothing_left();
}

#[test]
fn input_passes_through_and_the_exit_code_is_the_commands() {
    let home = Home::new();
    let ran = home.banger_with_input(["vm", "run", "--rm", "--", "cat"], b"hi\n").expect_code(0);
    assert_eq!(ran.stdout, "hi\n");
    home.banger(["vm", "run", "--rm", "--", "sh", "-c", "exit 7"]).expect_code(7);
    home.expect_nothing_left();
}

#[test]
fn commands_in_one_vm() {
    let home = Home::new();
    let vm = home.create("worker", &["--env", "FROM_VM=1"]);

    home.exec(&vm, &["true"]).expect_code(0);
    home.exec(&vm, &["sh", "-c", "exit 7"]).expect_code(7);
    home.exec(&vm, &["no-such-command"]).expect_code(127).expect_stderr(&["no-such-command"]);
    home.exec(&vm, &["/etc/passwd"]).expect_code(126);
    home.exec(&vm, &["sh", "-c", "kill -KILL $$"]).expect_code(137);
    home.exec(&vm, &["sh", "-c", "kill -TERM $$"]).expect_code(143);

    let both = home.exec(&vm, &["sh", "-c", "echo out; echo err >&2"]).expect_code(0);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));

    let environment = home
        .banger(
            ["vm", "exec", "--env", "FROM_EXEC=2", "--workdir", "/tmp", &vm, "--", "sh", "-c"]
                .iter()
                .copied()
                .chain(["echo $FROM_VM$FROM_EXEC $PWD $HOME $USER; hostname"]),
        )
        .expect_code(0);
    assert_eq!(environment.stdout, "12 /tmp /root root\nworker\n");

    let nobody = home.banger(["vm", "exec", "--user", "nobody", &vm, "--", "id", "-un"]);
    assert_eq!(nobody.expect_code(0).stdout, "nobody\n");

    ten_megabytes_of_input_arrive(&home, &vm);
    output_of_many_commands_stays_apart(&home, &vm);

    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

fn ten_megabytes_of_input_arrive(home: &Home, vm: &str) {
    let input: Vec<u8> =
        (0..10_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let expected: String =
        Sha256::digest(&input).iter().map(|byte| format!("{byte:02x}")).collect();
    let ran = home.banger_with_input(["vm", "exec", vm, "--", "sha256sum"], &input).expect_code(0);
    assert_eq!(ran.stdout, format!("{expected}  -\n"));
}

fn output_of_many_commands_stays_apart(home: &Home, vm: &str) {
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let script = format!("seq 1 2000 | sed s/^/{number}:/; exit {number}");
                let ran = home.exec(vm, &["sh", "-c", &script]).expect_code(number);
                let lines: Vec<&str> = ran.stdout.lines().collect();
                assert_eq!(lines.len(), 2000);
                assert!(lines.iter().all(|line| line.starts_with(&format!("{number}:"))));
            });
        }
    });
}
