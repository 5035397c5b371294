//! Taking away what was made of a VM.
//!
//! What has to be undone is the list of [`Intent`]s in the VM's record: each was written to the
//! database before its thing was made. So a boot that fails, a deletion and a daemon that finds
//! the leavings of one that was killed all undo by the same list. Every undoing is idempotent
//! (the thing may never have been made), and one that fails does not keep the others back.

use std::sync::Arc;

use banger_proto::{Code, Problem, VmId};

use super::files;
use super::state::{Intent, VmRecord};
use crate::engine::Host;
use crate::hypervisor::{Found, RunningVm};
use crate::step::{Step, Walk};

/// Undoes every intent of the record, last made first. What was undone is struck from the
/// record; what failed stays in it and is told.
pub(crate) async fn undo_all(
    host: &Host,
    record: &mut VmRecord,
    vmm: &mut Option<Arc<dyn RunningVm>>,
    walk: &Walk,
) -> Result<(), Problem> {
    let mut failures = Vec::new();
    let mut left = Vec::new();
    while let Some(intent) = record.intents.pop() {
        let undone = match intent {
            Intent::Vmm => remove_vmm(host, record.id(), vmm, walk).await,
            Intent::Disk => remove_disk(host, record.id(), walk).await,
        };
        if let Err(problem) = undone {
            left.insert(0, intent);
            failures.push(problem);
        }
    }
    record.intents = left;
    let mut failures = failures.into_iter();
    let Some(mut first) = failures.next() else { return Ok(()) };
    // One answer tells all of them: the later ones as further causes.
    for later in failures {
        first.causes.push(format!("also: {}", later.message));
        first.causes.extend(later.causes);
    }
    Err(first)
}

/// Ends the VMM if it runs and removes what it left, its place on the network included.
pub(crate) async fn remove_vmm(
    host: &Host,
    vm: &VmId,
    vmm: &mut Option<Arc<dyn RunningVm>>,
    walk: &Walk,
) -> Result<(), Problem> {
    walk.enter(Step::EndVmm).await;
    let failed = |what: &str| Problem::new(Code::OperationFailed, format!("{what} of VM `{vm}`"));
    if vmm.is_none() {
        let found = host.hypervisor.adopt(vm).await;
        match found.map_err(|error| failed("cannot look for the VMM").because(&error))? {
            Found::Alive(alive) => *vmm = Some(alive),
            Found::Ended(_) | Found::Untold(_) | Found::Gone => {}
        }
    }
    if let Some(running) = vmm.as_ref() {
        running.kill().await.map_err(|error| failed("cannot end the VMM").because(&error))?;
        *vmm = None;
    }
    walk.enter(Step::Unplug).await;
    host.network
        .detach(vm)
        .await
        .map_err(|error| failed("cannot take away the network").because(&error))?;
    walk.enter(Step::CleanUp).await;
    host.hypervisor
        .clean(vm)
        .await
        .map_err(|error| failed("cannot clean the runtime directory").because(&error))?;
    let dir = host.paths.vm_runtime_dir(vm);
    files::remove_dir_if_empty(&dir)
        .map_err(|error| failed("cannot remove the runtime directory").because(&error))
}

/// Removes the state directory with everything of banger's in it.
pub(crate) async fn remove_disk(host: &Host, vm: &VmId, walk: &Walk) -> Result<(), Problem> {
    walk.enter(Step::RemoveDisk).await;
    host.network.forget(vm).await;
    let (paths, id) = (host.paths.clone(), vm.clone());
    let ssh = host.ssh.clone();
    let removed = tokio::task::spawn_blocking(move || {
        // Whoever gets the name next must not be taken for this one; so the key is not, either,
        // while its files cannot be removed.
        let forgotten = ssh.forget(&id).map_err(std::io::Error::other);
        files::remove_state_dir(&paths, &id).and(forgotten)
    });
    let removed = removed.await.unwrap_or_else(|gone| Err(std::io::Error::other(gone)));
    removed.map_err(|error| {
        Problem::new(Code::OperationFailed, format!("cannot remove the files of VM `{vm}`"))
            .because(&error)
    })
}
