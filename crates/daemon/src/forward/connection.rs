//! One connection to a port of a guest.

use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;

use crate::guest::GuestClient;

/// How long a guest may take to connect to its own port.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes copied at once, in each direction.
const COPY_BUFFER: usize = 16 << 10;

/// Carries bytes both ways until both sides have said all. Each end is passed on alone; where there is
/// no way to the guest, and as far as it is seen that one broke, the client is reset.
pub(super) async fn carry(mut client: TcpStream, guest: GuestClient, port: u16) {
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
