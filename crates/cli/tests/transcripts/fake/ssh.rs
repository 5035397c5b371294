//! A guest's SSH server that says what it hears.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use banger_proto::api::{StateName, UPGRADE_SSH};
use banger_proto::{Code, Problem};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::{OP_ID, OP_ID_HEADER, Shared, find, refuse, unknown};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v1/vms/{vm}/ssh", get(ssh))
}

async fn ssh(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    mut request: Request,
) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    if vm.state != StateName::Running {
        let message = format!("VM `{name}` does not run: it is {}", vm.state.as_str());
        let problem = Problem::new(Code::Conflict, message).hint(format!("banger vm start {name}"));
        return refuse(StatusCode::CONFLICT, problem);
    }
    shared.log(format!("ssh {name}"));
    assert_eq!(request.headers()[header::UPGRADE], UPGRADE_SSH);
    let upgrade = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>().unwrap();
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.write_all(b"the end\n").await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let headers = [
        (header::CONNECTION.as_str(), "upgrade"),
        (header::UPGRADE.as_str(), UPGRADE_SSH),
        (OP_ID_HEADER, OP_ID),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}
