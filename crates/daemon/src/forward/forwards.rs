//! The task that forwards the ports of one VM while it runs.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use banger_proto::api::Publish;
use banger_proto::guest::PortProtocol;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::budget::Budget;
use super::connection::carry;
use super::doors::Doors;
use super::feed::{PortFeed, Told};
use super::published::Published;
use super::reach::{Reach, Seen};
use crate::guest::GuestClient;
use crate::vm::uses::Uses;

/// Connections of one VM at a time: of the streams that its link has (200), the rest is for commands
/// and files.
const MAX_CONNECTIONS: usize = 120;
/// How long to wait when the whole host has run out of something: no event tells that there is
/// room again.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

/// Forwards the ports of one VM. Dropping it ends that, [`close`](Self::close) also waits until it
/// has.
#[derive(Debug)]
pub(crate) struct Forwards {
    task: AbortOnDropHandle<()>,
}

/// What is forwarded, and for whom.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The guest.
    pub(crate) guest: GuestClient,
    /// Who uses it: each connection does.
    pub(crate) uses: Uses,
    /// What is known of it is shown here.
    pub(crate) reach: Reach,
    /// The VM's own address of the host; absent for a VM without a place on the network.
    pub(crate) loopback: Option<Ipv4Addr>,
    /// Ports that were asked for.
    pub(crate) publish: BTreeSet<Publish>,
    /// Those that there are already.
    pub(crate) open: Published,
    /// How many files there may be.
    pub(crate) budget: Budget,
}

impl Forwards {
    /// Forwards from now on. Needs a runtime around it.
    pub(crate) fn start(wanted: Wanted) -> Self {
        // Whoever asks from now on is not to be told of the guest before.
        wanted.reach.show(Seen::default());
        Self { task: AbortOnDropHandle::new(tokio::spawn(run(wanted))) }
    }

    /// Ends it: afterwards its ports are free.
    pub(crate) async fn close(self) {
        self.task.abort();
        // That it was cut short is what was wanted.
        let _ = self.task.await;
    }
}

async fn run(wanted: Wanted) {
    let Wanted { guest, uses, reach, loopback, publish, open, budget } = wanted;
    let mut doors = Doors::new(loopback, budget.clone(), publish, open.doors);
    let mut feed = PortFeed::start(guest.clone());
    let mut told = Told::Nothing;
    let mut connections = JoinSet::new();
    let mut no_sooner = Instant::now();
    loop {
        doors.settle(&ports_of(&told));
        reach.show(Seen { told: told.clone(), places: doors.places() });
        // Until the guest says something else.
        told = loop {
            let has_place = connections.len() < MAX_CONNECTIONS;
            let next = async {
                sleep_until(no_sooner).await;
                let place = budget.connection().await;
                (place, doors.accept().await)
            };
            tokio::select! {
                told = feed.next() => break told,
                Some(_) = connections.join_next() => {}
                (place, accepted) = next, if has_place => match accepted {
                    // A VM that is going down because it was idle takes nobody any more.
                    Ok((port, client)) => if let Some(in_use) = uses.begin() {
                        let guest = guest.clone();
                        connections.spawn(async move {
                            let _held = (place, in_use);
                            carry(client, guest, port).await;
                        });
                    },
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection to a guest");
                        no_sooner = Instant::now() + SHORTAGE_PAUSE;
                    }
                },
            }
        };
    }
}

fn ports_of(told: &Told) -> BTreeSet<u16> {
    let tcp = told.listeners().iter().filter(|listener| listener.protocol == PortProtocol::Tcp);
    tcp.map(|listener| listener.port).collect()
}
