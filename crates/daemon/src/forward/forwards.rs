//! The task that forwards the ports of one VM while it runs or sleeps.
//!
//! ```text
//!            sleep: the guest's ports are kept
//!  serving ─────────────────────────────────────▶ dormant
//!     ▲       serve: kept until the guest has      │
//!     └───────── had time to listen again ─────────┘
//! ```

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use banger_proto::api::Publish;
use banger_proto::guest::PortProtocol;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::budget::Budget;
use super::connection::Way;
use super::doors::Doors;
use super::feed::{PortFeed, Told};
use super::published::Published;
use super::reach::{Reach, Seen};
use crate::guest::GuestClient;
use crate::vm::wake::Waker;

/// Connections of one VM at a time: of the streams that its link has (200), the rest is for commands
/// and files.
const MAX_CONNECTIONS: usize = 120;
/// How long to wait when the whole host has run out of something: no event tells that there is
/// room again.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);
/// How long a guest that was started may take until its programs listen, with hardware virtualisation.
const PATIENCE: Duration = Duration::from_secs(30);

/// Forwards the ports of one VM. Dropping it ends that, [`close`](Self::close) also waits until it
/// has.
#[derive(Debug)]
pub(crate) struct Forwards {
    task: AbortOnDropHandle<()>,
    /// None while there is none.
    guest: watch::Sender<Option<GuestClient>>,
    loopback: Option<Ipv4Addr>,
}

/// What is forwarded, and for whom.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The guest; absent while its VM is down and sleeps.
    pub(crate) guest: Option<GuestClient>,
    /// What begins the use that each connection is, and wakes the VM for it.
    pub(crate) waker: Waker,
    /// What is known of it is shown here.
    pub(crate) reach: Reach,
    /// The VM's own address of the host; absent for a VM without a place on the network.
    pub(crate) loopback: Option<Ipv4Addr>,
    /// Ports that were asked for.
    pub(crate) publish: BTreeSet<Publish>,
    /// Those that there are already.
    pub(crate) open: Published,
    /// Ports that a guest listened at last which is not there or stands still.
    pub(crate) listened: BTreeSet<u16>,
    /// How many files there may be.
    pub(crate) budget: Budget,
    /// How much longer than with hardware virtualisation a guest may take.
    pub(crate) slowness: u32,
}

impl Forwards {
    /// Forwards from now on. Needs a runtime around it.
    pub(crate) fn start(wanted: Wanted) -> Self {
        // Whoever asks from now on is not to be told of the guest before.
        wanted.reach.show(Seen::default());
        let loopback = wanted.loopback;
        let (guest, guests) = watch::channel(wanted.guest.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(run(wanted, guests)));
        Self { task, guest, loopback }
    }

    /// The guest goes, and its VM sleeps: whoever connects to a port that it had wakes it.
    pub(crate) fn sleep(&self) {
        self.guest.send_replace(None);
    }

    /// The guest is there again.
    pub(crate) fn serve(&self, guest: GuestClient) {
        self.guest.send_replace(Some(guest));
    }

    /// Whether it has no guest.
    pub(crate) fn is_dormant(&self) -> bool {
        self.guest.borrow().is_none()
    }

    /// Whether its sockets are at this address.
    pub(crate) fn is_at(&self, loopback: Option<Ipv4Addr>) -> bool {
        self.loopback == loopback
    }

    /// Ends it: afterwards its ports are free.
    pub(crate) async fn close(self) {
        self.task.abort();
        // That it was cut short is what was wanted.
        let _ = self.task.await;
    }
}

/// Ports that stay open though nobody is known to listen at them.
#[derive(Debug, Default)]
struct Kept {
    ports: BTreeSet<u16>,
    /// When they go; absent while there is no guest, and until one that stood still tells what it has.
    until: Option<Instant>,
}

impl Kept {
    async fn over(&self) {
        match self.until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    }
}

async fn run(wanted: Wanted, mut guests: watch::Receiver<Option<GuestClient>>) {
    let Wanted { waker, reach, loopback, publish, open, listened, budget, slowness, .. } = wanted;
    let patience = PATIENCE * slowness;
    let way = Way { waker, reach: reach.clone(), patience };
    let mut doors = Doors::new(loopback, budget.clone(), publish, open.doors);
    let mut feed = guests.borrow_and_update().clone().map(PortFeed::start);
    let mut told = Told::Nothing;
    let mut kept = Kept { ports: listened, until: None };
    let mut connections = JoinSet::new();
    let mut no_sooner = Instant::now();
    loop {
        let ports = &ports_of(&told) | &kept.ports;
        doors.settle(&ports);
        reach.show(Seen { told: told.clone(), places: doors.places() });
        // Until something is different.
        loop {
            let has_place = connections.len() < MAX_CONNECTIONS;
            let next = async {
                sleep_until(no_sooner).await;
                let place = budget.connection().await;
                (place, doors.accept().await)
            };
            tokio::select! {
                Ok(()) = guests.changed() => {
                    feed = guests.borrow_and_update().clone().map(PortFeed::start);
                    told = Told::Nothing;
                    let until = feed.is_some().then(|| Instant::now() + patience);
                    kept = Kept { ports, until };
                    break;
                }
                news = tell(feed.as_mut()) => {
                    told = news;
                    if kept.until.is_none() {
                        // It has not started meanwhile, only stood still.
                        kept = Kept::default();
                    }
                    break;
                }
                () = kept.over() => {
                    kept = Kept::default();
                    break;
                }
                Some(_) = connections.join_next() => {}
                (place, accepted) = next, if has_place => match accepted {
                    Ok((port, client)) => {
                        let serving = way.clone().serve(client, port, kept.until.is_some());
                        connections.spawn(async move {
                            serving.await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection to a guest");
                        no_sooner = Instant::now() + SHORTAGE_PAUSE;
                    }
                },
            }
        }
    }
}

async fn tell(feed: Option<&mut PortFeed>) -> Told {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

fn ports_of(told: &Told) -> BTreeSet<u16> {
    let tcp = told.listeners().iter().filter(|listener| listener.protocol == PortProtocol::Tcp);
    tcp.map(|listener| listener.port).collect()
}
