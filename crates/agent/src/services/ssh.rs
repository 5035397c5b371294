//! The SSH service: one stream, one connection to the guest's SSH server.

use std::sync::Arc;

use banger_proto::guest::frame::Kind;
use banger_proto::{Code, Problem};

use super::{FromHost, ServiceError, ToHost, require_configured};
use crate::context::Context;
use crate::ssh::builtin;
use crate::ssh::sshd::{self, Sshd};

/// Serves one connection to its end.
pub(super) async fn serve(
    context: &Arc<Context>,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let (Some(keys), Some(places)) = (context.ssh_keys(), context.machine.ssh_places()) else {
        return Err(Problem::new(Code::Conflict, "the guest was given no keys for SSH")
            .hint("it gets them when it is started again")
            .into());
    };
    let _count = context.count_command();
    let root = context.root.open().map_err(|error| {
        Problem::new(Code::OperationFailed, "cannot open the guest's root").because(&error)
    })?;
    let server = sshd::find(&root);
    // Systemd's root is not held open for as long as a connection lives.
    drop(root);
    match server {
        Some(program) => {
            let server = Sshd::start(context, program, &places, &keys).await?;
            server.carry(from_host, to_host).await
        }
        None => {
            let config = builtin::prepare(context, &keys.host_key, &places.authorized_keys)?;
            to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;
            let stream = tokio::io::join(from_host.bytes(), to_host.bytes());
            builtin::carry(context, &config, stream).await;
            Ok(())
        }
    }
}
