//! The network that an earlier daemon left.

use banger_proto::VmId;

use super::Host;
use crate::net::Attached;
use crate::vm::state::VmRecord;

/// Puts the VMs of `records` back on the network, as far as they run and were on it, and takes away
/// what belongs to none of them. VMs go on without it if that fails.
pub(super) async fn settle(host: &Host, records: impl Iterator<Item = &VmRecord>) {
    let (mut running, mut resting) = (Vec::new(), Vec::<(VmId, u32)>::new());
    for record in records {
        let Some(lease) = record.plan.lease else { continue };
        let vm = record.id().clone();
        if record.state.has_vmm() {
            let name = record.plan.name.clone();
            let (address, wishes) = (record.address(), record.plan.wishes());
            running.push(Attached { vm, name, lease, address, wishes });
        } else {
            resting.push((vm, lease));
        }
    }
    if let Err(error) = host.network.settle(running, resting).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the network is not as it should be"
        );
    }
}
