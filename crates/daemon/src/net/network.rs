//! The owner of the network: who is on it, and what follows from that.
//!
//! ```text
//!            attach                       attach, detach, change
//!   none ──────────────▶ up: bridge, rules ◀────────────┘
//!    ▲                    │        ▲
//!    └──── close, nobody ─┘        └── settle: a new daemon finds it
//!          is on it
//! ```
//!
//! One thing at a time is done to the network. Everything the helper is asked for can be asked again, and
//! the rules are always those of all guests, so whatever fails half-way is put right by what comes next.

mod follow;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use banger_proto::api::NetworkStatus;
use banger_proto::guest::GuestNetwork;
use banger_proto::helper::{Network, Observed, Reply, Request, tap_name};
use banger_proto::{MacAddress, Subnet, VmId, VmName};
use tokio::sync::{Mutex, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::dns::{DOMAIN, DnsServer, Face, Names, Record, Resolvers, Sockets, Zone};

use super::host_networks::{observe_addresses, plan_free_subnet};
use super::host_ports::HostPorts;
use super::leases::Leases;
use super::privileged::{NetworkError, Privileged};
use super::rules::plan_rules;

/// Most bytes in a packet of a guest's card: Ethernet's.
const MTU: u16 = 1500;
/// VMs that have a place where there is no network.
const LEASES_WITHOUT_NETWORK: u32 = 253;
/// The first person's number on most hosts (login.defs(5)).
const FIRST_UID: u32 = 1000;

/// What a VM may reach besides other VMs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// What lies beyond the host.
    pub nat: bool,
    /// Ports of the host's loopback address.
    pub host_ports: BTreeSet<u16>,
}

impl Wishes {
    /// Whether a VM without a network does as well.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A VM that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guest {
    /// Its name.
    pub(super) name: VmName,
    /// Its address; absent for one without a card.
    pub(super) address: Option<Ipv4Addr>,
    /// Where the host reaches it.
    pub(super) loopback: Ipv4Addr,
    /// What it may reach.
    pub(super) wishes: Wishes,
}

/// A VM that was given its place by an earlier daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The VM.
    pub vm: VmId,
    /// Its name.
    pub name: VmName,
    /// Which of the addresses it has.
    pub lease: u32,
    /// Its address; absent for one without a card.
    pub address: Option<Ipv4Addr>,
    /// What it may reach.
    pub wishes: Wishes,
}

/// Where a VM is found.
#[derive(Debug)]
pub struct Place {
    /// What to remember, so that the VM has the same addresses next time.
    pub lease: u32,
    /// Its card, or why it has none.
    pub card: Result<Card, NetworkError>,
}

/// A VM's place on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The tap that the VMM attaches to.
    pub tap: String,
    /// The card's address.
    pub mac: MacAddress,
    /// The words in front of the VMM's command line that start it where the tap is.
    pub entrance: Vec<String>,
    /// What the guest is told.
    pub guest: GuestNetwork,
}

/// The network. Clones are the same.
#[derive(Debug, Clone)]
pub struct VmNetwork {
    privileged: Arc<dyn Privileged>,
    configured: Option<Subnet>,
    required: bool,
    uid: u32,
    names: Arc<Names>,
    state: Arc<Mutex<State>>,
    /// How often the way out was made sure of.
    uplink_opened: watch::Sender<u64>,
    status: watch::Sender<NetworkStatus>,
}

#[derive(Debug, Default)]
struct State {
    /// The network's addresses, while it is up.
    subnet: Option<Subnet>,
    leases: Leases,
    guests: BTreeMap<VmId, Guest>,
    host_ports: HostPorts,
    /// The name server for guests, while it is up.
    dns: Option<DnsServer>,
    /// Those that notice what happens around the network, while it is up.
    watchers: Vec<AbortOnDropHandle<()>>,
}

impl State {
    /// Whether a VM is on the network.
    fn is_in_use(&self) -> bool {
        self.guests.values().any(|guest| guest.address.is_some())
    }
}

/// What the network is to be like.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Its addresses; absent for free ones.
    pub subnet: Option<Subnet>,
    /// Whether VMs that ask for nothing of it must have it, too.
    pub required: bool,
    /// The user.
    pub uid: u32,
}

