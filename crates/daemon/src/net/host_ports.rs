//! Ports of the host that guests may reach: what they connect to at the bridge goes on to the host's
//! loopback address.
//!
//! The rules let nobody connect who may not; who connects is looked at here once more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use banger_proto::helper::Request;
use banger_proto::{Subnet, VmId};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::network::Guest;
use super::privileged::{NetworkError, Privileged};

/// Most connections through one port at a time: a guest's fault must not cost the daemon its
/// descriptors.
const MAX_CONNECTIONS: usize = 512;

/// Who may connect, by port.
type Allowed = Arc<Mutex<HashMap<u16, BTreeSet<Ipv4Addr>>>>;

/// The ports that are served. Dropped, they are not any more, and connections end.
#[derive(Debug, Default)]
pub(super) struct HostPorts {
    allowed: Allowed,
    serving: BTreeMap<u16, AbortOnDropHandle<()>>,
}

impl HostPorts {
    /// Serves what `guests` may reach, and nothing else from now on.
    pub(super) async fn serve(
        &mut self,
        privileged: &dyn Privileged,
        subnet: Subnet,
        guests: &BTreeMap<VmId, Guest>,
    ) -> Result<(), NetworkError> {
        let mut allowed: HashMap<u16, BTreeSet<Ipv4Addr>> = HashMap::new();
        for guest in guests.values() {
            for port in &guest.wishes.host_ports {
                allowed.entry(*port).or_default().extend(guest.address);
            }
        }
        let ports: BTreeSet<u16> = allowed.keys().copied().collect();
        *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = allowed;
        self.serving.retain(|port, serving| ports.contains(port) && !serving.is_finished());
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
            let task = tokio::spawn(accept(listener, port, Arc::clone(&self.allowed)));
            self.serving.insert(port, AbortOnDropHandle::new(task));
        }
        Ok(())
    }
}

async fn accept(listener: TcpListener, port: u16, allowed: Allowed) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((guest, from)) if is_allowed(&allowed, port, from)
                    && connections.len() < MAX_CONNECTIONS =>
                {
                    connections.spawn(connect(guest, port));
                }
                Ok(_) => {}
                Err(error) => {
                    // Without descriptors none is accepted until a connection ends.
                    tracing::warn!(port, %error, "cannot accept a guest's connection");
                    if connections.join_next().await.is_none() {
                        return;
                    }
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn is_allowed(allowed: &Allowed, port: u16, from: SocketAddr) -> bool {
    let IpAddr::V4(address) = from.ip() else { return false };
    let allowed = allowed.lock().unwrap_or_else(PoisonError::into_inner);
    allowed.get(&port).is_some_and(|guests| guests.contains(&address))
}

/// Joins the guest to the host's own port; where nobody listens, the guest's connection ends.
async fn connect(mut guest: TcpStream, port: u16) {
    let Ok(mut host) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let _ = (guest.set_nodelay(true), host.set_nodelay(true));
    let _ = copy_bidirectional(&mut guest, &mut host).await;
}
