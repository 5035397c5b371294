//! How the host reaches what listens in guests.

use banger_proto::api::VmPorts;
use banger_proto::{Code, Problem};

use super::{Engine, require_running};
use crate::forward::probe;
use crate::guest::GuestClient;
use crate::vm::desk::Shown;

impl Engine {
    /// The ports that programs of a VM listen at, and where the host reaches them. Those that are
    /// forwarded are asked whether they answer HTTP.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM does not run, or its agent does not tell.
    pub async fn ports(&self, reference: &str) -> Result<VmPorts, Problem> {
        let host = &self.inner.host;
        let handle = self.inner.registry.find(reference)?;
        let Shown { record, vmm } = handle.shown.borrow().clone();
        let guest = GuestClient::new(require_running(&record, vmm)?);
        let (name, slowness) = (&record.plan.name, host.hypervisor.features().slowness);
        let seen = handle.reach.settled(slowness).await.ok_or_else(|| {
            let message = format!("the agent of VM `{name}` does not tell who listens");
            Problem::new(Code::OperationFailed, message)
                .hint(format!("if it stays so: banger vm restart {name}"))
        })?;
        let mut ports = seen.render_ports();
        let forwarded = ports.iter().filter(|port| port.reached_at().is_some());
        let asked: std::collections::BTreeSet<u16> = forwarded.map(|port| port.port).collect();
        let one_at_a_time = handle.reach.probing().await;
        let schemes = probe(&guest, asked, slowness).await;
        drop(one_at_a_time);
        for port in &mut ports {
            let scheme = schemes.get(&port.port);
            port.url = scheme.zip(port.reached_at()).map(|(scheme, at)| format!("{scheme}://{at}"));
        }
        let loopback = record.loopback(&host.network);
        Ok(VmPorts { id: record.id().clone(), name: name.clone(), loopback, ports })
    }
}
