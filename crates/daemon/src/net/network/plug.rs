//! One VM's place: its addresses, its card, and the rules that go with them.

use std::net::Ipv4Addr;

use banger_proto::api::NetworkMode;
use banger_proto::guest::GuestNetwork;
use banger_proto::helper::{HOST_MTU, OWN_MTU, Request, tap_name};
use banger_proto::{MacAddress, Subnet, VmId};

use super::super::host_networks::observe_addresses;
use super::super::privileged::NetworkError;
use super::super::rules::plan_rules;
use super::{Card, State, VmNetwork};
use crate::dns::DOMAIN;

/// The first person's number on most hosts (login.defs(5)).
const FIRST_UID: u32 = 1000;

impl VmNetwork {
    /// Where the host reaches the VM with `lease`, in the part of 127.0.0.0/8 that VMs have: users of
    /// one host have parts of their own there, as far as 256 of them can.
    #[must_use]
    pub fn loopback(&self, lease: u32) -> Ipv4Addr {
        let first_user = self.uid.checked_sub(FIRST_UID).unwrap_or(self.uid);
        let [.., third, fourth] =
            (first_user.wrapping_shl(8).wrapping_add(lease + 2)).to_be_bytes();
        Ipv4Addr::new(127, 77, third, fourth)
    }

    /// Gives the VM with `lease` its card; nothing of it is left if that fails.
    pub(super) async fn plug(
        &self,
        vm: &VmId,
        subnet: Subnet,
        lease: u32,
        state: &mut State,
    ) -> Result<Card, NetworkError> {
        let full = || NetworkError::Full(subnet.guests());
        let address = subnet.guest(lease).ok_or_else(full)?;
        if let Some(guest) = state.guests.get_mut(vm) {
            guest.address = Some(address);
        }
        match self.connect(vm, subnet, state).await {
            Ok(entrance) => {
                // One that could not be taken away is its card again.
                state.unplugging.remove(vm);
                Ok(self.card(vm, subnet, address, entrance))
            }
            Err(error) => {
                // What cannot be taken back either is found by the next daemon, or when the VM is detached.
                if let Some(guest) = state.guests.get_mut(vm) {
                    guest.address = None;
                }
                if let Err(error) = self.unplug(vm, state).await {
                    tracing::warn!(%vm, error = &error as &dyn std::error::Error, "tap not removed");
                }
                Err(error)
            }
        }
    }

    fn card(&self, vm: &VmId, subnet: Subnet, address: Ipv4Addr, entrance: Vec<String>) -> Card {
        Card {
            tap: tap_name(vm),
            mac: MacAddress::of_vm(vm),
            entrance,
            guest: GuestNetwork {
                mac: MacAddress::of_vm(vm),
                address,
                prefix: subnet.prefix(),
                gateway: subnet.gateway(),
                resolver: subnet.gateway(),
                search: DOMAIN.to_owned(),
                mtu: match self.privileged.mode() {
                    NetworkMode::User => OWN_MTU,
                    NetworkMode::System => HOST_MTU,
                },
            },
        }
    }

    async fn connect(
        &self,
        vm: &VmId,
        subnet: Subnet,
        state: &mut State,
    ) -> Result<Vec<String>, NetworkError> {
        let nat = state.guests.get(vm).is_some_and(|guest| guest.wishes.nat);
        if nat {
            self.open_uplink().await?;
        }
        // Before there is a tap: no packet of it is seen by rules that do not know it.
        self.apply(subnet, state).await?;
        self.privileged.ask(Request::EnsureTap { vm: vm.clone() }).await?;
        self.privileged.entrance()
    }

    /// Takes the card of a VM away that is no guest any more, and what it might reach. Until that is
    /// done, it is known that it has to be.
    pub(super) async fn unplug(&self, vm: &VmId, state: &mut State) -> Result<(), NetworkError> {
        state.unplugging.insert(vm.clone());
        // Whether the helper can be asked or not.
        state.host_ports.allow(&state.guests);
        let removed = match self.remove_card(vm, state).await {
            // Where there is no network, nobody can be asked, and there is no card.
            Err(NetworkError::Gone(_)) if matches!(self.privileged.find().await, Ok(false)) => {
                Ok(())
            }
            removed => removed,
        };
        if removed.is_ok() {
            state.unplugging.remove(vm);
        }
        removed
    }

    async fn remove_card(&self, vm: &VmId, state: &mut State) -> Result<(), NetworkError> {
        self.privileged.ask(Request::RemoveTap { vm: vm.clone() }).await?;
        let Some(subnet) = state.subnet else { return Ok(()) };
        self.apply_rules(subnet, state).await?;
        // What others may reach is no part of it.
        if let Err(error) = state.host_ports.serve(&*self.privileged, subnet, &state.guests).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "ports of the host not served"
            );
        }
        Ok(())
    }

    /// The rules for the guests that there are, and the ports of the host that they reach.
    pub(super) async fn apply(
        &self,
        subnet: Subnet,
        state: &mut State,
    ) -> Result<(), NetworkError> {
        self.apply_rules(subnet, state).await?;
        state.host_ports.serve(&*self.privileged, subnet, &state.guests).await
    }

    async fn apply_rules(&self, subnet: Subnet, state: &State) -> Result<(), NetworkError> {
        let host = observe_addresses().map_err(NetworkError::Host)?;
        let rules = plan_rules(subnet, &host, &state.guests);
        self.privileged.ask(Request::ApplyRules(rules)).await.map(drop)
    }
}
