//! Connections to the SSH servers of guests: an HTTP upgrade, then bytes both ways.

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::response::{IntoResponse, Response};
use banger_proto::Problem;
use banger_proto::api::UPGRADE_SSH;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_buf};
use tracing::Instrument;

use super::Api;
use super::exec::take_upgrade;
use super::front::InFlight;
use super::reply::{Failed, Path};
use crate::engine::SshConnection;

/// Bytes copied at once, in each direction: files come this way, too.
const COPY_BUFFER: usize = 64 << 10;

/// Connects to a guest's SSH server. The answer is an upgrade; after it the connection carries
/// the bytes of the SSH protocol.
#[utoipa::path(get, path = "/v1/vms/{vm}/ssh", params(("vm", description = "name, id or its beginning"),
        ("upgrade" = String, Header, description = "banger-ssh")),
    responses((status = SWITCHING_PROTOCOLS, description = "an SSH connection, both ways"),
        (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
pub(super) async fn connect(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Extension(guard): Extension<InFlight>,
    mut request: Request,
) -> Result<Response, Failed> {
    let upgrade = take_upgrade(&mut request, UPGRADE_SSH)?;
    let SshConnection { stream, in_use } = api.engine.ssh(&vm).await?;
    let splicing = async move {
        let _held = (guard, in_use);
        match upgrade.await {
            Ok(client) => {
                if let Err(error) = splice(TokioIo::new(client), stream).await {
                    tracing::debug!(%error, "an SSH connection broke");
                }
            }
            Err(error) => tracing::debug!(%error, "the client went away before its upgrade"),
        }
    };
    tokio::spawn(splicing.in_current_span());
    let headers = [(CONNECTION, "upgrade"), (UPGRADE, UPGRADE_SSH)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}

/// Carries bytes both ways until the guest has said all: then its server is gone. A client that
/// has said all may still be told something.
async fn splice(
    client: impl AsyncRead + AsyncWrite,
    guest: impl AsyncRead + AsyncWrite,
) -> std::io::Result<()> {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_guest, to_guest) = tokio::io::split(guest);
    let asked = async {
        copy(from_client, to_guest).await?;
        std::future::pending().await
    };
    tokio::select! {
        broke = asked => broke,
        ended = copy(from_guest, to_client) => ended,
    }
}

async fn copy(
    reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut reader = tokio::io::BufReader::with_capacity(COPY_BUFFER, reader);
    copy_buf(&mut reader, &mut writer).await?;
    writer.shutdown().await
}
