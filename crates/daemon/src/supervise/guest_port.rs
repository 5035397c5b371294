//! A port of the guest's virtio socket, as its VMM offers it on a unix socket: whoever writes
//! `CONNECT port` there and reads `OK` is connected (Firecracker's `docs/vsock.md`).
//!
//! Nobody tells when somebody listens in the guest, so the agent rings: it connects to the same port of
//! the host's, which the VMM passes on to a socket of the supervisor's. Everybody in the guest can ring;
//! that costs one attempt to connect, and only root can listen where that leads.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::accept::{Door, serve_each};
use super::recorder::Recorder;

/// How long the guest may take to accept. Its kernel does by itself, once it runs; Firecracker gives up
/// after 2 s.
const ACCEPT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a guest takes at least that has no time to answer: one in which nobody listens refuses at once,
/// and Firecracker gives up one that says nothing after 2 s.
const BUSY: Duration = Duration::from_secs(1);
/// Most bytes of an answer: `OK`, the number of a port, and the end of the line.
const ANSWER_LIMIT: usize = 32;

/// The port, and how its owner is heard of.
#[derive(Debug, Clone)]
pub(super) struct GuestPort {
    socket: PathBuf,
    number: u32,
    rung: Arc<Notify>,
    /// Whether nobody is to be connected for now.
    held: Arc<AtomicBool>,
}

impl GuestPort {
    /// Port `number` of the VMM whose virtio socket is at `socket`.
    pub(super) fn new(socket: PathBuf, number: u32) -> Self {
        Self { socket, number, rung: Arc::default(), held: Arc::default() }
    }

    /// Says that somebody listens there.
    pub(super) fn ring(&self) {
        self.rung.notify_one();
    }

    /// Has nobody be connected until the guest [goes on](Self::release): its connections are going to end
    /// without anybody's being told.
    pub(super) fn hold(&self) {
        self.held.store(true, Relaxed);
    }

    /// The guest goes on: who listened there before does not ring again.
    pub(super) fn release(&self) {
        self.held.store(false, Relaxed);
        self.ring();
    }

    fn is_held(&self) -> bool {
        self.held.load(Relaxed)
    }

    /// Hears who rings at `bell` for as long as it is polled.
    ///
    /// The VMM stands still while it waits to be let in, so everybody is, at once.
    pub(super) async fn listen(self, bell: UnixListener, recorder: Recorder) -> Infallible {
        let owner = geteuid().as_raw();
        let door = Door { listener: bell, name: "bell", places: 1, owner };
        serve_each(door, &mut JoinSet::new(), recorder, |caller| {
            drop(caller);
            self.ring();
            std::future::ready(Ok(()))
        })
        .await
    }

    /// Connects to whoever listens there, as soon as somebody does.
    pub(super) async fn connected(&self) -> UnixStream {
        loop {
            self.rung.notified().await;
            if self.is_held() {
                continue;
            }
            let begun = Instant::now();
            let attempt = timeout(ACCEPT_DEADLINE, self.connect()).await;
            if self.is_held() {
                continue;
            }
            if let Ok(Ok(stream)) = attempt {
                // Who has listened once may do so again without a ring.
                self.ring();
                return stream;
            }
            if begun.elapsed() >= BUSY {
                // Whoever listens there has rung, and does not know that nobody came through.
                self.ring();
            }
        }
    }

    /// # Errors
    /// When nobody listens.
    async fn connect(&self) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_all(format!("CONNECT {}\n", self.number).as_bytes()).await?;
        let mut answer = Vec::new();
        // What comes after the line is the guest's.
        while answer.last() != Some(&b'\n') && answer.len() < ANSWER_LIMIT {
            answer.push(stream.read_u8().await?);
        }
        match answer.starts_with(b"OK ") && answer.ends_with(b"\n") {
            true => Ok(stream),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Reads a request, and answers it.
    async fn answer(vmm: &UnixListener, answer: &[u8]) -> (String, UnixStream) {
        let (mut client, _) = vmm.accept().await.unwrap();
        let mut asked = [0; 64];
        let length = client.read(&mut asked).await.unwrap();
        client.write_all(answer).await.unwrap();
        (String::from_utf8_lossy(&asked[..length]).into_owned(), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_was_busy_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let vmm = UnixListener::bind(dir.path().join("vsock.sock")).unwrap();
        let port = GuestPort::new(dir.path().join("vsock.sock"), 1023);
        port.ring();
        let guest = async {
            let (_, waiting) = answer(&vmm, b"").await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(waiting);
            answer(&vmm, b"OK 7\n").await.1
        };
        timeout(DEADLINE, async { tokio::join!(port.connected(), guest) }).await.unwrap();
    }

    #[tokio::test]
    async fn each_ring_is_answered_by_an_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let vmm = UnixListener::bind(at("vsock.sock")).unwrap();
        let bell = UnixListener::bind(at("bell.sock")).unwrap();
        let (recorder, _finished) = Recorder::start(&at("console"), 0, &at("log"), None).unwrap();
        let port = GuestPort::new(at("vsock.sock"), 1023);
        let _listening = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(
            port.clone().listen(bell, recorder),
        ));
        let ring = async || {
            let mut ringing = UnixStream::connect(at("bell.sock")).await.unwrap();
            assert_eq!(ringing.read(&mut [0]).await.unwrap(), 0);
        };
        let test = async {
            let guest = async {
                // One who is refused, one who is let in.
                ring().await;
                let (asked, refused) = answer(&vmm, b"").await;
                assert_eq!(asked, "CONNECT 1023\n");
                drop(refused);
                ring().await;
                answer(&vmm, b"OK 1073741824\nfirst words").await.1
            };
            let (mut host, guest) = tokio::join!(port.connected(), guest);
            let mut said = [0; 11];
            host.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"first words");
            drop((host, guest));
            // The next one needs no ring.
            tokio::join!(port.connected(), answer(&vmm, b"OK 1\n"));
            // However many ring while nobody is waited for, the VMM does not stand still.
            for _ in 0..5000 {
                ring().await;
            }
        };
        timeout(DEADLINE, test).await.unwrap();
    }
}
