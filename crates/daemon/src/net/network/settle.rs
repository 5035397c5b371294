//! What a new daemon does about the network of the one before.

use banger_proto::VmId;
use banger_proto::helper::Request;

use super::super::privileged::NetworkError;
use super::{Attached, Guest, VmNetwork};

impl VmNetwork {
    /// Finds the network that an earlier daemon left: `running` are the VMs on it, `resting` those that
    /// are down, with what they had. Without VMs on it, it is taken away.
    ///
    /// # Errors
    /// When it is there and cannot be spoken to.
    pub async fn settle(
        &self,
        running: Vec<Attached>,
        resting: Vec<(VmId, u32)>,
    ) -> Result<(), NetworkError> {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        for Attached { vm, name, lease, address, wishes } in running {
            state.leases.occupy(&vm, lease);
            let loopback = self.loopback(lease);
            state.guests.insert(vm, Guest { name, address, loopback, wishes });
        }
        for (vm, lease) in resting {
            state.leases.remember(&vm, lease);
        }
        self.publish(state);
        if !self.privileged.find().await? {
            return Ok(());
        }
        if !state.is_in_use() {
            return self.privileged.remove().await;
        }
        let subnet = self.ensure_up(state).await?;
        let observed = self.observe().await?;
        self.show_way_out(observed.uplink);
        for vm in observed.taps {
            if !state.guests.contains_key(&vm) {
                self.privileged.ask(Request::RemoveTap { vm }).await?;
            }
        }
        if state.guests.values().any(|guest| guest.wishes.nat) {
            self.open_uplink().await?;
        }
        self.apply(subnet, state).await
    }
}
