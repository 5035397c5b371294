//! Taking connections on one of the supervisor's sockets: only this user's, a bounded number at
//! once.
//!
//! Not responsible for what is said on them.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::recorder::Recorder;

/// How long to wait before accepting again when that failed: the end of a connection here frees what
/// was missing, and no event tells that something else did.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

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
    // Told once, not with every attempt.
    let mut failing = false;
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
                failing = false;
                let served = serve(client);
                connections.spawn(async move {
                    // The place is free again when the connection ends.
                    let _place = place;
                    // A client that went away or spoke nonsense is not worth a word.
                    let _ = served.await;
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    let name = door.name;
                    recorder.log(format_args!("cannot accept on the {name} socket: {error}"));
                }
                // Out of descriptors or memory, which the whole process or host is.
                tokio::select! {
                    Some(_) = connections.join_next() => {}
                    () = tokio::time::sleep(SHORTAGE_PAUSE) => {}
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
    use std::io::{BufRead, BufReader};

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What a client is answered at the door of `owner`.
    async fn knock(owner: u32) -> io::Result<String> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("door.sock");
        let listener = UnixListener::bind(&path)?;
        let (console, log) = (dir.path().join("console.log"), dir.path().join("own.log"));
        let (recorder, finished) = Recorder::start(&console, 0, &log, None)?;
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
    async fn after_a_shortage_it_serves_again_without_a_connection_that_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("door.sock");
        // Descriptors are those of the whole process. A socket that does not listen yet cannot
        // accept, either.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let listener = UnixListener::from_std(socket.try_clone().unwrap().into()).unwrap();
        let log = dir.path().join("own.log");
        mknodat(CWD, &log, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let (tell, failed) = tokio::sync::oneshot::channel();
        let reader = log.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(fs_err::File::open(reader).unwrap()).lines();
            let _ = tell.send(lines.next().unwrap().unwrap());
            // Nobody hears the rest, and nobody waits for it to be heard.
            lines.for_each(drop);
        });
        let (recorder, finished) =
            Recorder::start(&dir.path().join("console.log"), 0, &log, None).unwrap();
        let mut connections = JoinSet::new();
        // What the process has besides does not end on its account.
        let _lasting = connections.spawn(pending());
        let owner = rustix::process::geteuid().as_raw();
        let door = Door { listener, name: "control", places: 1, owner };
        // It keeps the only place: no second connection is accepted.
        let greet = |mut client: UnixStream| async move {
            client.write_all(b"welcome").await?;
            pending().await
        };
        let knock = async {
            let told = failed.await.unwrap();
            assert!(told.contains("cannot accept on the control socket"), "{told}");
            listen(&socket, 1).unwrap();
            // At once: this socket once seemed closed, so nobody waits until somebody is there.
            let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
            client.set_nonblocking(true).unwrap();
            let mut answer = [0; 7];
            UnixStream::from_std(client).unwrap().read_exact(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::select! {
            never = serve_each(door, &mut connections, recorder.clone(), greet) => match never {},
            answer = tokio::time::timeout(Duration::from_secs(30), knock) => answer.unwrap(),
        };
        assert_eq!(&answer, b"welcome");
        recorder.close();
        finished.wait().await;
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
