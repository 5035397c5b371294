//! Packets to a helper and back, with the descriptors that come along.

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
    socket: Arc<Mutex<AsyncFd<OwnedFd>>>,
}

impl HelperClient {
    /// Speaks on `socket`: connected, of type `SOCK_SEQPACKET`, and not blocking.
    ///
    /// # Errors
    /// When it cannot be waited on.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: Arc::new(Mutex::new(wait_on(socket, Interest::READABLE | Interest::WRITABLE)?)),
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When the helper cannot be spoken to, refuses, or fails.
    pub(super) async fn ask(&self, request: &Request) -> Result<Answer, NetworkError> {
        let request =
            serde_json::to_vec(request).map_err(|error| NetworkError::Gone(error.into()))?;
        let socket = Arc::clone(&self.socket);
        // In a task of its own: whoever asked may go away, and the answer must not be taken for that
        // to the next request.
        let asking = tokio::spawn(async move {
            let socket = socket.lock().await;
            tokio::time::timeout(ANSWER_DEADLINE, exchange(&socket, &request)).await
        });
        let (packet, descriptors) = match asking.await {
            Ok(Ok(answered)) => answered.map_err(NetworkError::Gone)?,
            Ok(Err(_)) => return Err(NetworkError::Silent(ANSWER_DEADLINE.as_secs())),
            Err(gone) => return Err(NetworkError::Gone(io::Error::other(gone))),
        };
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
