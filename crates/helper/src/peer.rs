//! Who has connected, by the kernel's word.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};

/// The process that has made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its number; 0 for one in a place that this process cannot see.
    pub process: u32,
    /// Its user's number.
    pub user: u32,
}

impl Peer {
    /// Who has connected to the other end of `socket`.
    ///
    /// # Errors
    ///
    /// It is not a connected unix socket.
    pub fn observe(socket: &impl AsFd) -> io::Result<Self> {
        let peer = getsockopt(socket, sockopt::PeerCredentials)?;
        Ok(Self { process: peer.pid().unsigned_abs(), user: peer.uid() })
    }

    /// Whether the process is there, and its user's in every respect: one that has ended may have left its
    /// number to somebody else's, and one that runs with another user's rights is that one's, too.
    ///
    /// # Errors
    ///
    /// That cannot be told.
    pub fn is_there(&self) -> io::Result<bool> {
        match fs_err::read_to_string(format!("/proc/{}/status", self.process)) {
            Ok(status) => Ok(is_of(&status, self.user)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // It ended while it was read.
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether all four users in the text of `/proc/PID/status` are `user`: real, effective, saved, and that
/// of files.
fn is_of(status: &str, user: u32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let users: Vec<_> = line.split_ascii_whitespace().map(str::parse).collect();
    users.len() == 4 && users.iter().all(|there| *there == Ok(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_its_users_in_every_respect() {
        let status = |users: &str| format!("Name:\tUid:\nUid:\t{users}\nGid:\t7\t7\t7\t7\n");
        assert!(is_of(&status("7\t7\t7\t7"), 7));
        for other in ["7\t0\t7\t7", "7\t7\t0\t7", "8\t8\t8\t8", "7\t7\t7", "x"] {
            assert!(!is_of(&status(other), 7), "{other}");
        }
        assert!(!is_of("", 7));
    }

    #[test]
    fn one_that_has_ended_is_not_there() {
        let user = rustix::process::getuid().as_raw();
        let here = Peer { process: std::process::id(), user };
        assert!(here.is_there().unwrap());
        assert!(!Peer { user: user + 1, ..here }.is_there().unwrap());
        // No process has this number: the kernel's limit is 2^22.
        assert!(!Peer { process: 1 << 23, ..here }.is_there().unwrap());
    }
}
