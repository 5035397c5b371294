//! Snapshots of the VM, and the VM that copies are made of.

use banger_e2e::{Changes, files};

use super::super::operation::{NEW, OLD, Operation, VM, make};
use super::Bench;

/// What is in the names of what is being written.
const TAKING: &str = "/.taking-";

impl Bench {
    /// Waits until no snapshot is being taken: whoever goes on without its command is done some time, and
    /// nothing is left of what was killed.
    pub(super) fn expect_nothing_written(&self) {
        let mut changes = Changes::below(&[self.home.state_dir()]);
        changes.wait_until("nothing is being written", |_| {
            !files(&self.home.state_dir()).iter().any(|path| path.contains(TAKING))
        });
    }

    /// Asserts that the VM's snapshots are of use, those of before and the new one, if it was kept.
    pub(super) fn expect_saved(&self) {
        if !self.operation.has_snapshots() && self.operation != Operation::Fork {
            return;
        }
        let mut names = self.snapshots();
        match self.operation {
            Operation::Snapshot => {
                assert_eq!(names[0], OLD);
                let newest = names.pop().expect("a snapshot");
                self.home.banger(["snapshot", "restore", "-f", VM, &newest]).expect_code(0);
                let marker = self.home.exec(VM, &["cat", "/root/marker"]).expect_code(0);
                assert_eq!(marker.stdout, "kept\n");
            }
            // The command that is done again goes back to it.
            Operation::Restore => assert_eq!(names, [OLD]),
            _ => assert_eq!(names, [""; 0]),
        }
    }

    /// Makes sure that there is the old snapshot, and no new one.
    pub(super) fn prepare_snapshots(&self) {
        let names = self.snapshots();
        if !names.iter().any(|name| name == OLD) {
            self.home.banger(["snapshot", "create", VM, OLD]).expect_code(0);
        }
        if names.iter().any(|name| name == NEW) {
            self.home.banger(["snapshot", "delete", VM, NEW]).expect_code(0);
        }
    }

    /// Makes sure that there is a VM to be copied, and that it runs.
    pub(super) fn prepare_parent(&self) {
        if !self.home.list().iter().any(|vm| vm["name"] == VM) {
            make(&self.home, self.guest);
        }
        self.home.banger(["vm", "start", VM]).expect_code(0);
        let marker = self.home.exec(VM, &["cat", "/root/marker"]).expect_code(0);
        assert_eq!(marker.stdout, "kept\n");
    }

    /// The names of all snapshots, the oldest first.
    fn snapshots(&self) -> Vec<String> {
        let listed = self.home.banger(["snapshot", "list", "--json"]).expect_code(0).json();
        let snapshots = listed["snapshots"].as_array().expect("snapshots");
        let name = |snapshot: &serde_json::Value| snapshot["name"].as_str().map(str::to_owned);
        snapshots.iter().filter_map(name).collect()
    }
}
