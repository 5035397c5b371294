//! Making records and reality agree when the daemon starts.
//!
//! For every recorded VM the supervisor is asked; [`judge`] says what follows, and the intents
//! in the record say what there may be to take away. Directories without a record are told.

use std::collections::BTreeSet;
use std::sync::Arc;

use banger_proto::api::{ChangeCause, EndReason};
use banger_proto::{Code, Problem, VmId};
use futures_util::future::join_all;

use super::state::{Cause, Intent, VmRecord, VmState, ended_by};
use super::{files, orphans, undo};
use crate::engine::Host;
use crate::hypervisor::{Found, HypervisorError, RunningVm};
use crate::snapshot::Shelf;
use crate::step::{Operation, Step};
use crate::store::Store;

/// What becomes of a recorded VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It runs and goes on running, or goes on with its stop.
    Adopt,
    /// It is down; what its VMM left is removed.
    Down,
    /// It was never finished, or nobody wants it any more: removed.
    Remove,
}

/// Pure: what follows from the record and whether its VMM lives.
fn judge(record: &VmRecord, alive: bool) -> Verdict {
    let finished_once = record.started_at.is_some();
    match &record.state {
        // The client of an unfinished creation, and that of an ephemeral VM, went with the
        // daemon.
        VmState::Created | VmState::Preparing | VmState::Booting if !finished_once => {
            Verdict::Remove
        }
        _ if record.ephemeral => Verdict::Remove,
        // Its guest was asked to power off, or is going to be: what it has not written yet is
        // not lost for it.
        VmState::Running { .. } | VmState::Paused { .. } | VmState::Stopping if alive => {
            Verdict::Adopt
        }
        _ => Verdict::Down,
    }
}

/// Pure: whether by its record a VM has no VMM and is what it shall be.
fn is_at_rest(record: &VmRecord) -> bool {
    let down = matches!(record.state, VmState::Stopped { .. } | VmState::Error { .. });
    down && !record.ephemeral && !record.intents.contains(&Intent::Vmm)
}

/// A VM that is there after recovery.
pub(crate) struct Recovered {
    /// Its record, in state `Running`, `Paused`, `Stopping`, `Stopped` or `Error`.
    pub(crate) record: VmRecord,
    /// Its VMM, in state `Running`, `Paused` or `Stopping`.
    pub(crate) vmm: Option<Arc<dyn RunningVm>>,
    /// Whether its guest stood still until now, or somebody was killed who had it go on.
    pub(crate) stood_still: bool,
}

impl Recovered {
    fn at_rest(record: VmRecord) -> Self {
        Self { record, vmm: None, stood_still: false }
    }
}

/// Brings every VM to rest and tells what belongs to none.
///
/// # Errors
/// When the records cannot be loaded. What fails for one VM puts that one into state `error`.
pub(crate) async fn recover(
    host: &Arc<Host>,
    store: &Store,
) -> Result<Vec<Recovered>, crate::store::StoreError> {
    let records = store.load_vms().await?;
    let known: BTreeSet<VmId> = records.iter().map(|record| record.id().clone()).collect();
    end_probes(host, &known).await;
    remove_scratch(host, known.clone()).await;
    let recovered = join_all(records.into_iter().map(|record| recover_one(host, store, record)));
    let recovered = recovered.await.into_iter().flatten().collect();
    tell_orphans(host, &known);
    Ok(recovered)
}

/// Ends the VMMs that tried snapshots when the daemon was killed.
async fn end_probes(host: &Arc<Host>, vms: &BTreeSet<VmId>) {
    for vm in vms {
        let probes = match Shelf::of(&host.paths, vm).probes() {
            Ok(probes) => probes,
            Err(error) => {
                tracing::warn!(%vm, %error, "cannot look for what tried its snapshots");
                continue;
            }
        };
        for probe in probes {
            let walk = host.followers.walk(&probe, Operation::Recover);
            if let Err(problem) = undo::remove_vmm(host, &probe, &mut None, &walk).await {
                tracing::warn!(%probe, %problem, causes = ?problem.causes, "VMM not removed");
            }
        }
    }
}

/// Removes what requests that were killed left behind. That is not worth failing for.
async fn remove_scratch(host: &Arc<Host>, vms: BTreeSet<VmId>) {
    let paths = host.paths.clone();
    let removing = tokio::task::spawn_blocking(move || {
        for vm in vms {
            if let Err(error) = files::remove_scratch(&paths, &vm) {
                tracing::warn!(%vm, %error, "cannot remove what a killed request left");
            }
        }
    });
    if removing.await.is_err() {
        tracing::error!("removing what killed requests left panicked");
    }
}

