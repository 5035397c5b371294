//! What is known of how a VM is reached, for who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::api::PortView;
use banger_proto::guest::PortProtocol;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::timeout;

use super::doors::Purpose;
use super::feed::Told;

/// How long the agent may take to say who listens.
const TOLD_DEADLINE: Duration = Duration::from_secs(10);

/// What is known of one VM. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    seen: Arc<watch::Sender<Seen>>,
    /// Held by who knocks at the ports: one at a time does.
    probing: Arc<Mutex<()>>,
}

/// One picture of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(super) told: Told,
    pub(super) places: BTreeMap<Purpose, Result<SocketAddr, String>>,
}

impl Reach {
    pub(super) fn show(&self, seen: Seen) {
        self.seen.send_replace(seen);
    }

    /// What is known as soon as the guest has told who listens; none if it does not.
    pub(crate) async fn settled(&self, patience: u32) -> Option<Seen> {
        let mut seen = self.seen.subscribe();
        let told = seen.wait_for(|seen| seen.told != Told::Nothing);
        match timeout(TOLD_DEADLINE * patience, told).await {
            Ok(Ok(seen)) if seen.told != Told::Unknown => Some(seen.clone()),
            _ => None,
        }
    }

    /// Waits until the guest has told that a program listens at `port`, or that it cannot tell.
    pub(super) async fn listening(&self, port: u16) {
        let mut seen = self.seen.subscribe();
        // The sender is in `self`: it cannot be gone.
        let _ = seen.wait_for(|seen| seen.told == Told::Unknown || seen.lists(port)).await;
    }

    /// What is known now; of a guest that is not there, what it was reached at last.
    pub(crate) fn now(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// The right to knock at the ports, in turn.
    pub(crate) async fn probing(&self) -> MutexGuard<'_, ()> {
        self.probing.lock().await
    }
}

impl Seen {
    /// The ports of the guest that have, or should have, a socket of their own.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        let listening = |purpose: &Purpose| match purpose {
            Purpose::Listening(port) => Some(*port),
            Purpose::Published(_) => None,
        };
        self.places.keys().filter_map(listening).collect()
    }

    /// Where the host reaches it at all.
    pub(crate) fn endpoints(&self) -> Vec<SocketAddr> {
        self.places.values().filter_map(|place| place.as_ref().ok()).copied().collect()
    }

    /// Whether the guest has told who listens.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.told, Told::Listeners(_))
    }

    fn lists(&self, port: u16) -> bool {
        let mut listeners = self.told.listeners().iter();
        listeners.any(|one| one.protocol == PortProtocol::Tcp && one.port == port)
    }

    /// The ports as they are shown. What answers HTTP is not known yet.
    pub(crate) fn render_ports(&self) -> Vec<PortView> {
        let view = |listener: &banger_proto::guest::PortListener| {
            let mut view = PortView {
                protocol: listener.protocol,
                address: listener.address,
                port: listener.port,
                process: listener.process.clone(),
                endpoint: None,
                published: Vec::new(),
                url: None,
                problem: None,
            };
            match listener.protocol {
                PortProtocol::Udp => view.problem = Some("UDP is not forwarded".to_owned()),
                PortProtocol::Tcp => self.place(&mut view),
            }
            view
        };
        self.told.listeners().iter().map(view).collect()
    }

    fn place(&self, view: &mut PortView) {
        match self.places.get(&Purpose::Listening(view.port)) {
            Some(Ok(at)) => view.endpoint = Some(*at),
            Some(Err(why)) => view.problem = Some(why.clone()),
            None => {}
        }
        let published = self.places.iter().filter_map(|(purpose, at)| match purpose {
            Purpose::Published(publish) if publish.guest == view.port => at.as_ref().ok(),
            _ => None,
        });
        view.published = published.copied().collect();
    }
}
