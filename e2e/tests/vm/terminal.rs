//! A person at a terminal.

use banger_e2e::{Home, Terminal};

#[test]
fn an_interactive_session_is_a_real_terminal() {
    let home = Home::new();
    let vm = home.create("desk", &[]);
    let mut terminal = Terminal::start(&home.banger_command(["vm", "exec", "-it", &vm]), 30, 100);

    terminal.expect("# ");
    terminal.type_text("stty size; echo $TERM; tty\r");
    terminal.expect("30 100");
    terminal.expect("xterm");
    terminal.expect("/dev/pts/");

    terminal.resize(41, 97);
    terminal.type_text("stty size\r");
    terminal.expect("41 97");

    // Ctrl-C reaches the guest's command and not the session.
    // The shell echoes what is typed before it runs it: what the command prints itself says that it
    // runs.
    terminal.type_text("sh -c 'echo be$((0))gun; exec sleep 1000'\r");
    terminal.expect("be0gun");
    terminal.type_text("\x03");
    terminal.expect("# ");
    terminal.type_text("echo still-$((40+2))\r");
    terminal.expect("still-42");

    terminal.type_text("exit 5\r");
    let (status, rest) = terminal.finish();
    assert_eq!(status.code(), Some(5), "{rest}");
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn a_bare_run_opens_a_shell_and_says_how_to_go_on() {
    let home = Home::new();
    let run = home.banger_command(["vm", "run", "--name", "bare"]);
    let mut terminal = Terminal::start(&run, 30, 120);
    terminal.expect("spec: ");
    terminal.expect("ready in ");
    terminal.expect("# ");
    terminal.type_text("echo in-$(hostname)\r");
    terminal.expect("in-bare");
    terminal.type_text("exit\r");
    terminal.expect("bare");
    terminal.expect("banger vm stop bare");
    let (status, _) = terminal.finish();
    assert_eq!(status.code(), Some(0));
    home.banger(["vm", "delete", "bare"]).expect_code(0);
    home.expect_nothing_left();
}
