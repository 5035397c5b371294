//! The services that answer once: hello, configure, renew, setting the clock, growing the disk and
//! shutdown.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::guest::frame::Kind;
use banger_proto::guest::{
    AgentHello, Configured, DiskGrown, GrowDiskRequest, GuestConfig, Hello, InitKind, InitState,
    SetClock, ShutdownRequest,
};
use banger_proto::{Code, GUEST_GENERATION, Problem, build};

use super::{ServiceError, ToHost, require_configured, system};
use crate::context::{Context, boot_id};
use crate::sys::Urgent;
use crate::{guard, image_program};

/// How long the agent and the commands that are begun still come before everything else when the guest has
/// become a VM of its own: what it wakes takes as long where processors are emulated.
const AHEAD: Duration = Duration::from_secs(1);

/// How much later it has others restarted, which takes work that the first command would wait for.
const AFTER: Duration = Duration::from_secs(4);

pub(super) async fn hello(
    context: &Context,
    hello: &Hello,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    let reply = AgentHello {
        generation: hello.generation.min(GUEST_GENERATION),
        agent_version: build::current().version.to_owned(),
        boot_id: boot_id().to_owned(),
        configured: context.is_configured(),
    };
    Ok(to_host.send_json(Kind::Accepted, &reply).await?)
}

/// Configures the guest once and starts its service. It goes on when the host hangs up half-way: a configuration that
/// stopped in the middle would be worth nothing, and the next hello tells how it ended.
pub(super) async fn configure(
    context: &Arc<Context>,
    config: GuestConfig,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    let conflict = |text: &str| Problem::new(Code::Conflict, text);
    let Some(_configuring) = context.begin_configuring() else {
        return Err(conflict("the guest is being configured").into());
    };
    if context.is_configured() {
        return Err(conflict("the guest is configured already").into());
    }
    let worker = {
        let (context, config) = (Arc::clone(context), config.clone());
        move || {
            context.set_env(config.env.clone());
            context.set_ssh_keys(config.ssh.clone());
            context.machine.configure(&context, &config)
        }
    };
    let configured = tokio::task::spawn_blocking(worker)
        .await
        .map_err(|_| Problem::new(Code::OperationFailed, "configuring the guest panicked"))??;
    let service = config.service.as_ref().map(|spec| image_program::start(context, spec));
    let configured = Configured { service, ..configured };
    Ok(to_host.send_json(Kind::Accepted, &configured).await?)
}

/// Makes a guest that was copied while it ran a VM of its own, and starts its service where none
/// runs. Goes on when the host hangs up half-way, as configuring does.
pub(super) async fn renew(
    context: &Arc<Context>,
    config: GuestConfig,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    let conflict = |text: &str| Problem::new(Code::Conflict, text);
    let Some(_configuring) = context.begin_configuring() else {
        return Err(conflict("the guest is being configured").into());
    };
    require_configured(context)?;
    if context.is_stopping() {
        return Err(conflict("the guest is going down").into());
    }
    let service = config.service.clone();
    // A clock that jumps, a card that goes and comes and another name wake half of the system, on what may be
    // one processor; nobody can use the guest before this is done.
    let urgent = Urgent::begin();
    let worker = {
        let context = Arc::clone(context);
        move || {
            let _urgent = Urgent::begin();
            context.set_env(config.env.clone());
            context.set_ssh_keys(config.ssh.clone());
            let renewed = context.machine.renew(&context, &config);
            // Whatever came of it: some of what a successor has to know is another by now.
            let told = guard::tell(&context).err().map(|error| format!("no guard: {error}"));
            renewed.map(|warnings| warnings.into_iter().chain(told).collect())
        }
    };
    let warnings = tokio::task::spawn_blocking(worker)
        .await
        .map_err(|_| Problem::new(Code::OperationFailed, "renewing the guest panicked"))??;
    if let Some(spec) = service.filter(|_| !context.service.runs()) {
        image_program::start(context, &spec);
    }
    let init = context.init().unwrap_or(InitKind::Agent);
    let renewed = Configured { init, service: context.service.state(), warnings };
    context.set_hurry(true);
    let sent = to_host.send_json(Kind::Accepted, &renewed).await;
    let context = Arc::clone(context);
    tokio::spawn(async move {
        // The answer is not out yet, and is what everybody waits for; then comes the first command.
        tokio::time::sleep(AHEAD).await;
        drop(urgent);
        context.set_hurry(false);
        tokio::time::sleep(AFTER).await;
        system::follow_machine_id(context).await;
    });
    Ok(sent?)
}

/// Sets the clock and begins randomness anew, as far as that is asked for.
pub(super) async fn set_clock(
    context: &Arc<Context>,
    request: SetClock,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    context.machine.set_clock(&request)?;
    Ok(to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?)
}

/// Grows the file system of the writable disk. Goes on when the host hangs up half-way: the kernel
/// takes a size, not a wish.
pub(super) async fn grow_disk(
    context: &Arc<Context>,
    request: GrowDiskRequest,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    let context = Arc::clone(context);
    let GrowDiskRequest { serial, bytes } = request;
    let grown = tokio::task::spawn_blocking(move || context.machine.grow_disk(&serial, bytes));
    let bytes = grown
        .await
        .map_err(|_| Problem::new(Code::OperationFailed, "growing the disk panicked"))??;
    Ok(to_host.send_json(Kind::Accepted, &DiskGrown { bytes }).await?)
}

/// Replies, then ends the service, then the guest: afterwards nobody would be left to reply.
pub(super) async fn shutdown(
    context: &Arc<Context>,
    request: ShutdownRequest,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;
    to_host.shutdown().await?;
    // Before the state, at whose change everybody else asks, too.
    let grace = request.service_grace_ms.map_or(image_program::STOP_GRACE, Duration::from_millis);
    context.service.ask_to_end(grace);
    context.set_state(InitState::Stopping);
    context.service.ended().await;
    Ok(context.machine.power_off(request.reboot)?)
}
