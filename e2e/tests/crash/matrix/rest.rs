//! What must hold when all is quiet again.

use banger_e2e::{Changes, files};
use serde_json::json;

use super::super::network;
use super::super::operation::{Rest, VM};
use super::super::victim::Victim;
use super::Bench;

impl Bench {
    /// Asserts that a VM that runs has its network, if `victim` is of that.
    pub(super) fn expect_network(&self, victim: Victim, rest: Rest) {
        if victim.is_of_network() && rest == Rest::Running {
            network::expect_reaches_host(&self.home, self.operation.vm());
        }
    }

    /// Asserts that the guest has the disk that it was given last.
    pub(super) fn expect_disk(&self) {
        let df = self.home.exec(VM, &["df", "-m", "/"]).expect_code(0).stdout;
        let mib: u32 =
            df.split_whitespace().filter_map(|word| word.parse().ok()).next().expect("MiB");
        // The file system keeps some of it for itself.
        let range = self.mib.get() * 8 / 10..=self.mib.get();
        assert!(range.contains(&mib), "{mib} MiB instead of {range:?}: {df}");
    }

    /// Waits until the VM rests as it should, and asserts that nothing is there that a VM in
    /// that state does not have.
    pub(super) fn expect_rest(&self, rest: Rest) {
        let wanted = (rest != Rest::Absent).then(|| rest.as_str());
        let mut state = None;
        let mut changes = Changes::below(&[self.home.state_dir(), self.home.runtime_dir()]);
        changes.wait_until(&format!("the VM is {}", rest.as_str()), |_| {
            state = self.state();
            state.as_deref() == wanted
        });
        self.expect_nothing_written();
        let gc = self.home.banger(["system", "gc", "--dry-run", "--json"]).expect_code(0).json();
        assert_eq!(gc["leftovers"], json!([]), "left behind");
        let id = self.id.borrow().clone();
        let Some(id) = id else { return };
        let of_vm = |found: Vec<String>| -> Vec<String> {
            found.into_iter().filter(|line| line.contains(&id)).collect()
        };
        let processes = of_vm(self.home.processes());
        // The supervisor, the VMM, and the helper that is process 1 of its jail.
        let expected = if rest.is_up() { 3 } else { 0 };
        assert_eq!(processes.len(), expected, "processes: {processes:#?}");
        let runtime = of_vm(files(&self.home.runtime_dir()));
        assert_eq!(!runtime.is_empty(), rest.is_up(), "runtime files: {runtime:#?}");
        let has_tap = network::has_tap(&self.home, &id);
        assert_eq!(has_tap, rest.is_up(), "its tap");
        let state = of_vm(files(&self.home.state_dir()));
        assert_eq!(!state.is_empty(), rest != Rest::Absent, "state files: {state:#?}");
    }
}
