//! The network that an earlier daemon left.

use banger_proto::VmId;

use super::Host;
use crate::vm::state::VmRecord;

/// Puts the VMs of `records` back on the network, as far as they run and were on it, and takes away
/// what belongs to none of them. VMs go on without it if that fails.
pub(super) async fn settle(host: &Host, records: impl Iterator<Item = &VmRecord>) {
    let (mut running, mut resting) = (Vec::new(), Vec::<(VmId, u32)>::new());
    let mut sleeping = Vec::new();
    for record in records {
        let Some(attached) = record.attached() else { continue };
        if record.state.has_vmm() {
            running.push(attached);
        } else if record.state.is_asleep() {
            sleeping.push(attached);
        } else {
            resting.push((attached.vm, attached.lease));
        }
    }
    for attached in sleeping {
        host.network.keep(attached).await;
    }
    if let Err(error) = host.network.settle(running, resting).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the network is not as it should be"
        );
    }
}
