//! Jobs: commands that outlive the stream that started them.
//!
//! ```text
//!  start ─▶ spawn ─▶ task: pipes ─▶ log ─▶ the end, recorded ─▶ kept for a while, then removed
//!                      ▲             │
//!  kill ─ signals ─────┤             ▼
//!  attach ─ input ─────┘           attach ─▶ host
//! ```
//!
//! | module | responsible for |
//! |---|---|
//! | `registry` | which jobs there are, what is kept, what an earlier agent left |
//! | `job` | one job and the task that lives with it |
//! | `process` | its process, started by this agent or an earlier one |
//! | `pipes` | its output, when the agent that read it was killed |
//! | `log` | what it wrote |
//! | `attach` | following it |
//! | `directory` | the files of all |
//!
//! The directory is on the guest's disk, so that a job's end and output are known after the VM
//! was restarted, too.

mod attach;
mod directory;
mod job;
mod log;
mod pipes;
mod process;
mod registry;

use std::sync::Arc;

use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{AttachJob, KillJob, StartJob};
use banger_proto::{Code, Problem};

pub(crate) use registry::{DIRECTORY, Jobs};

use crate::context::Context;
use crate::services::{FromHost, ServiceError, ToHost, require_configured};
use crate::sys;

/// Starts a job.
pub(crate) async fn start(
    context: &Arc<Context>,
    request: StartJob,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let job = registry::start(context, request).await?;
    Ok(to_host.send_json(Kind::Accepted, &job.record().job).await?)
}

/// Tells which there are.
pub(crate) async fn list(context: &Arc<Context>, to_host: &mut ToHost) -> Result<(), ServiceError> {
    require_configured(context)?;
    let jobs = registry::all(context).await?;
    to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;
    for job in jobs {
        to_host.send_json(Kind::Event, &job.record().job).await?;
    }
    Ok(to_host.send(&Frame::new(Kind::End, [])).await?)
}

/// Follows a job.
pub(crate) async fn attach(
    context: &Arc<Context>,
    request: &AttachJob,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let job = registry::find(context, &request.id).await?;
    attach::serve(&job, request, from_host, to_host).await
}

/// Sends a signal to a job.
pub(crate) async fn kill(
    context: &Arc<Context>,
    request: &KillJob,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let job = registry::find(context, &request.id).await?;
    let signal = sys::signal(request.signal.into()).ok_or_else(|| {
        Problem::new(Code::BadRequest, format!("there is no signal {}", request.signal))
    })?;
    job.signal(signal)?;
    Ok(to_host.send_json(Kind::Accepted, &job.record().job).await?)
}