impl VmNetwork {
    /// The network that `privileged` makes; its VMs are found by `names`.
    #[must_use]
    pub fn new(
        privileged: Arc<dyn Privileged>,
        options: NetworkOptions,
        names: Arc<Names>,
    ) -> Self {
        let NetworkOptions { subnet, required, uid } = options;
        Self {
            privileged,
            configured: subnet,
            required,
            uid,
            names,
            state: Arc::default(),
            uplink_opened: watch::Sender::default(),
            status: watch::Sender::default(),
        }
    }

    /// Makes sure that VMs can have what they wish for.
    ///
    /// # Errors
    /// When there is no network and none can be made, or no way out of it.
    pub async fn check(&self, wishes: &Wishes) -> Result<(), NetworkError> {
        let mut state = self.state.lock().await;
        self.ensure_up(&mut state).await?;
        if wishes.nat { self.open_uplink().await } else { Ok(()) }
    }

    /// Gives a VM its place, that of `lease` if it can have that. Without a card, it has a name and is
    /// reached by the host, and that is all.
    ///
    /// # Errors
    /// When there are too many VMs. When `wishes` need a card and there can be none; then nothing of it
    /// is there.
    pub async fn attach(
        &self,
        vm: &VmId,
        name: &VmName,
        lease: Option<u32>,
        wishes: &Wishes,
    ) -> Result<Place, NetworkError> {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        let up = self.ensure_up(state).await;
        if let Some(lease) = lease {
            state.leases.remember(vm, lease);
        }
        let limit = up.as_ref().map_or(LEASES_WITHOUT_NETWORK, Subnet::guests);
        let lease = state.leases.take(vm, limit).ok_or(NetworkError::Full(limit))?;
        let (name, loopback) = (name.clone(), self.loopback(lease));
        let guest = Guest { name, address: None, loopback, wishes: wishes.clone() };
        state.guests.insert(vm.clone(), guest);
        let card = match up {
            Ok(subnet) => self.plug(vm, subnet, lease, state).await,
            Err(error) => Err(error),
        };
        // Without a way out there still is a network.
        if !matches!(card, Err(NetworkError::Uplink(_))) {
            self.show_attempt(&card);
        }
        match card {
            Err(error) if self.required || !wishes.is_none() => {
                state.guests.remove(vm);
                state.leases.release(vm);
                Err(error)
            }
            card => {
                self.publish(state);
                Ok(Place { lease, card })
            }
        }
    }

    /// Where the host reaches the VM with `lease`, in the part of 127.0.0.0/8 that VMs have: users of
    /// one host have parts of their own there, as far as 256 of them can.
    #[must_use]
    pub fn loopback(&self, lease: u32) -> Ipv4Addr {
        let first_user = self.uid.checked_sub(FIRST_UID).unwrap_or(self.uid);
        let [.., third, fourth] =
            (first_user.wrapping_shl(8).wrapping_add(lease + 2)).to_be_bytes();
        Ipv4Addr::new(127, 77, third, fourth)
    }

