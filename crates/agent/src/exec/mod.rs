//! The exec service: one command on one stream.
//!
//! ```text
//!  request ─▶ plan (who, where, what) ─▶ spawn ─▶ session (bytes both ways) ─▶ Exit
//!                 │                        │           │
//!                 ▼                        ▼           ▼ host hangs up
//!              Refused          message, Exit 127|126  SIGHUP, grace, SIGKILL
//! ```
//!
//! Accepted is sent in any case but a refusal; then the last frame is one `Exit`, after all
//! output. A command that could not be started looks like it does in a shell: a line on standard
//! error and 127 (not found) or 126 (not executable), with the process id 0.
//!
//! The host keeps its sending side open until it has the `Exit`: its end means that nobody waits
//! for the command any more. A host that sends more input than it may is hung up on likewise,
//! and told by a `Refused` frame.

mod child;
mod input;
mod mise;
mod output;
mod plan;
mod session;
mod shell;
mod spawn;
mod stream;
mod user;

use std::sync::Arc;

use banger_proto::guest::frame::Kind;
use banger_proto::guest::{ExecExit, ExecRequest, ExecStarted};

pub(crate) use child::Child;
pub(crate) use input::Input;
pub(crate) use output::Output;
pub(crate) use plan::Plan;
pub(crate) use session::take_input;
pub(crate) use spawn::{
    Running, SpawnError, spawn, spawn_lasting, spawn_on_socket, spawn_quiet, spawn_with_output,
};
pub(crate) use stream::Stream;

use crate::context::Context;
use crate::services::{FromHost, ServiceError, ToHost, require_configured};

/// Runs the command that `request` asks for to its end.
pub(crate) async fn serve(
    context: &Arc<Context>,
    request: &ExecRequest,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let plan = Plan::make(context, request)?;
    run(context, plan, request, from_host, to_host).await
}

/// Runs a command that was planned for `request` to its end.
pub(crate) async fn run(
    context: &Arc<Context>,
    mut plan: Plan,
    request: &ExecRequest,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    let hurry = context.hurry();
    plan.setup.urgent = hurry.is_some();
    let count = context.count_command();
    let notice = plan.missing_tools.filter(|_| context.tell_missing_tools());
    let exit = match spawn(plan, request.terminal, request.stdin) {
        Ok(running) => {
            to_host.send_json(Kind::Accepted, &ExecStarted { pid: running.child.pid() }).await?;
            if let Some(file) = notice {
                to_host.send_bytes(Kind::Stderr, mise::render_missing(file).as_bytes()).await?;
            }
            let Some(exit) = session::run(running, hurry, from_host, to_host).await? else {
                return Ok(());
            };
            exit
        }
        Err(SpawnError::Program { code, message }) => {
            to_host.send_json(Kind::Accepted, &ExecStarted { pid: 0 }).await?;
            to_host.send_bytes(Kind::Stderr, message.as_bytes()).await?;
            ExecExit { code: Some(code), signal: None }
        }
        Err(SpawnError::System(problem)) => return Err(problem.into()),
    };
    // Before the last frame, so that a host that has it never sees the command still counted.
    drop(count);
    Ok(to_host.send_json(Kind::Exit, &exit).await?)
}
