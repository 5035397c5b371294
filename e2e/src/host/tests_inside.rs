//! Tests of this crate that run in the host, as its user: there they find the banger that is installed.

use std::path::PathBuf;
use std::process::Command;

use super::{Host, USER};
use crate::shared::{self, CHECKOUT, CONFIG};

/// What stands in the place of a checkout there.
const PLACE: &str = "/srv/checkout";
/// Tests there.
const PROGRAM: &str = "/srv/checkout/test";

impl Host {
    /// Copies the program of the tests called `name` into the host, and what they need: a statically linked
    /// busybox, for images, and the kernel.
    ///
    /// # Panics
    /// When it cannot be built or copied.
    pub fn take_tests(&self, name: &str) {
        self.root(&format!(
            "mkdir -p {PLACE}/target/bin {PLACE}/target/e2e/data/banger/kernels {PLACE}/docs
             ln -sfn /usr/local/bin/banger {PLACE}/target/bin/banger
             cp -r /srv/kernel {PLACE}/target/e2e/data/banger/kernels/debian-bookworm-cloud
             rm -f /bin/busybox"
        ))
        .expect_code(0);
        self.copy(&built(name), PROGRAM);
        self.copy("/bin/busybox".as_ref(), "/bin/busybox");
        let page = "docs/reliability.md";
        self.copy(&shared::checkout().join(page), &format!("{PLACE}/{page}"));
        self.root(&format!("chown -R {USER} {PLACE}")).expect_code(0);
    }

    /// Runs one of these tests with `settings` as the configuration of every home, and these variables.
    ///
    /// # Panics
    /// When it fails.
    pub fn run_test(&self, test: &str, settings: &str, variables: &str) {
        let ran = self.user(&format!(
            "{CHECKOUT}={PLACE} {CONFIG}='{settings}' {variables} {PROGRAM} --exact {test} 2>&1"
        ));
        assert_eq!(ran.code(), 0, "{}", ran.stdout);
    }
}

/// The program of the tests called `name`, as cargo makes it.
fn built(name: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["test", "-q", "--workspace", "--test", name, "--no-run"])
        .args(["--message-format", "json"])
        .current_dir(shared::checkout())
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut programs = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| {
        let told: serde_json::Value = serde_json::from_slice(line).ok()?;
        told["executable"].as_str().map(PathBuf::from)
    });
    programs.next_back().expect("a program")
}
