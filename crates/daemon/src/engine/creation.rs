//! From a request to a recorded VM with a driver.

use banger_proto::Code;
use banger_proto::Problem;
use banger_proto::api::{ChangeCause, CreateVm, Event};
use jiff::Timestamp;

use super::Engine;
use crate::step::{Operation, Step};
use crate::vm::boot::Order;
use crate::vm::bring_in;
use crate::vm::driver::Driver;
use crate::vm::plan::{Entropy, Inventory, image_name, plan_vm};
use crate::vm::state::{Cause, VmRecord, VmState};
use crate::vm::view::render_view;

impl Engine {
    /// Plans a VM, records it and so takes its name. Nothing is recorded of a request that is
    /// refused.
    pub(super) async fn plan_and_record(
        &self,
        asked: CreateVm,
        order: Order,
    ) -> Result<(Box<Driver>, Order), Problem> {
        let host = &self.inner.host;
        host.hypervisor
            .check()
            .map_err(|error| Problem::from_error(Code::OperationFailed, &error))?;
        if let Some(source) = &asked.workspace {
            bring_in::inspect(host, source).await?;
        }
        let image_kernel = host.images.kernel_of(image_name(&asked, &host.config)).await?;
        let entropy = gather_entropy()?;
        let naming = self.inner.naming.lock().await;
        let inventory =
            Inventory { names: self.names(), image_kernel, backend: host.hypervisor.features() };
        let mut record = VmRecord {
            plan: plan_vm(&asked, &host.config, &inventory, entropy)?,
            ephemeral: asked.ephemeral,
            spec: asked,
            base: None,
            state: VmState::Created,
            workspace: None,
            intents: Vec::new(),
            created_at: Timestamp::now(),
            started_at: None,
            changes: Vec::new(),
        };
        record.note_change(&Cause::begin(ChangeCause::Create, order.op.clone()));
        // One that is here and cannot run it is refused now; one that is not here yet, once it is.
        if let Some(kernel) = host.kernels.find(&record.plan.kernel).await? {
            kernel.check(inventory.backend.machine)?;
        }
        host.followers.walk(&record.plan.name, Operation::Create).enter(Step::Record).await;
        self.inner.store.insert_vm(record.clone()).await?;
        record.changes.clear();
        let driver = self.register(record.clone(), None);
        drop(naming);
        tracing::info!(vm = %record.plan.name, id = %record.plan.id, "VM planned");
        order.progress.send(Event::Planned {
            vm: Box::new(render_view(&host.paths, &record)),
            spec: record.plan.render_spec(),
        });
        Ok((driver, order))
    }
}

pub(crate) fn gather_entropy() -> Result<Entropy, Problem> {
    let mut bytes = [0; 46];
    getrandom::fill(&mut bytes)
        .map_err(|error| Problem::from_error(Code::OperationFailed, &error))?;
    let (mut id, mut name, mut machine_id, mut link_magic) = ([0; 6], [0; 8], [0; 16], [0; 16]);
    id.copy_from_slice(&bytes[..6]);
    name.copy_from_slice(&bytes[6..14]);
    machine_id.copy_from_slice(&bytes[14..30]);
    link_magic.copy_from_slice(&bytes[30..]);
    Ok(Entropy { id, name: u64::from_ne_bytes(name), machine_id, link_magic })
}
