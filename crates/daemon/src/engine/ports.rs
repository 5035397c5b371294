//! How the host reaches what listens in guests.

use std::net::Ipv4Addr;

use banger_proto::api::VmPorts;
use banger_proto::{Code, Problem};

use super::Engine;
use crate::forward::{Seen, probe};
use crate::guest::GuestClient;
use crate::vm::desk::Shown;
use crate::vm::state::VmRecord;
use crate::vm::wake::{not_running, require_running};

impl Engine {
    /// The ports that programs of a VM listen at, and where the host reaches them. Those that are
    /// forwarded are asked whether they answer HTTP, unless the VM is paused because nobody used it: then
    /// these are the ports that it had, and it goes on sleeping.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM does not run, or its agent does not tell.
    pub async fn ports(&self, reference: &str) -> Result<VmPorts, Problem> {
        let host = &self.inner.host;
        let handle = self.inner.registry.find(reference)?;
        let Shown { record, vmm } = handle.shown.borrow().clone();
        if record.state.is_asleep() {
            return render_sleeping(&record, record.loopback(&host.network), &handle.reach.now());
        }
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

/// The ports of a VM that sleeps, as far as they are known. One that is down has none, and is reached
/// where it had them.
fn render_sleeping(
    record: &VmRecord,
    loopback: Option<Ipv4Addr>,
    seen: &Seen,
) -> Result<VmPorts, Problem> {
    let (id, name) = (record.id().clone(), record.plan.name.clone());
    if record.state.has_vmm() && seen.is_told() {
        return Ok(VmPorts { id, name, loopback, ports: seen.render_ports() });
    }
    let problem = not_running(record);
    let wakes = seen.endpoints().iter().map(ToString::to_string).collect::<Vec<_>>();
    Err(match wakes.is_empty() {
        true => problem,
        false => {
            problem.cause(format!("who connects to one of these wakes it: {}", wakes.join(", ")))
        }
    })
}
