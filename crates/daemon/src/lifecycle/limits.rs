//! What the kernel lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are enough for every VM and command of one user. Not more: what the daemon
/// starts inherits the limit, and some programs go through all numbers up to it.
const ENOUGH: u64 = 65_536;

/// Raises the limit of open files as far as this process may and needs.
pub(super) fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// How the files that this process may have open are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    /// For the daemon's own socket, and all that belongs to its requests.
    pub(super) requests: u64,
    /// For forwarding ports of guests.
    pub(super) forwards: u64,
}

/// How many files this process may have open, and for what.
pub(super) fn observe_open_files() -> Shares {
    share_out(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// A quarter for ports: a page of a web server in a guest may open as many connections as it likes,
/// and commands have to run all the same.
fn share_out(limit: u64) -> Shares {
    let forwards = limit / 4;
    Shares { requests: limit - forwards, forwards }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_twice() {
        for limit in [0, 3, 1024, ENOUGH, u64::MAX] {
            let Shares { requests, forwards } = share_out(limit);
            assert_eq!(requests + forwards, limit);
            assert!(requests >= forwards);
        }
    }
}
