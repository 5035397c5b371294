//! Images boot to a command; what is not here is pulled.

use banger_e2e::{Home, Registry, Sample, oci};

/// Runs `argv` in a VM of `sample`, which nobody has pulled before, and returns what it printed.
#[track_caller]
fn run(sample: Sample, argv: &[&str]) -> String {
    let registry = Registry::start(&oci::ensure_storage(&[sample]));
    let home = Home::apart().with_kernel();
    let reference = registry.reference(sample.name());
    let run = ["vm", "run", "--rm", "--image", &reference, "--"];
    let ran = home.banger([&run[..], argv].concat()).expect_code(0);
    home.expect_nothing_left();
    ran.stdout
}

#[test]
fn a_few_programs() {
    let printed = run(Sample::Busybox, &["sh", "-c", "pwd; id -un; cat greeting; echo $GREETING"]);
    assert_eq!(printed, "/srv/app\nada\nhello\nhello world\n");
}

#[test]
fn debian() {
    let printed = run(Sample::Debian, &["sh", "-c", ". /etc/os-release; echo $ID; dpkg -s dpkg"]);
    assert!(printed.starts_with("debian\n"), "{printed}");
    assert!(printed.contains("Status: install ok installed"), "{printed}");
}

#[test]
fn one_program_alone() {
    assert_eq!(run(Sample::Distroless, &["/app/hello", "0"]), "hello from 65532:65532 in /app 0\n");
}

#[test]
fn a_hundred_thousand_files() {
    let printed = run(Sample::Many, &["sh", "-c", "find /files -type f | wc -l"]);
    assert_eq!(printed.trim(), "100000");
}

#[test]
fn everything_a_layer_can_hold() {
    let script = "cat /names/latin1-k*se; ls -l /special/null; cat /changes/alias/through";
    let printed = run(Sample::Odd, &["sh", "-c", script]);
    assert!(printed.contains("crw-rw-rw-"), "{printed}");
    assert!(printed.ends_with("through a link"), "{printed}");
}
