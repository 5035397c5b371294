//! Speaking the guest protocol ([`banger_proto::guest`]) to an agent.
//!
//! | module | responsible for |
//! |---|---|
//! | `client` | opening services and reading their replies |
//! | `streams` | services that go on after their reply: watch, exec, unpack, copies |
//! | `jobs` | what comes of jobs |
//! | `ports` | what comes of watching listeners |
//! | `hostile` | making replies fit to be shown and stored |
//!
//! The agent is the guest's, and the guest is not to be trusted: frames are bounded by the link
//! crate, texts are cut and cleaned here, a reply that is none ends the stream, and every
//! request that is answered at once has a deadline. What streams carry later is between the
//! agent and whoever reads it.

mod client;
mod hostile;
mod jobs;
mod ports;
mod streams;

pub use client::GuestClient;
pub use jobs::JobSession;
pub use ports::PortWatch;
pub use streams::{CopyPiece, CopySource, ExecSession, HealthWatch, UnpackSink};

use std::time::Duration;

use banger_link::framed::FramedError;
use banger_proto::Problem;

use crate::hypervisor::HypervisorError;

/// Why the agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The VM has ended, or its supervisor cannot be reached.
    #[error("cannot reach the agent for `{service}`")]
    Unreachable {
        /// The service that was asked for.
        service: &'static str,
        /// Why.
        #[source]
        source: HypervisorError,
    },
    /// The stream broke: the guest restarted its agent, or went down.
    #[error("lost the agent during `{service}`")]
    Lost {
        /// The service that was asked for.
        service: &'static str,
        /// What happened to the stream; none when it just ended.
        #[source]
        source: Option<FramedError>,
    },
    /// No answer in time.
    #[error("the agent did not answer `{service}` within {} s", .after.as_secs())]
    Timeout {
        /// The service that was asked for.
        service: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The agent refused, for reasons of its own.
    #[error("{0}")]
    Refused(#[source] Problem),
    /// The agent said something that is no answer to this service.
    #[error("the agent broke the protocol in `{0}`")]
    Protocol(&'static str),
}
