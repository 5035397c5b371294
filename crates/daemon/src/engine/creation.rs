//! From a request to a recorded VM with a driver.

use banger_proto::api::{ChangeCause, CreateVm, Event};
use banger_proto::{Code, Problem};
use jiff::Timestamp;

use super::Engine;
use crate::forward::Published;
use crate::net::Wishes;
use crate::step::{Operation, Step};
use crate::vm::boot::Order;
use crate::vm::driver::Driver;
use crate::vm::plan::{Entropy, Inventory, image_name, plan_vm};
use crate::vm::state::{Cause, VmRecord, VmState};
use crate::vm::view::render_view;
use crate::vm::{bootstrap, bring_in};

impl Engine {
    /// Plans a VM, records it and so takes its name. Nothing is recorded of a request that is
    /// refused.
    pub(super) async fn plan_and_record(
        &self,
        asked: CreateVm,
        order: Order,
    ) -> Result<(Box<Driver>, Order), Problem> {
        let host = &self.inner.host;
        host.hypervisor.check()?;
        let nat = asked.nat.unwrap_or(host.config.vm_defaults.nat.value);
        let wishes = Wishes { nat, host_ports: asked.host_ports.clone() };
        if !asked.no_start && !wishes.is_none() {
            // Before anything is made or fetched for a VM that cannot have what it needs.
            host.network.check(&wishes).await?;
        }
        if !asked.no_start {
            // Given back at once: the making may take long, and its boot has them for good.
            Published::open(&asked.publish, &host.forwards)?;
        }
        if let Some(source) = &asked.workspace {
            let inspected = bring_in::inspect(host, source).await?;
            bootstrap::check(&asked, &inspected, nat)?;
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
            vm: Box::new(render_view(host, &record)),
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