    async fn plug(
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
            Ok(entrance) => Ok(Card {
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
                    mtu: MTU,
                },
            }),
            Err(error) => {
                // What cannot be taken back either is found by the next daemon, or by the VM's removal.
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

    /// Takes a VM off the network, whether it is on it or not. Its VMM has ended.
    ///
    /// # Errors
    /// When something of it is left.
    pub async fn detach(&self, vm: &VmId) -> Result<(), NetworkError> {
        let mut state = self.state.lock().await;
        let guest = state.guests.remove(vm);
        state.leases.release(vm);
        self.publish(&state);
        match guest {
            Some(Guest { address: None, .. }) => Ok(()),
            // A daemon that has just started does not know who is on it.
            None if state.subnet.is_some() || !self.privileged.find().await? => Ok(()),
            _ => self.unplug(vm, &mut state).await,
        }
    }

    /// Forgets a VM that is not there any more; its address is free.
    pub async fn forget(&self, vm: &VmId) {
        self.state.lock().await.leases.forget(vm);
    }

    /// Lets a VM that is on the network reach what lies beyond the host, or not any more.
    ///
    /// # Errors
    /// When that cannot be; then everything is as it was.
    pub async fn set_nat(&self, vm: &VmId, nat: bool) -> Result<(), NetworkError> {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        let (Some(subnet), Some(guest)) = (state.subnet, state.guests.get_mut(vm)) else {
            return Ok(());
        };
        let before = std::mem::replace(&mut guest.wishes.nat, nat);
        if nat {
            let opened = self.open_uplink().await;
            if let Err(error) = opened {
                guest.wishes.nat = before;
                return Err(error);
            }
        }
        let applied = self.apply(subnet, state).await;
        self.publish(state);
        if applied.is_err()
            && let Some(guest) = state.guests.get_mut(vm)
        {
            guest.wishes.nat = before;
        }
        applied
    }

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

    /// The daemon ends: without VMs on it, the network goes, too.
    pub async fn close(&self) {
        let mut state = self.state.lock().await;
        state.host_ports = HostPorts::default();
        state.watchers.clear();
        state.dns = None;
        if state.subnet.take().is_none() || state.is_in_use() {
            return;
        }
        if let Err(error) = self.privileged.remove().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "network not removed");
        }
        self.show_guests(&state);
    }

    /// The bridge with its address: that which it has, or a new one.
    async fn ensure_up(&self, state: &mut State) -> Result<Subnet, NetworkError> {
        let up = self.make_up(state).await;
        self.show_attempt(&up);
        self.show_guests(state);
        up
    }

    async fn make_up(&self, state: &mut State) -> Result<Subnet, NetworkError> {
        if let Some(subnet) = state.subnet
            && self.privileged.find().await?
        {
            return Ok(subnet);
        }
        self.privileged.ensure().await?;
        let subnet = match (subnet_of(&self.observe().await?), self.configured) {
            (Some(present), _) if state.is_in_use() => present,
            (_, Some(configured)) => configured,
            (Some(present), None) => present,
            (None, None) => {
                plan_free_subnet().map_err(NetworkError::Host)?.ok_or(NetworkError::NoSubnet)?
            }
        };
        self.privileged.ask(Request::EnsureBridge { subnet }).await?;
        state.dns = Some(self.listen(subnet).await?);
        state.subnet = Some(subnet);
        if state.watchers.is_empty() {
            let watchers = [
                tokio::spawn(self.clone().follow_uplink()),
                tokio::spawn(self.clone().follow_host()),
            ];
            state.watchers = watchers.map(AbortOnDropHandle::new).into();
        }
        Ok(subnet)
    }

    async fn open_uplink(&self) -> Result<(), NetworkError> {
        self.privileged.ensure_uplink().await?;
        self.show_way_out(true);
        self.uplink_opened.send_modify(|times| *times += 1);
        Ok(())
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

    async fn unplug(&self, vm: &VmId, state: &mut State) -> Result<(), NetworkError> {
        self.privileged.ask(Request::RemoveTap { vm: vm.clone() }).await?;
        match state.subnet {
            Some(subnet) => self.apply(subnet, state).await,
            None => Ok(()),
        }
    }

    /// The rules for the guests that there are, and the ports of the host that they reach.
    async fn apply(&self, subnet: Subnet, state: &mut State) -> Result<(), NetworkError> {
        let host = observe_addresses().map_err(NetworkError::Host)?;
        let rules = plan_rules(subnet, &host, &state.guests);
        self.privileged.ask(Request::ApplyRules(rules)).await?;
        state.host_ports.serve(&*self.privileged, subnet, &state.guests).await
    }

    /// Answers guests' questions for names, at their gateway.
    async fn listen(&self, subnet: Subnet) -> Result<DnsServer, NetworkError> {
        let mut sockets =
            self.privileged.ask(Request::ListenDns { subnet }).await?.descriptors.into_iter();
        let (Some(udp), Some(tcp)) = (sockets.next(), sockets.next()) else {
            return Err(NetworkError::Protocol);
        };
        let sockets = Sockets { udp: udp.into(), tcp: tcp.into() };
        let face = Face::Guests(Resolvers::of_host());
        DnsServer::start(face, sockets, self.names.subscribe()).map_err(NetworkError::Gone)
    }

    /// The names of the VMs that run, for all who ask.
    fn publish(&self, state: &State) {
        let record = |guest: &Guest| Record {
            name: guest.name.clone(),
            guest: guest.address,
            host: Some(guest.loopback),
            nat: guest.wishes.nat,
        };
        self.show_guests(state);
        self.names.publish(Zone::new(state.guests.values().map(record).collect(), state.subnet));
    }

    async fn observe(&self) -> Result<Observed, NetworkError> {
        match self.privileged.ask(Request::Observe {}).await?.reply {
            Reply::Observed(observed) => Ok(observed),
            _ => Err(NetworkError::Protocol),
        }
    }
}

/// The network whose gateway the bridge is.
fn subnet_of(observed: &Observed) -> Option<Subnet> {
    let networks = observed.bridge.iter().flatten();
    let of = |network: &Network| Subnet::around(network.address, network.prefix);
    networks.filter_map(of).next()
}
