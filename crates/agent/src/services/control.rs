//! The services that answer once: hello, configure and shutdown.

use std::sync::Arc;

use banger_proto::guest::frame::Kind;
use banger_proto::guest::{AgentHello, GuestConfig, Hello, InitState, ShutdownRequest};
use banger_proto::{Code, GUEST_GENERATION, Problem};

use super::{ServiceError, ToHost};
use crate::context::{Context, boot_id};

pub(super) async fn hello(
    context: &Context,
    hello: &Hello,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    let reply = AgentHello {
        generation: hello.generation.min(GUEST_GENERATION),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: boot_id(),
        configured: context.is_configured(),
    };
    Ok(to_host.send_json(Kind::Accepted, &reply).await?)
}

/// Configures the guest once. It goes on when the host hangs up half-way: a configuration that
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
        let context = Arc::clone(context);
        move || {
            context.set_env(config.env.clone());
            context.machine.configure(&context, &config)
        }
    };
    let configured = tokio::task::spawn_blocking(worker)
        .await
        .map_err(|_| Problem::new(Code::OperationFailed, "configuring the guest panicked"))??;
    Ok(to_host.send_json(Kind::Accepted, &configured).await?)
}

/// Replies, then ends the guest: afterwards nobody would be left to reply.
pub(super) async fn shutdown(
    context: &Arc<Context>,
    request: ShutdownRequest,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;
    to_host.shutdown().await?;
    context.set_state(InitState::Stopping);
    Ok(context.machine.power_off(request.reboot)?)
}
