//! Taking connections on one of the supervisor's sockets, a bounded number at once.
//!
//! Not responsible for what is said on them.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::recorder::Recorder;

/// A socket to take connections on.
#[derive(Debug)]
pub(super) struct Door {
    /// The socket.
    pub(super) listener: UnixListener,
    /// What it is called in the log (`control`).
    pub(super) name: &'static str,
    /// Connections served at once; more wait in the socket's queue.
    pub(super) places: usize,
}

/// Serves every connection with `serve` for as long as it is polled, never ending by itself;
/// the connections live on in `connections`.
pub(super) async fn serve_each<F>(
    door: Door,
    connections: &mut JoinSet<()>,
    recorder: Recorder,
    serve: impl Fn(UnixStream) -> F,
) -> Infallible
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(door.places));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return pending().await; // Nobody closes it.
        };
        // Reaped here, so that the set does not grow with every connection there ever was.
        while connections.try_join_next().is_some() {}
        match door.listener.accept().await {
            Ok((client, _)) => {
                let served = serve(client);
                connections.spawn(async move {
                    // The place is free again when the connection ends.
                    let _place = place;
                    // A client that went away or spoke nonsense is not worth a word.
                    let _ = served.await;
                });
            }
            Err(error) => {
                recorder.log(format_args!("cannot accept on the {} socket: {error}", door.name));
                // Out of descriptors or memory: the end of a connection frees some.
                if connections.join_next().await.is_none() {
                    return pending().await;
                }
            }
        }
    }
}
