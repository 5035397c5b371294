//! A guest's health as it changes, and whether its agent is there to tell.
//!
//! ```text
//!   following ──stream ends──▶ reaching ──reached──▶ following
//!                                │    ▲ └─VM ended─▶ over
//!                     a while ──▶ gone: told once ──┘ (reached again some time)
//! ```

use std::time::Duration;

use banger_proto::guest::Health;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::guest::{GuestClient, GuestError};

/// How long an agent may be away until that is told: one that was killed is back sooner.
const AWAY: Duration = Duration::from_secs(5);
/// Between two attempts at an agent that breaks every stream off.
const PAUSE: Duration = Duration::from_secs(1);

/// Least time between two pictures of a guest's health: a guest may change at will, and each
/// change is shown to all who look.
const PACE: Duration = Duration::from_millis(50);

/// What is seen of a guest.
#[derive(Debug)]
pub(crate) enum Seen {
    /// How it is.
    Health(Health),
    /// Its agent is not there any more.
    Gone,
}

/// Follows one guest until its VM ends.
#[derive(Debug)]
pub(crate) struct HealthFeed {
    /// None when the VM has ended.
    pub(crate) health: mpsc::Receiver<Seen>,
    _task: AbortOnDropHandle<()>,
}

impl HealthFeed {
    /// Follows from now on. Needs a runtime around it.
    pub(crate) fn start(guest: GuestClient) -> Self {
        let (sender, health) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            // An error is that the driver has stopped listening.
            let _ = follow(&guest, &sender).await;
        });
        Self { health, _task: AbortOnDropHandle::new(task) }
    }
}

async fn follow(
    guest: &GuestClient,
    seen: &mpsc::Sender<Seen>,
) -> Result<(), mpsc::error::SendError<Seen>> {
    loop {
        let mut reaching = std::pin::pin!(guest.watch());
        let reached = match timeout(AWAY, &mut reaching).await {
            Ok(reached) => reached,
            Err(_) => {
                seen.send(Seen::Gone).await?;
                reaching.await
            }
        };
        match reached {
            Ok(mut watch) => {
                while let Ok(Some(health)) = watch.next().await {
                    let next = Instant::now() + PACE;
                    seen.send(Seen::Health(health)).await?;
                    // What comes sooner waits in the link, which does not hold much.
                    sleep_until(next).await;
                }
            }
            Err(GuestError::Unreachable { .. }) => return Ok(()),
            Err(_) => sleep(PAUSE).await,
        }
    }
}
