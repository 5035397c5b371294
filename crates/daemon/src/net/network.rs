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
//!
//! | module | responsible for |
//! |---|---|
//! | `place` | what a VM has, and what is remembered of it |
//! | `up` | the network itself, and its name server |
//! | `plug` | one VM's addresses and card, and the rules |
//! | `names` | telling names to who answers for them |
//! | `settle` | the network of an earlier daemon |
//! | `follow` | what happens around it |
//! | `status` | how it is |

mod follow;
mod names;
mod place;
mod plug;
mod settle;
mod status;
mod up;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use banger_proto::api::{NetworkMode, NetworkStatus};
use banger_proto::{Subnet, VmId, VmName};
use tokio::sync::{Mutex, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::dns::{DnsServer, Names};

use super::host_ports::HostPorts;
use super::leases::Leases;
use super::privileged::{NetworkError, Privileged};
pub(super) use place::Guest;
pub use place::{Attached, Card, Place, Wishes};

/// VMs that have a place where there is no network.
const LEASES_WITHOUT_NETWORK: u32 = 253;

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
    /// VMs that are down until somebody wants something of them: found where they will be.
    sleeping: BTreeMap<VmId, Guest>,
    /// VMs whose card is being taken away, or could not be.
    unplugging: BTreeSet<VmId>,
    host_ports: HostPorts,
    /// The name server for guests, while it is up.
    dns: Option<DnsServer>,
    /// Those that notice what happens around the network, while it is up.
    watchers: Vec<AbortOnDropHandle<()>>,
    /// Who tells the host's resolver about names.
    routing: Option<AbortOnDropHandle<()>>,
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
        let mode = privileged.mode();
        Self {
            privileged,
            configured: subnet,
            required,
            uid,
            names,
            state: Arc::default(),
            uplink_opened: watch::Sender::default(),
            status: watch::Sender::new(NetworkStatus { mode, ..NetworkStatus::default() }),
        }
    }

    /// In whose network VMs are.
    #[must_use]
    pub fn mode(&self) -> NetworkMode {
        self.privileged.mode()
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
                state.sleeping.remove(vm);
                self.publish(state);
                self.route_names_later(state);
                Ok(Place { lease, card })
            }
        }
    }

    /// Takes a VM off the network, whether it is on it or not. Its VMM has ended.
    ///
    /// # Errors
    /// When something of it is left, which the next attempt takes away.
    pub async fn detach(&self, vm: &VmId) -> Result<(), NetworkError> {
        let mut state = self.state.lock().await;
        let guest = state.guests.remove(vm);
        if !state.sleeping.contains_key(vm) {
            state.leases.release(vm);
        }
        self.publish(&state);
        let has_card = match guest {
            _ if state.unplugging.contains(vm) => true,
            Some(guest) => guest.address.is_some(),
            // A daemon that has just started does not know who is on it.
            None => state.subnet.is_none() && self.privileged.find().await?,
        };
        if has_card { self.unplug(vm, &mut state).await } else { Ok(()) }
    }

    /// Forgets a VM that is not there any more; its address is free.
    pub async fn forget(&self, vm: &VmId) {
        self.let_go(vm).await;
        self.state.lock().await.leases.forget(vm);
    }

    /// Has a VM that sleeps, or is about to, found by its name and address while it is down, which nobody
    /// else gets.
    pub async fn keep(&self, attached: Attached) {
        let Attached { vm, name, lease, address, wishes } = attached;
        let mut state = self.state.lock().await;
        state.leases.occupy(&vm, lease);
        let loopback = self.loopback(lease);
        state.sleeping.insert(vm, Guest { name, address, loopback, wishes });
        self.publish(&state);
    }

    /// Ends that.
    pub async fn let_go(&self, vm: &VmId) {
        let mut state = self.state.lock().await;
        if state.sleeping.remove(vm).is_some() {
            if !state.guests.contains_key(vm) {
                state.leases.release(vm);
            }
            self.publish(&state);
        }
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

    /// The daemon ends: without VMs on it, the network goes, too.
    pub async fn close(&self) {
        let mut state = self.state.lock().await;
        state.host_ports = HostPorts::default();
        state.watchers.clear();
        state.routing = None;
        state.dns = None;
        if state.subnet.take().is_none() || state.is_in_use() {
            return;
        }
        if let Err(error) = self.privileged.remove().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "network not removed");
        }
        self.show_guests(&state);
    }

    async fn open_uplink(&self) -> Result<(), NetworkError> {
        self.privileged.ensure_uplink().await?;
        self.show_way_out(true);
        self.uplink_opened.send_modify(|times| *times += 1);
        Ok(())
    }
}
