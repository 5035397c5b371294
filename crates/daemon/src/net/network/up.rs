//! Making sure that there is a network.

use banger_proto::Subnet;
use banger_proto::helper::{Network, Observed, Reply, Request};
use tokio_util::task::AbortOnDropHandle;

use super::super::host_networks::plan_free_subnet;
use super::super::privileged::NetworkError;
use super::{State, VmNetwork};
use crate::dns::{DnsServer, Face, Resolvers, Sockets};

impl VmNetwork {
    /// The bridge with its address: that which it has, or a new one.
    pub(super) async fn ensure_up(&self, state: &mut State) -> Result<Subnet, NetworkError> {
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

    /// What there is of it.
    pub(super) async fn observe(&self) -> Result<Observed, NetworkError> {
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
