//! For tests: a network namespace of one's own.

use std::process::Command;

/// Names the test to itself when it runs in the namespaces that it made.
const INSIDE: &str = "BANGER_TEST_IN_NAMESPACE";

/// Runs `test`, which is the test called `name`, in a network that is its alone. A process has to
/// be alone to make a user namespace, so the test's program runs itself again.
pub(super) fn alone(name: &str, test: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        // Shows the interfaces of this namespace.
        run("mount", "-t sysfs sysfs /sys");
        return test();
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// What a program says that succeeds. `words` are its arguments, with one space between them.
pub(super) fn run(program: &str, words: &str) -> String {
    let output = Command::new(program).args(words.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
