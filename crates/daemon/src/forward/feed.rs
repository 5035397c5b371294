//! Who listens in a guest, as whole pictures: an agent that comes back tells all anew, and until it
//! has, what it told before stands.
//!
//! ```text
//!   reaching ──Settled──▶ telling ──stream ends──▶ reaching (what was told stands)
//!      └── the VM has ended, or its agent cannot do it: over
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use banger_proto::guest::{PortChange, PortListener, PortProtocol};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::guest::{GuestClient, GuestError};

/// Between two attempts at an agent that breaks the stream off.
const PAUSE: Duration = Duration::from_secs(1);
/// Least time between two pictures: a guest may open and close at will.
const PACE: Duration = Duration::from_millis(5);

/// The listeners of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Told {
    /// Nothing is known yet.
    #[default]
    Nothing,
    /// These are there, in the order of protocol and port.
    Listeners(Vec<PortListener>),
    /// The agent cannot tell.
    Unknown,
}

impl Told {
    /// The listeners, as far as they are known.
    pub(crate) fn listeners(&self) -> &[PortListener] {
        match self {
            Self::Listeners(listeners) => listeners,
            Self::Nothing | Self::Unknown => &[],
        }
    }
}

/// Follows one guest until its VM ends.
#[derive(Debug)]
pub(super) struct PortFeed {
    told: watch::Receiver<Told>,
    _task: AbortOnDropHandle<()>,
}

impl PortFeed {
    /// Follows from now on. Needs a runtime around it.
    pub(super) fn start(guest: GuestClient) -> Self {
        let (sender, told) = watch::channel(Told::Nothing);
        let task = tokio::spawn(async move { follow(&guest, &sender).await });
        Self { told, _task: AbortOnDropHandle::new(task) }
    }

    /// The next picture that is not the last one. Cancel-safe. Never, once the VM has ended.
    pub(super) async fn next(&mut self) -> Told {
        if self.told.changed().await.is_err() {
            return std::future::pending().await;
        }
        self.told.borrow_and_update().clone()
    }
}

async fn follow(guest: &GuestClient, told: &watch::Sender<Told>) {
    loop {
        match guest.ports().await {
            Ok(mut watch) => {
                let (mut open, mut settled) = (BTreeMap::new(), false);
                while let Ok(Some(change)) = watch.next().await {
                    settled |= change == PortChange::Settled;
                    note(&mut open, change);
                    if settled {
                        let listeners = open.values().cloned().collect();
                        told.send_if_modified(|told| replace(told, Told::Listeners(listeners)));
                        sleep(PACE).await;
                    }
                }
            }
            Err(GuestError::Unreachable { .. }) => return,
            // One that was started by an older daemon.
            Err(GuestError::Refused(_)) => {
                told.send_if_modified(|told| replace(told, Told::Unknown));
                return;
            }
            Err(_) => {}
        }
        sleep(PAUSE).await;
    }
}

fn replace(told: &mut Told, new: Told) -> bool {
    let changed = *told != new;
    *told = new;
    changed
}

fn note(open: &mut BTreeMap<(PortProtocol, u16, IpAddr), PortListener>, change: PortChange) {
    let key = |listener: &PortListener| (listener.protocol, listener.port, listener.address);
    match change {
        PortChange::Opened(listener) => {
            open.insert(key(&listener), listener);
        }
        PortChange::Closed(listener) => {
            open.remove(&key(&listener));
        }
        PortChange::Settled => {}
    }
}
