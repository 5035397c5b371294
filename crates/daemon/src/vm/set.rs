//! Changing a VM that is there.
//!
//! ```text
//!  plan (pure) ─▶ recorded ─▶ larger disk: the file ─▶ the VMM ─▶ the guest's file system ─▶ recorded
//!                    └── all else waits for the next start, which works from the record ──┘
//! ```
//!
//! The record comes first and is the intent: whatever is killed after it is done by the next start of
//! the VM, or, for a disk that a running guest was to have, of the daemon ([`plan_rest`]). Every step
//! can be done again.

use banger_proto::api::SetVm;
use banger_proto::guest::GrowDiskRequest;
use banger_proto::{Code, Problem};
use tokio_util::sync::CancellationToken;

use std::time::Duration;

use super::boot::render::{WRITABLE_PLACE, WRITABLE_SERIAL};
use super::change::plan_change;
use super::owned::Vm;
use super::state::{Base, VmRecord};
use super::{files, program};
use crate::disk;
use crate::snapshot;
use crate::step::Step;

/// How long a guest may take to grow its file system, with hardware virtualisation. It writes some
/// blocks for every 128 MiB.
const GROWTH_DEADLINE: Duration = Duration::from_secs(60);

/// An image that a VM is to be given, with what belongs to it.
#[derive(Debug)]
pub(crate) struct NewImage {
    /// The image, and the kernel to boot it.
    pub(crate) base: Base,
    /// The kernel's name.
    pub(crate) kernel: String,
}

/// Changes the VM. When `cut`, or when the guest does not take part, a larger disk waits for the next
/// start like everything else.
///
/// # Errors
/// When the request is wrong or cannot be recorded: then nothing has changed. When a running guest
/// does not get its larger disk: all is recorded then.
pub(super) async fn set(
    vm: &mut Vm,
    asked: &SetVm,
    image: Option<Box<NewImage>>,
    cut: &CancellationToken,
) -> Result<(), Problem> {
    // What is changed is what the VM is going to be.
    snapshot::finish_restoring(vm).await?;
    let before = vm.record.clone();
    let mut after = before.clone();
    after.plan = plan_change(asked, &before.plan, &before.state)?;
    if let Some(image) = image {
        let NewImage { base, kernel } = *image;
        program::plan_service(&after.plan, &base.run)?;
        after.plan.kernel = kernel;
        // Until the guest has been started, its disk is that of the first of several.
        let last = before.base.as_ref().map(|base| base.path.clone());
        after.plan.previous = before.plan.previous.clone().or(last);
        after.base = Some(base);
    }
    vm.walk.enter(Step::Settle).await;
    vm.amend(after).await?;
    if let Some(nat) = asked.nat
        && let Err(error) = vm.host.network.set_nat(vm.record.id(), nat).await
    {
        vm.amend(before).await?;
        return Err(error.into());
    }
    if asked.disk_size.is_none() {
        return Ok(());
    }
    vm.walk.enter(Step::GrowFile).await;
    if let Err(problem) = grow_file(vm).await {
        // A host that has no files of that size will not have them at the next start either.
        vm.amend(before).await?;
        return Err(problem);
    }
    grow_guest(vm, cut).await
}

/// What an earlier daemon had recorded for a running guest and not done.
pub(super) fn plan_rest(record: &VmRecord) -> Option<SetVm> {
    let plan = &record.plan;
    let has = plan.in_force.as_ref().filter(|_| record.state.runs_commands())?.disk_size;
    (has < plan.disk_size).then(|| SetVm { disk_size: Some(plan.disk_size), ..SetVm::default() })
}

/// Makes the disk's file as large as planned; one that is, stays as it is.
pub(super) async fn grow_file(vm: &Vm) -> Result<(), Problem> {
    let path = files::disk(&vm.host.paths, vm.record.id());
    let size = vm.record.plan.disk_size;
    let grown = tokio::task::spawn_blocking(move || disk::ensure_size(&path, size)).await;
    let failed = |error: &(dyn std::error::Error + Sync)| {
        let message = format!("cannot grow the disk of VM `{}` to {size}", vm.name());
        Problem::new(Code::OperationFailed, message).because(error)
    };
    grown.map_err(|gone| failed(&gone))?.map(drop).map_err(|error| failed(&error))
}

/// Has a running guest use all of its disk.
async fn grow_guest(vm: &mut Vm, cut: &CancellationToken) -> Result<(), Problem> {
    let (Some(vmm), Some(guest)) = (vm.vmm.clone(), vm.guest()) else { return Ok(()) };
    if !vm.record.state.runs_commands() {
        // It gets what it has not got when it goes on.
        return Ok(());
    }
    vm.walk.enter(Step::GrowGuest).await;
    let size = vm.record.plan.disk_size;
    let failed = |problem: Problem| {
        let name = vm.name();
        problem
            .hint("the size is recorded and in force from the next start")
            .hint(format!("to try again: banger vm set --disk-size {size} {name}"))
    };
    let message = format!("VM `{}` runs on with the disk it had", vm.name());
    let slowness = vm.host.hypervisor.features().slowness;
    let work = async {
        let told = vmm.grow_disk(WRITABLE_PLACE, size).await;
        told.map_err(|error| Problem::new(Code::OperationFailed, &message).because(&error))?;
        let request = GrowDiskRequest { serial: WRITABLE_SERIAL.to_owned(), bytes: size.bytes() };
        let grown = guest.within(GROWTH_DEADLINE * slowness).grow_disk(&request).await;
        grown.map_err(|error| Problem::new(Code::OperationFailed, &message).because(&error))
    };
    tokio::select! {
        biased;
        grown = work => grown.map_err(failed)?,
        () = cut.cancelled() => {
            let problem = Problem::new(Code::Cancelled, &message);
            return Err(failed(problem.cause("something else was asked of the VM meanwhile")));
        }
    };
    if let Some(in_force) = &mut vm.record.plan.in_force {
        in_force.disk_size = size;
    }
    vm.settle(vm.record.state.clone()).await;
    Ok(())
}
