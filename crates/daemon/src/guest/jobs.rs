//! What an agent says of jobs.

use std::fmt;

use banger_proto::guest::Job;
use banger_proto::guest::frame::Kind;

use super::GuestError;
use super::client::{Reader, interpret, stream_error};
use super::hostile::Bounded;
use crate::hypervisor::GuestStream;

/// Jobs of one guest that are listened to. An agent has less than half of them.
const JOBS_LIMIT: usize = 512;

/// A job that is followed. Dropping the stream leaves it alone.
pub struct JobSession {
    /// What the agent said of it.
    pub job: Job,
    /// The stream after the `Accepted` frame, for passing on unread.
    pub stream: GuestStream,
}

impl fmt::Debug for JobSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobSession").field("job", &self.job).finish_non_exhaustive()
    }
}

/// Reads jobs until they end.
pub(super) async fn collect_jobs(
    service: &'static str,
    mut reader: Reader,
) -> Result<Vec<Job>, GuestError> {
    let mut jobs = Vec::new();
    loop {
        let frame = match reader.next().await {
            Ok(Some(frame)) if frame.kind == Kind::End => return Ok(jobs),
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(GuestError::Lost { service, source: None }),
            Err(error) => return Err(stream_error(service, error)),
        };
        let mut job: Job = interpret(&frame, Kind::Event, service)?;
        job.bound();
        if jobs.len() == JOBS_LIMIT {
            tracing::warn!(service, "the agent's jobs have no end");
            return Err(GuestError::Protocol(service));
        }
        jobs.push(job);
    }
}
