//! The seam to whoever may change networks.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use banger_proto::api::NetworkMode;
use banger_proto::helper::{Reply, Request};
use banger_proto::{Code, Problem};
use futures_util::future::BoxFuture;

use super::user::NetworkLeftover;

/// Where the VMs' network is, and who changes it.
pub trait Privileged: Send + Sync + fmt::Debug {
    /// Whose network it is in.
    fn mode(&self) -> NetworkMode;

    /// Whether there is a network that an earlier daemon, or this one, has made.
    fn find(&self) -> BoxFuture<'_, Result<bool, NetworkError>>;

    /// Makes sure that there is one.
    fn ensure(&self) -> BoxFuture<'_, Result<(), NetworkError>>;

    /// The words in front of a VMM's command line that start it where its tap is.
    fn entrance(&self) -> Result<Vec<String>, NetworkError>;

    /// Asks the helper for something. Asked again after a failure, it does what is missing.
    fn ask(&self, request: Request) -> BoxFuture<'_, Result<Answer, NetworkError>>;

    /// Makes sure that there is a way from the network to what lies beyond the host.
    fn ensure_uplink(&self) -> BoxFuture<'_, Result<(), NetworkError>>;

    /// Waits until that way is there no more; for ever when there is none.
    fn uplink_gone(&self) -> BoxFuture<'_, ()>;

    /// Takes all of it away. No VMM may be left in it.
    fn remove(&self) -> BoxFuture<'_, Result<(), NetworkError>>;

    /// What is left of networks that nobody is on.
    fn observe_leftovers(&self) -> BoxFuture<'_, Result<Vec<NetworkLeftover>, NetworkError>>;

    /// Takes away what was left, if it still is.
    fn remove_leftover<'a>(
        &'a self,
        left: &'a NetworkLeftover,
    ) -> BoxFuture<'a, Result<(), NetworkError>>;
}

/// What the helper answered.
#[derive(Debug)]
pub struct Answer {
    /// Its words: neither `Refused` nor `Failed`.
    pub reply: Reply,
    /// What it handed over, in the order of the operation.
    pub descriptors: Vec<OwnedFd>,
}

/// Why something of the network could not be done.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A program of banger's own does not start.
    #[error("cannot start the network helper `{program}`")]
    Start {
        /// Its path.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system's service cannot be reached.
    #[error("cannot reach the service `banger-helper` of this system at `{socket}`")]
    Service {
        /// Its socket.
        socket: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The host does not let this user have a network of its own.
    #[error("this host lets you have no network of your own: {reason}")]
    Forbidden {
        /// What it refuses, and why as far as that can be told.
        reason: String,
    },
    /// The helper cannot be spoken to.
    #[error("the network helper is gone")]
    Gone(#[source] io::Error),
    /// The helper does not answer.
    #[error("the network helper did not answer within {0} s")]
    Silent(u64),
    /// The helper said something that is not its protocol.
    #[error("the network helper answered something unknown")]
    Protocol,
    /// The helper could not do it.
    #[error("{reason}{}", render_causes(.causes))]
    Failed {
        /// What.
        reason: String,
        /// What that was due to, outermost first.
        causes: Vec<String>,
    },
    /// Every address is in use.
    #[error("all {0} addresses that VMs can have are in use")]
    Full(u32),
    /// The host uses every network that could be taken.
    #[error("every network that VMs could have is in use on this host")]
    NoSubnet,
    /// The program that is the way out does not start.
    #[error("cannot open the way beyond the host")]
    Uplink(#[source] crate::exec::ExecError),
    /// What is noted about the network cannot be read or written.
    #[error("cannot keep the notes about the network")]
    Record(#[source] io::Error),
    /// What the host has cannot be looked at.
    #[error("cannot look at the host's networks")]
    Host(#[source] io::Error),
    /// A port of the host cannot be offered to guests.
    #[error("cannot offer port {port} of the host to VMs")]
    HostPort {
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: Box<NetworkError>,
    },
}

fn render_causes(causes: &[String]) -> String {
    causes.iter().map(|cause| format!(": {cause}")).collect()
}

impl From<NetworkError> for Problem {
    fn from(error: NetworkError) -> Self {
        let problem = Self::from_error(Code::OperationFailed, &error);
        match error {
            NetworkError::Full(_) => {
                problem.hint("stop a VM, or configure a larger one: subnet = \"172.30.0.0/22\"")
            }
            NetworkError::NoSubnet => {
                problem.hint("configure one that is free: subnet = \"10.77.0.0/24\"")
            }
            NetworkError::Uplink(crate::exec::ExecError::NotFound { .. }) => {
                problem.hint("install pasta (package `passt`), then try again")
            }
            NetworkError::Service { .. } => problem
                .hint("is it installed, and for you? `sudo banger system install` does that")
                .hint("without it: network = \"user\" in the configuration"),
            _ => problem.hint("see what is missing: banger doctor"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::ExecError;

    #[test]
    fn what_the_host_lacks_says_how_to_get_it() {
        let told = |error: NetworkError| {
            let Problem { message, hints, .. } = Problem::from(error);
            format!("{message}; {}", hints.join("; "))
        };
        let program = "pasta".to_owned();
        insta::assert_snapshot!(told(NetworkError::Uplink(ExecError::NotFound { program })), @"cannot open the way beyond the host; install pasta (package `passt`), then try again");
        let reason = "unshare: Operation not permitted".to_owned();
        insta::assert_snapshot!(told(NetworkError::Forbidden { reason }), @"this host lets you have no network of your own: unshare: Operation not permitted; see what is missing: banger doctor");
    }
}
