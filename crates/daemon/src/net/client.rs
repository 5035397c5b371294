//! Packets to a helper and back, with the descriptors that come along.
//!
//! Answers say nothing of what they answer. So a connection on which one stayed out is closed: it would
//! be taken for that to the next request.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::helper::{MAX_PACKET, Reply, Request};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

use super::privileged::{Answer, NetworkError};
use crate::supervise::wait_on;

/// How long the helper may take for one request. Most take some milliseconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// Most descriptors with one reply.
const MAX_DESCRIPTORS: usize = 2;

/// A connection to a helper. Clones are the same; requests of all of them take turns.
#[derive(Debug, Clone)]
pub(super) struct HelperClient {
    /// None once it was given up.
    socket: Arc<Mutex<Option<AsyncFd<OwnedFd>>>>,
    deadline: Duration,
}

impl HelperClient {
    /// Speaks on `socket`: connected, of type `SOCK_SEQPACKET`, and not blocking.
    ///
    /// # Errors
    /// When it cannot be waited on.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = wait_on(socket, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket: Arc::new(Mutex::new(Some(socket))), deadline: ANSWER_DEADLINE })
    }

    /// The same connection, with another time for each request.
    #[cfg(test)]
    pub(super) fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Whether both are the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.socket, &other.socket)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When the helper cannot be spoken to, refuses, or fails. Where it cannot be spoken to, and where it
    /// does not answer, nobody can by this connection any more.
    pub(super) async fn ask(&self, request: &Request) -> Result<Answer, NetworkError> {
        let request =
            serde_json::to_vec(request).map_err(|error| NetworkError::Gone(error.into()))?;
        let (socket, deadline) = (Arc::clone(&self.socket), self.deadline);
        // In a task of its own: whoever asked may go away, and the answer must not be taken for that
        // to the next request.
        let asking = tokio::spawn(async move {
            let mut kept = socket.lock().await;
            let Some(socket) = kept.as_ref() else {
                return Err(NetworkError::Gone(io::ErrorKind::NotConnected.into()));
            };
            let answered = match tokio::time::timeout(deadline, exchange(socket, &request)).await {
                Ok(answered) => answered.map_err(NetworkError::Gone),
                Err(_) => Err(NetworkError::Silent(deadline.as_secs())),
            };
            if answered.is_err() {
                *kept = None;
            }
            answered
        });
        let (packet, descriptors) =
            asking.await.unwrap_or_else(|gone| Err(NetworkError::Gone(io::Error::other(gone))))?;
        match serde_json::from_slice(&packet) {
            Ok(Reply::Refused { reason }) => {
                Err(NetworkError::Failed { reason, causes: Vec::new() })
            }
            Ok(Reply::Failed { reason, causes }) => Err(NetworkError::Failed { reason, causes }),
            Ok(reply) => Ok(Answer { reply, descriptors }),
            Err(_) => Err(NetworkError::Protocol),
        }
    }
}

async fn exchange(
    socket: &AsyncFd<OwnedFd>,
    request: &[u8],
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    loop {
        let mut ready = socket.writable().await?;
        if let Ok(sent) = ready.try_io(|socket| send(socket.get_ref(), request)) {
            sent?;
            break;
        }
    }
    loop {
        let mut ready = socket.readable().await?;
        if let Ok(received) = ready.try_io(|socket| receive(socket.get_ref())) {
            return received;
        }
    }
}

fn send(socket: &OwnedFd, packet: &[u8]) -> io::Result<()> {
    let slices = [io::IoSlice::new(packet)];
    sendmsg(socket, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut packet = vec![0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [io::IoSliceMut::new(&mut packet)];
    let received = recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    packet.truncate(received.bytes);
    Ok((packet, descriptors))
}

#[cfg(test)]
mod tests {
    use banger_proto::helper::Observed;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, recv, socketpair};

    use super::*;

    /// Both ends of a connection; whoever asks has little time.
    fn connection() -> (HelperClient, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::io::ioctl_fionbio(&ours, true).unwrap();
        (HelperClient::new(ours).unwrap().within(Duration::from_millis(10)), theirs)
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_that_to_nothing_else() {
        let (client, helper) = connection();
        let late = client.ask(&Request::Observe {}).await.unwrap_err();
        assert!(matches!(late, NetworkError::Silent(_)), "{late}");
        // Nobody may be there to take it.
        let observed = serde_json::to_vec(&Reply::Observed(Observed::default())).unwrap();
        let _ = send(&helper, &observed);
        let next = client.clone().ask(&Request::RemoveBridge {}).await;
        assert!(matches!(next, Err(NetworkError::Gone(_))), "{next:?}");
        // The helper, too, is told that nobody listens.
        recv(&helper, vec![0; MAX_PACKET].as_mut_slice(), RecvFlags::empty()).unwrap();
        let (length, _) =
            recv(&helper, vec![0; MAX_PACKET].as_mut_slice(), RecvFlags::empty()).unwrap();
        assert_eq!(length, 0);
    }
}
