//! One connection to a port of a guest, which may have to be woken first.

use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::reach::Reach;
use crate::guest::GuestClient;
use crate::vm::wake::Waker;

/// How long a guest may take to connect to its own port.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes copied at once, in each direction.
const COPY_BUFFER: usize = 16 << 10;

/// How one finds its way to a guest.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) waker: Waker,
    pub(super) reach: Reach,
    /// How long a guest that has just started may take until a program of it listens.
    pub(super) patience: Duration,
}

impl Way {
    /// Connects `client` to a port of the guest and carries bytes until both sides have said all. `new`
    /// where the guest may not have had the time to listen yet, as one has not that is woken for this.
    /// Where there is no way, the client is reset.
    pub(super) async fn serve(self, client: TcpStream, port: u16, new: bool) {
        let begun = match self.waker.begin().await {
            Ok(begun) => begun,
            Err(problem) => {
                tracing::debug!(port, %problem, "a VM is not woken for a connection");
                let _ = client.set_zero_linger();
                return;
            }
        };
        let Some(vmm) = self.waker.vmm() else {
            let _ = client.set_zero_linger();
            return;
        };
        if new || begun.woken {
            // The guest tells itself where none does in the end.
            let _ = timeout(self.patience, self.reach.listening(port)).await;
        }
        carry(client, GuestClient::new(vmm), port).await;
    }
}

/// Carries bytes both ways until both sides have said all. Each end is passed on alone; where there is
/// no way to the guest, and as far as it is seen that one broke, the client is reset.
async fn carry(mut client: TcpStream, guest: GuestClient, port: u16) {
    // Whoever sends little, sends it for somebody who waits.
    let _ = client.set_nodelay(true);
    let carried = match guest.within(CONNECT_DEADLINE).forward(port).await {
        Ok(mut stream) => {
            let (a, b) = (COPY_BUFFER, COPY_BUFFER);
            copy_bidirectional_with_sizes(&mut client, &mut stream, a, b).await.is_ok()
        }
        Err(error) => {
            tracing::debug!(
                port,
                error = &error as &dyn std::error::Error,
                "no connection to the guest"
            );
            false
        }
    };
    if !carried {
        let _ = client.set_zero_linger();
    }
}
