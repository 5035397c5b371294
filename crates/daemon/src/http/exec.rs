//! Running a command: the connection is upgraded and becomes the command's stream to the agent.

use axum::body::Body;
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use banger_proto::api::{ExecVm, UPGRADE_FRAMES};
use banger_proto::{Code, Problem};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy};
use tracing::Instrument;

use super::Api;
use super::front::InFlight;
use super::reply::{Asked, Failed, Path};
use crate::engine::Command;
use crate::hypervisor::GuestStream;

/// Runs a command. The answer is an upgrade; after it the connection carries frames both ways.
#[utoipa::path(post, path = "/v1/vms/{vm}/exec", params(("vm", description = "name, id or its beginning"),
        ("upgrade" = String, Header, description = "banger-frames")),
    request_body = ExecVm,
    responses((status = SWITCHING_PROTOCOLS, description = "exec frames, both ways"),
        (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
pub(super) async fn exec(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Extension(guard): Extension<InFlight>,
    mut request: Request,
) -> Result<Response, Failed> {
    let upgrade = take_upgrade(&mut request, UPGRADE_FRAMES)?;
    let Asked(asked) = Asked::<ExecVm>::from_request(request, &()).await?;
    let Command { session, in_use } = api.engine.exec(&vm, asked).await?;
    tracing::debug!(vm, pid = session.started.pid, "command started");
    let held = (guard, in_use);
    tokio::spawn(splice(upgrade, session.stream, held).in_current_span());
    let headers = [(CONNECTION, "upgrade"), (UPGRADE, UPGRADE_FRAMES)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}

/// The connection behind a request that asks to go on in `protocol`.
pub(super) fn take_upgrade(request: &mut Request, protocol: &str) -> Result<OnUpgrade, Problem> {
    let asked = |headers: &HeaderMap| {
        headers.get(UPGRADE).is_some_and(|value| value.as_bytes() == protocol.as_bytes())
    };
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    upgrade.filter(|_| asked(request.headers())).ok_or_else(|| {
        let message = format!("this call needs the header `Upgrade: {protocol}`");
        Problem::new(Code::BadRequest, message).hint("from a shell: banger vm exec, banger vm ssh")
    })
}

/// Carries frames between a client and a stream of a guest until one of them ends; `held` as long.
pub(super) async fn splice<T>(upgrade: OnUpgrade, guest: GuestStream, held: T) {
    match upgrade.await {
        Ok(client) => splice_streams(TokioIo::new(client), guest).await,
        Err(error) => tracing::debug!(%error, "the client went away before its upgrade"),
    }
    drop(held);
}

/// Carries bytes both ways until one side ends. The client ends its side only to be rid of the
/// command, so nothing is waited for then: the guest's stream is dropped, which resets it. When
/// the guest ends its side, what it said has been passed on.
async fn splice_streams(client: TokioIo<hyper::upgrade::Upgraded>, guest: GuestStream) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_guest, mut to_guest) = tokio::io::split(guest);
    let answered = async {
        let copied = copy(&mut from_guest, &mut to_client).await;
        // The client may have closed first; there is nobody left to tell.
        let _ = to_client.shutdown().await;
        copied
    };
    let ended = tokio::select! {
        copied = answered => copied,
        copied = copy(&mut from_client, &mut to_guest) => copied,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "exec stream broke");
    }
}
