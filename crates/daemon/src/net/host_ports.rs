//! Ports of the host that guests may reach: what they connect to at the bridge goes on to the host's
//! loopback address.
//!
//! The rules let nobody connect who may not; who connects is looked at here once more, and a connection
//! ends with the right to it.
//!
//! | module | responsible for |
//! |---|---|
//! | `port` | one port: who is let in, and connections |
//! | `seldom` | what is not told every time; pure |

mod port;
mod seldom;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use banger_proto::helper::Request;
use banger_proto::{Subnet, VmId};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::network::Guest;
use super::privileged::{NetworkError, Privileged};
use crate::shares::Shares;

/// Most connections through one port at a time, in all and of each guest: a guest's fault must cost
/// neither the daemon its descriptors nor other guests the port.
const CONNECTIONS: usize = 512;
const CONNECTIONS_EACH: usize = 128;

/// Who may connect: whose the address is, by port and address.
type Allowed = BTreeMap<(u16, Ipv4Addr), VmId>;

/// The ports that are served. Dropped, they are not any more, and connections end.
#[derive(Debug, Default)]
pub(super) struct HostPorts {
    allowed: watch::Sender<Allowed>,
    serving: BTreeMap<u16, AbortOnDropHandle<()>>,
}

impl HostPorts {
    /// Only `guests` are let in from now on, each where it may; connections of others end.
    pub(super) fn allow(&self, guests: &BTreeMap<VmId, Guest>) {
        let rights = guests.iter().flat_map(|(vm, guest)| {
            let right = |address, port: &u16| ((*port, address), vm.clone());
            let ports = guest.wishes.host_ports.iter();
            guest
                .address
                .into_iter()
                .flat_map(move |address| ports.clone().map(move |port| right(address, port)))
        });
        let rights: Allowed = rights.collect();
        self.allowed.send_if_modified(|allowed| {
            let changed = *allowed != rights;
            *allowed = rights;
            changed
        });
    }

    /// Serves what `guests` may reach, and nothing else from now on.
    pub(super) async fn serve(
        &mut self,
        privileged: &dyn Privileged,
        subnet: Subnet,
        guests: &BTreeMap<VmId, Guest>,
    ) -> Result<(), NetworkError> {
        self.allow(guests);
        let wanted = |port: &u16| self.allowed.borrow().keys().any(|(other, _)| other == port);
        self.serving.retain(|port, serving| wanted(port) && !serving.is_finished());
        let ports: Vec<u16> = self.allowed.borrow().keys().map(|(port, _)| *port).collect();
        for port in ports {
            if self.serving.contains_key(&port) {
                continue;
            }
            let failed = |source| NetworkError::HostPort { port, source: Box::new(source) };
            let mut answer =
                privileged.ask(Request::ListenTcp { subnet, port }).await.map_err(failed)?;
            let listener = answer.descriptors.pop().ok_or(NetworkError::Protocol)?;
            let listener = std::net::TcpListener::from(listener);
            let listener = listener
                .set_nonblocking(true)
                .and_then(|()| TcpListener::from_std(listener))
                .map_err(|error| failed(NetworkError::Gone(error)))?;
            let shares = Shares::new(CONNECTIONS, CONNECTIONS_EACH);
            let task = tokio::spawn(port::serve(listener, port, self.allowed.subscribe(), shares));
            self.serving.insert(port, AbortOnDropHandle::new(task));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::network::Wishes;
    use super::*;

    #[test]
    fn who_has_a_card_is_let_in_where_that_was_wished_for() {
        let vm = |number| VmId::from_random([number; 6]);
        let address = |last| Ipv4Addr::new(172, 30, 0, last);
        let guest = |address, ports: &[u16]| Guest {
            name: "web".parse().unwrap(),
            address,
            loopback: Ipv4Addr::LOCALHOST,
            wishes: Wishes { nat: false, host_ports: BTreeSet::from_iter(ports.iter().copied()) },
        };
        let mut guests = BTreeMap::from([
            (vm(1), guest(Some(address(2)), &[80, 81])),
            (vm(2), guest(None, &[80])),
            (vm(3), guest(Some(address(4)), &[])),
            (vm(4), guest(Some(address(5)), &[81])),
        ]);
        let ports = HostPorts::default();
        let mut told = ports.allowed.subscribe();
        ports.allow(&guests);
        let wanted =
            [((80, address(2)), vm(1)), ((81, address(2)), vm(1)), ((81, address(5)), vm(4))];
        assert_eq!(*told.borrow_and_update(), Allowed::from(wanted));
        ports.allow(&guests);
        assert!(!told.has_changed().unwrap(), "nobody wakes up for nothing");
        guests.remove(&vm(1));
        ports.allow(&guests);
        assert_eq!(*told.borrow_and_update(), Allowed::from([((81, address(5)), vm(4))]));
    }
}