async fn recover_one(host: &Arc<Host>, store: &Store, mut record: VmRecord) -> Option<Recovered> {
    // Most VMs, and each write to the database waits for the disk: a start has no time for that.
    if is_at_rest(&record) && !host.paths.vm_runtime_dir(record.id()).exists() {
        return Some(Recovered::at_rest(record));
    }
    let name = record.plan.name.clone();
    let walk = host.followers.walk(&name, Operation::Recover);
    let looked = if record.intents.contains(&Intent::Vmm) {
        host.hypervisor.adopt(record.id()).await
    } else {
        Ok(Found::Gone)
    };
    let (mut vmm, ended) = match looked {
        Ok(Found::Alive(vmm)) => (Some(vmm), EndReason::Killed),
        Ok(Found::Ended(exit)) => (None, ended_by(&exit)),
        Ok(Found::Untold(why)) => (None, EndReason::Untold(why)),
        Ok(Found::Gone) => (None, EndReason::Lost),
        Err(error) => {
            let message = format!("cannot tell what became of VM `{name}`");
            let problem = Problem::new(Code::OperationFailed, message).because(&error);
            return Some(in_error(store, record, problem).await);
        }
    };
    let verdict = judge(&record, vmm.is_some());
    tracing::info!(vm = %name, state = record.state.name().as_str(), ?verdict, ?ended, "recovering VM");
    let done = match verdict {
        Verdict::Adopt => {
            let agreed = agree_on_pause(&record.state, vmm.as_ref()).await;
            let (state, stood_still) = agreed.unwrap_or_else(|error| {
                tracing::warn!(vm = %name, %error, "a guest stands still that is to go on");
                (VmState::Paused { guest: None, idle: None }, false)
            });
            return Some(Recovered { record: VmRecord { state, ..record }, vmm, stood_still });
        }
        Verdict::Down => undo::remove_vmm(host, record.id(), &mut vmm, &walk).await,
        Verdict::Remove => match undo::undo_all(host, &mut record, &mut vmm, &walk).await {
            Ok(()) => {
                walk.enter(Step::Forget).await;
                match store.remove_vm(record.id().clone()).await {
                    Ok(()) => return None,
                    Err(error) => Err(error.into()),
                }
            }
            Err(problem) => Err(problem),
        },
    };
    if let Err(problem) = done {
        return Some(in_error(store, record, problem).await);
    }
    record.intents.retain(|intent| *intent != Intent::Vmm);
    if !matches!(record.state, VmState::Stopped { .. } | VmState::Error { .. }) {
        record.state = VmState::Stopped { ended };
        record.note_change(&Cause::noticed(ChangeCause::Recovery));
    }
    walk.enter(Step::Settle).await;
    save(store, &mut record).await;
    Some(Recovered::at_rest(record))
}

/// The state of a VM whose daemon was killed while it paused or resumed it, and whether its guest has to be
/// told what time it is: one that was not to stand still for long goes on.
async fn agree_on_pause(
    recorded: &VmState,
    vmm: Option<&Arc<dyn RunningVm>>,
) -> Result<(VmState, bool), HypervisorError> {
    let Some(vmm) = vmm else { return Ok((recorded.clone(), false)) };
    match recorded {
        VmState::Paused { .. } if !vmm.is_paused() => Ok((VmState::Running { guest: None }, true)),
        VmState::Running { .. } | VmState::Stopping if vmm.is_paused() => {
            vmm.resume().await?;
            Ok((recorded.clone(), true))
        }
        _ => Ok((recorded.clone(), false)),
    }
}

async fn in_error(store: &Store, mut record: VmRecord, problem: Problem) -> Recovered {
    tracing::error!(vm = %record.plan.name, %problem, causes = ?problem.causes, "VM not recovered");
    let name = &record.plan.name;
    let problem = problem.hint(format!("delete it: banger vm delete {name}"));
    record.ephemeral = false;
    record.state = VmState::Error { problem: Box::new(problem) };
    record.note_change(&Cause::noticed(ChangeCause::Recovery));
    save(store, &mut record).await;
    Recovered::at_rest(record)
}

async fn save(store: &Store, record: &mut VmRecord) {
    match store.update_vm(record.clone()).await {
        Ok(()) => record.changes.clear(),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(vm = %record.plan.name, error, "state not recorded");
        }
    }
}

/// Tells what belongs to no VM; see [`orphans`] why it is not removed.
fn tell_orphans(host: &Host, known: &BTreeSet<VmId>) {
    match orphans::observe_dirs(&host.paths) {
        Ok(seen) => {
            for dir in seen.unknown_to(known) {
                tracing::warn!(dir = %dir.display(), "no VM is recorded for this: banger system gc");
            }
        }
        Err(error) => tracing::warn!(%error, "cannot look for orphans"),
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::api::StateName;

    use super::*;
    use crate::vm::state::tests::record;

    #[test]
    fn what_becomes_of_each() {
        let stopped = || VmState::Stopped { ended: EndReason::Lost };
        let error = || VmState::Error { problem: Problem::new(Code::Timeout, "late").into() };
        let running = || VmState::Running { guest: None };
        let paused = || VmState::Paused { guest: None, idle: None };
        // State, whether it was ever ready, whether it is ephemeral, whether its VMM lives.
        let cases = [
            (VmState::Created, false, false, false, Verdict::Remove),
            (VmState::Preparing, false, false, false, Verdict::Remove),
            (VmState::Booting, false, false, true, Verdict::Remove),
            (VmState::Booting, true, false, true, Verdict::Down),
            (running(), true, false, true, Verdict::Adopt),
            (running(), true, false, false, Verdict::Down),
            (running(), true, true, true, Verdict::Remove),
            (paused(), true, false, true, Verdict::Adopt),
            (paused(), true, false, false, Verdict::Down),
            (paused(), true, true, true, Verdict::Remove),
            (VmState::Stopping, true, false, true, Verdict::Adopt),
            (VmState::Stopping, true, false, false, Verdict::Down),
            (VmState::Stopping, true, true, true, Verdict::Remove),
            (stopped(), true, false, false, Verdict::Down),
            (stopped(), true, true, false, Verdict::Remove),
            (error(), false, false, false, Verdict::Down),
        ];
        for (state, finished_once, ephemeral, alive, verdict) in cases {
            let mut record = record("web");
            record.state = state;
            record.ephemeral = ephemeral;
            record.started_at = finished_once.then_some(record.created_at);
            let name: StateName = record.state.name();
            assert_eq!(judge(&record, alive), verdict, "{name:?}");
        }
    }
}
