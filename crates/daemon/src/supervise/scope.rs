//! Leaving the daemon's service for a scope of the VM's own: what the supervisor starts from then on is
//! there, too, so that the service manager ends none of it with the service.

use std::io;
use std::path::Path;
use std::time::Duration;

use banger_proto::VmId;
use banger_proto::helper::{MAX_PACKET, Reply, Request};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

/// How long the helper may take: it waits for the service manager. Shorter than the daemon waits for
/// the supervisor's report.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Has the helper at `helper` move this process into the scope of `vm`, where all have `memory` bytes
/// together at most.
///
/// # Errors
/// When the helper cannot be asked, or does not do it.
pub(super) fn enter(helper: &Path, vm: &VmId, memory: Option<u64>) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("helper at `{}`: {error}", helper.display()))
    };
    let packet = serde_json::to_vec(&Request::EnterScope { vm: vm.clone(), memory })?;
    let answer = ask(helper, &packet).map_err(named)?;
    match serde_json::from_slice(&answer) {
        Ok(Reply::Done {}) => Ok(()),
        Ok(Reply::Refused { reason }) => Err(io::Error::other(reason)),
        Ok(Reply::Failed { reason, causes }) => {
            let told: Vec<String> = std::iter::once(reason).chain(causes).collect();
            Err(io::Error::other(told.join(": ")))
        }
        Ok(Reply::Observed(_)) | Err(_) => {
            Err(named(io::Error::other("it answered something unknown")))
        }
    }
}

/// The helper is told by the kernel who connects, so this process itself has to.
fn ask(helper: &Path, packet: &[u8]) -> io::Result<Vec<u8>> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    for way in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, way, Some(ANSWER_DEADLINE))?;
    }
    connect(&socket, &SocketAddrUnix::new(helper)?)?;
    send(&socket, packet, SendFlags::NOSIGNAL)?;
    let mut answer = vec![0; MAX_PACKET];
    let (length, _) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    if length == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without an answer"));
    }
    answer.truncate(length);
    Ok(answer)
}
