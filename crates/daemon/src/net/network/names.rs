//! Names of VMs: who answers for them, and how the host comes to ask.

use std::net::Ipv4Addr;

use banger_proto::api::NetworkMode;
use banger_proto::helper::Request;
use tokio_util::task::AbortOnDropHandle;

use super::status::render_chain;
use super::{Guest, State, VmNetwork};
use crate::dns::{Record, Zone};

impl VmNetwork {
    /// The names of the VMs that run or sleep, for all who ask.
    pub(super) fn publish(&self, state: &State) {
        let record = |guest: &Guest| Record {
            name: guest.name.clone(),
            guest: guest.address,
            host: Some(self.reached_at(guest)),
            nat: guest.wishes.nat,
        };
        self.show_guests(state);
        // The last one counts, should one be both.
        let all = state.sleeping.values().chain(state.guests.values());
        self.names.publish(Zone::new(all.map(record).collect(), state.subnet));
    }

    /// Where this host reaches a VM: at its own address where the host is on its network, else at one of
    /// the loopback network, which it has in any case.
    fn reached_at(&self, guest: &Guest) -> Ipv4Addr {
        match self.privileged.mode() {
            NetworkMode::System => guest.address.unwrap_or(guest.loopback),
            NetworkMode::User => guest.loopback,
        }
    }

    /// Has the host's resolver ask the daemon for names of VMs, as far as there is a network by which it
    /// can be told. Whether it does is shown by [`VmNetwork::status`].
    pub async fn route_names(&self) {
        self.route_names_later(&mut *self.state.lock().await);
    }

    /// The same. Nobody waits for it: VMs do without.
    pub(super) fn route_names_later(&self, state: &mut State) {
        if self.privileged.mode() == NetworkMode::System && state.subnet.is_some() {
            let network = self.clone();
            let telling = tokio::spawn(async move { network.tell_resolver().await });
            state.routing = Some(AbortOnDropHandle::new(telling));
        }
    }

    async fn tell_resolver(&self) {
        let problem = match self.names.address() {
            // Nothing is answered, so nobody is to ask; that is shown elsewhere.
            None => None,
            Some(address) if address.ip() == Ipv4Addr::LOCALHOST => {
                let asked = Request::RouteNames { port: address.port() };
                self.privileged.ask(asked).await.err().map(|error| render_chain(&error))
            }
            Some(address) => Some(format!("names are answered at {address}, not at 127.0.0.1")),
        };
        if let Some(problem) = &problem {
            tracing::warn!(problem, "the host's resolver does not ask for names of VMs");
        }
        self.status.send_modify(|status| status.names_problem = problem);
    }
}
