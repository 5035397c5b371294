//! Booting VMs that are there: what `start` and `restart` share.

use banger_proto::api::{Event, VmView};
use serde::Serialize;

use super::several::{Several, SeveralArgs};
use crate::client::Client;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::reference::vm_path;

/// A verb that ends with VMs that run.
#[derive(Debug)]
pub(super) struct Boot<R> {
    /// Its call, what comes after the VM in the path.
    pub(super) call: &'static str,
    /// Body of the call.
    pub(super) request: R,
    /// What is shown while it is done to several VMs.
    pub(super) doing: &'static str,
    /// What is said when a signal ends the command.
    pub(super) interrupted: &'static str,
}

impl<R: Serialize + Clone> Boot<R> {
    /// Does it. A single VM shows its stages, as `vm run` does; those of several at once would say
    /// little.
    pub(super) async fn run(self, context: &Context, args: SeveralArgs) -> Outcome {
        let (mut several, targets) = Several::find(context, args).await?;
        if let [Ok(vm)] = &targets[..] {
            let path = vm_path(&vm.id, self.call);
            let events = several.client.events(&path, &self.request);
            let mut events = several.signals.race_or(self.interrupted, events).await?;
            let Several { progress, signals, .. } = &mut several;
            let last = progress.follow_or(self.interrupted, &mut events, signals).await?;
            return several.tell(vec![Ok(vm_of(last, vm))]);
        }
        let act = |client, vm| boot_one(client, vm, self.call, self.request.clone());
        several.each(targets, self.doing, act).await
    }
}

/// Boots one VM and waits until it is ready.
pub(in crate::cmd) async fn boot_one(
    client: Client,
    vm: VmView,
    call: &str,
    request: impl Serialize,
) -> Result<VmView, CliError> {
    let mut events = client.events(&vm_path(&vm.id, call), &request).await?;
    loop {
        match events.next().await? {
            last @ Event::VmReady { .. } => return Ok(vm_of(last, &vm)),
            Event::Failed { problem } => {
                return Err(CliError::from(problem).of_operation(events.op_id()));
            }
            _ => {}
        }
    }
}

/// The VM that a last event tells; as it was before, if it tells none.
fn vm_of(last: Event, before: &VmView) -> VmView {
    match last {
        Event::VmReady { vm, .. } => *vm,
        _ => before.clone(),
    }
}
