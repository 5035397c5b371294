//! What happens around the network while it is up, and what follows from it: the way out ends, the host
//! gets another address.

use std::time::{Duration, Instant};

use super::super::host_networks::HostChanges;
use super::VmNetwork;

/// A way out that lasted no longer than this did not work.
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// How many of those in a row are opened again by themselves.
const SHORT_LIVES: u32 = 3;

impl VmNetwork {
    /// Opens the way out again when it is gone and somebody needs it.
    pub(super) async fn follow_uplink(self) {
        let mut opened = self.uplink_opened.subscribe();
        let mut at_once = 0;
        loop {
            let since = Instant::now();
            // One that was opened meanwhile is another one to wait for.
            tokio::select! {
                () = self.privileged.uplink_gone() => {}
                Ok(()) = opened.changed() => continue,
            }
            let state = self.state.lock().await;
            tracing::warn!("the way beyond the host is gone");
            self.show_way_out(false);
            // One that ends at once might do so again and again.
            at_once = if since.elapsed() < SHORT_LIFE { at_once + 1 } else { 0 };
            let needed = state.guests.values().any(|guest| guest.wishes.nat);
            let needed = needed && at_once <= SHORT_LIVES;
            let again = if needed { self.open_uplink().await } else { Ok(()) };
            if let Err(error) = again {
                // Whoever needs it next opens it, or is told why not.
                tracing::error!(error = &error as &dyn std::error::Error, "it stays closed");
            }
            drop(state);
            if opened.changed().await.is_err() {
                return;
            }
        }
    }

    /// Keeps the rules in step with the host's addresses, which no guest may reach.
    pub(super) async fn follow_host(self) {
        let mut changes = match HostChanges::open() {
            Ok(changes) => changes,
            Err(error) => return tracing::error!(%error, "changes of the host are not noticed"),
        };
        while changes.next().await.is_ok() {
            let mut state = self.state.lock().await;
            let state = &mut *state;
            let Some(subnet) = state.subnet else { continue };
            if let Err(error) = self.apply(subnet, state).await {
                tracing::error!(error = &error as &dyn std::error::Error, "rules not renewed");
            }
        }
    }
}
