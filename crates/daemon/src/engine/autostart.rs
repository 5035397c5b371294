//! VMs that start with the host.
//!
//! Which boot of the host was met last is noted in the state directory. A daemon that finds another one
//! starts the VMs that are to start; daemons after it, until the next boot, start none.

use std::io;
use std::path::Path;

use banger_proto::api::{Event, WaitFor};

use super::Engine;
use crate::private;
use crate::vm::boot::Order;
use crate::vm::desk::Ask;
use crate::vm::state::{VmRecord, VmState};

/// The boot of the host that was met last, in the state directory.
const NOTED: &str = "boot-id";
/// Where the kernel tells the present one.
const PRESENT: &str = "/proc/sys/kernel/random/boot_id";

impl Engine {
    /// Starts the VMs that start with the host, if no daemon has done that since the host did. Returns
    /// when they are asked to; one that fails keeps why, as after any start.
    pub(crate) async fn autostart(&self) {
        let noted = self.inner.host.paths.state_dir.join(NOTED);
        let present = match fs_err::read_to_string(PRESENT) {
            Ok(present) => present,
            Err(error) => {
                tracing::warn!(%error, "cannot tell when the host has started: no VM starts with it");
                return;
            }
        };
        if fs_err::read_to_string(&noted).is_ok_and(|noted| noted == present) {
            return;
        }
        for handle in self.inner.registry.handles() {
            let VmRecord { plan, state, .. } = handle.shown.borrow().record.clone();
            let down = matches!(state, VmState::Stopped { .. } | VmState::Error { .. });
            if !(plan.autostart && down) {
                continue;
            }
            tracing::info!(vm = %plan.name, "starts with the host");
            let (order, mut work) = self.order_for_good(WaitFor::Agent);
            handle.ask(Ask::Start(Order { unattended: true, ..order })).await;
            self.inner.drivers.spawn(async move {
                while let Some(event) = work.next().await {
                    if let Event::Failed { problem } = event {
                        tracing::warn!(vm = %plan.name, %problem, causes = ?problem.causes, "did not start with the host");
                    }
                }
            });
        }
        // Last: a daemon that is killed before has the next one do it again.
        if let Err(error) = note(&noted, &present) {
            tracing::warn!(%error, "cannot note that the host has started: the next daemon starts VMs again");
        }
    }
}

fn note(path: &Path, boot: &str) -> io::Result<()> {
    private::ensure_file(path)?;
    fs_err::write(path, boot)
}
