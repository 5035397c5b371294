//! Taking connections on one of the supervisor's sockets: only this user's, a bounded number at
//! once.
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
    /// The only user who is served. The directory lets nobody else near the socket; should
    /// somebody be handed a way past it, this is what stands between them and the guest.
    pub(super) owner: u32,
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
            Ok((client, _)) if !is_peer(&client, door.owner) => {
                recorder.log(format_args!("somebody else knocked on the {} socket", door.name));
            }
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

/// Whether `owner` is at the other end, as the kernel saw them when they connected.
fn is_peer(client: &UnixStream, owner: u32) -> bool {
    client.peer_cred().is_ok_and(|peer| peer.uid() == owner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What a client is answered at the door of `owner`.
    async fn knock(owner: u32) -> io::Result<String> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("door.sock");
        let listener = UnixListener::bind(&path)?;
        let (console, log) = (dir.path().join("console.log"), dir.path().join("own.log"));
        let (recorder, finished) = Recorder::start(&console, 0, &log)?;
        let mut connections = JoinSet::new();
        let door = Door { listener, name: "control", places: 1, owner };
        let greet = |mut client: UnixStream| async move { client.write_all(b"welcome").await };
        let mut answer = String::new();
        let knock = async {
            // More than there are places: whoever is turned away takes none.
            for _ in 0..3 {
                let mut client = UnixStream::connect(&path).await?;
                client.read_to_string(&mut answer).await?;
            }
            io::Result::Ok(())
        };
        tokio::select! {
            never = serve_each(door, &mut connections, recorder.clone(), greet) => match never {},
            knocked = tokio::time::timeout(Duration::from_secs(30), knock) => knocked??,
        }
        recorder.close();
        finished.wait().await;
        Ok(answer + &std::fs::read_to_string(&log).unwrap_or_default())
    }

    #[tokio::test]
    async fn only_the_owner_is_served() {
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(knock(uid).await.unwrap(), "welcome".repeat(3));
        let refused = knock(uid + 1).await.unwrap();
        assert!(!refused.contains("welcome"), "{refused}");
        assert_eq!(refused.matches("somebody else knocked on the control socket").count(), 3);
    }
}
