//! The role that executes requests: packets on a connected socket, answered in order, until its end. Between
//! them it sees to the rules: see [`crate::keeper`].

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use banger_proto::helper::{MAX_PACKET, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType,
    recv, sendmsg, sockopt,
};

use crate::keeper::Keeper;
use crate::namespace::{self, Entrance, NamespaceError};
use crate::operations;
use crate::peer::Peer;
use crate::place::Place;
use crate::privileges::{SERVING, keep_only};
use crate::request::{Refusal, parse_request};

/// Most descriptors that go with one reply.
const DESCRIPTORS: usize = 2;

/// Most bytes of a text in a reply: a caller's own words come back in some.
const MOST_TEXT: usize = 2 << 10;

/// Why serving ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The namespaces.
    #[error("cannot get to where the network is")]
    Namespace(#[from] NamespaceError),
    /// Capabilities.
    #[error("cannot give up capabilities")]
    Privileges(#[source] io::Error),
    /// What is to be served is not what it must be.
    #[error("standard input is not a connected unix socket of packets")]
    Socket,
    /// Somebody else than the owner asks.
    #[error("user {peer} has connected, and only user {owner} may ask: nothing was done")]
    NotOwner {
        /// Who asks.
        peer: u32,
        /// Who may.
        owner: u32,
    },
    /// The socket fails.
    #[error("cannot read requests")]
    Receive(#[source] io::Error),
    /// The socket fails.
    #[error("cannot send a reply")]
    Send(#[source] io::Error),
}

/// Serves standard input in the namespaces, with no more capabilities than the operations take.
///
/// # Errors
///
/// It cannot begin, or the socket fails.
pub fn serve_standard_input(entrance: &Entrance, place: &Place) -> Result<(), ServeError> {
    let input = io::stdin();
    require_packets(input.as_fd())?;
    namespace::enter(entrance)?;
    keep_only(SERVING).map_err(|errno| ServeError::Privileges(errno.into()))?;
    serve(input.as_fd(), place, None)
}

/// Serves standard input in the network that the process is in already, for the owner of the taps and
/// nobody else, with no more capabilities than the operations take.
///
/// # Errors
///
/// It cannot begin, somebody else has connected, or the socket fails.
pub fn serve_standard_input_in_host(place: &Place) -> Result<(), ServeError> {
    let input = io::stdin();
    require_packets(input.as_fd())?;
    let peer = Peer::observe(&input).map_err(|_| ServeError::Socket)?;
    if peer.user != place.tap_owner {
        return Err(ServeError::NotOwner { peer: peer.user, owner: place.tap_owner });
    }
    keep_only(SERVING).map_err(|errno| ServeError::Privileges(errno.into()))?;
    serve(input.as_fd(), place, Some(peer))
}

fn require_packets(input: BorrowedFd<'_>) -> Result<(), ServeError> {
    let unix = sockopt::socket_domain(input).is_ok_and(|domain| domain == AddressFamily::UNIX);
    let packets = sockopt::socket_type(input).is_ok_and(|kind| kind == SocketType::SEQPACKET);
    if unix && packets { Ok(()) } else { Err(ServeError::Socket) }
}

/// Serves one connection until the other side ends it. An empty packet ends it, too: the kernel does not
/// tell the two apart. `peer` is whoever has made it, where that matters.
///
/// # Errors
///
/// The socket fails.
pub fn serve(socket: BorrowedFd<'_>, place: &Place, peer: Option<Peer>) -> Result<(), ServeError> {
    // One byte more than there may be, to see that there is more.
    let mut buffer = vec![0; MAX_PACKET + 1];
    let mut keeper = Keeper::default();
    loop {
        // The end of the connection comes before anything else: its rules may be another's by then.
        if !wait(socket, &keeper).map_err(|errno| ServeError::Receive(errno.into()))? {
            keeper.look();
            continue;
        }
        // Without room for them, descriptors that come along are closed by the kernel.
        let received = retry_on_intr(|| recv(socket, buffer.as_mut_slice(), RecvFlags::empty()));
        let packet = match received {
            Ok((0, _)) => return Ok(()),
            Ok((length, _)) => &buffer[..length],
            Err(Errno::CONNRESET) => return Ok(()),
            Err(errno) => return Err(ServeError::Receive(errno.into())),
        };
        let (reply, descriptors) = match parse_request(packet) {
            Ok(checked) => operations::execute(place, peer, &mut keeper, &checked),
            Err(refusal) => (refused(&refusal), Vec::new()),
        };
        match send(socket, reply, &descriptors) {
            // Whoever asked does not want to know any more.
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            sent => sent.map_err(|errno| ServeError::Send(errno.into()))?,
        }
        keeper.look();
    }
}

/// Waits until there is a request, or the end of them: yes; or something for the keeper to do: no.
fn wait(socket: BorrowedFd<'_>, keeper: &Keeper) -> Result<bool, Errno> {
    let mut waited = vec![PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    let changes = keeper.changes();
    waited.extend(changes.map(|changes| PollFd::from_borrowed_fd(changes, PollFlags::IN)));
    let timeout = keeper.timeout().map(Timespec::try_from).transpose().map_err(|_| Errno::INVAL)?;
    retry_on_intr(|| poll(&mut waited, timeout.as_ref()))?;
    Ok(waited.first().is_some_and(|socket| !socket.revents().is_empty()))
}

fn refused(refusal: &Refusal) -> Reply {
    let mut reason = refusal.to_string();
    for cause in crate::causes(refusal) {
        reason.push_str(": ");
        reason.push_str(&cause);
    }
    Reply::Refused { reason }
}

fn send(socket: BorrowedFd<'_>, reply: Reply, descriptors: &[OwnedFd]) -> Result<(), Errno> {
    let packet = serde_json::to_vec(&cut(reply)).map_err(|_| Errno::INVAL)?;
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    retry_on_intr(|| sendmsg(socket, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL))
        .map(drop)
}

/// A reply whose texts are not longer than anybody reads.
fn cut(reply: Reply) -> Reply {
    match reply {
        Reply::Refused { reason } => Reply::Refused { reason: cut_text(reason) },
        Reply::Failed { reason, causes } => Reply::Failed {
            reason: cut_text(reason),
            causes: causes.into_iter().map(cut_text).collect(),
        },
        reply @ (Reply::Done {} | Reply::Observed(_)) => reply,
    }
}

fn cut_text(mut text: String) -> String {
    if text.len() > MOST_TEXT {
        let end = (0..=MOST_TEXT).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}
