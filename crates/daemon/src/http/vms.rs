//! The calls about VMs, running commands excepted.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use banger_proto::api::{
    CreateVm, DeleteVm, Event, RestartVm, SetVm, StartVm, StopVm, VmList, VmView, WaitVm,
};
use banger_proto::{OpId, Problem};
use futures_util::stream;
use serde::Deserialize;

use super::front::InFlight;
use super::reply::{Asked, Failed, Path, Query};
use super::{Api, events};

/// Every VM, oldest first.
#[utoipa::path(get, path = "/v1/vms", responses((status = OK, body = VmList)))]
pub(super) async fn list(State(api): State<Api>) -> Json<VmList> {
    Json(VmList { vms: api.engine.list() })
}

/// Makes a VM. Closing the connection before the end undoes it.
#[utoipa::path(post, path = "/v1/vms", request_body = CreateVm,
    responses((status = OK, body = Event, content_type = "application/x-ndjson")))]
pub(super) async fn create(
    State(api): State<Api>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Asked(asked): Asked<CreateVm>,
) -> Response {
    events::respond(api.engine.create(asked), op, guard)
}

/// One VM.
#[utoipa::path(get, path = "/v1/vms/{vm}", params(("vm", description = "name, id or its beginning")),
    responses((status = OK, body = VmView), (status = NOT_FOUND, body = Problem)))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(vm): Path<String>,
) -> Result<Json<VmView>, Failed> {
    Ok(Json(api.engine.show(&vm).await?))
}

/// Changes a VM; answers with the VM as it is then. Goes on when the connection is closed.
#[utoipa::path(patch, path = "/v1/vms/{vm}", params(("vm", description = "name, id or its beginning")),
    request_body = SetVm,
    responses((status = OK, body = VmView), (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
pub(super) async fn set(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Asked(asked): Asked<SetVm>,
) -> Result<Json<VmView>, Failed> {
    Ok(Json(api.engine.set(&vm, asked).await?))
}

/// Removes a VM with its disk; answers with the VM as it was.
#[utoipa::path(delete, path = "/v1/vms/{vm}",
    params(("vm", description = "name, id or its beginning"), DeleteVm),
    responses((status = OK, body = VmView), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn delete(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Query(asked): Query<DeleteVm>,
) -> Result<Json<VmView>, Failed> {
    Ok(Json(api.engine.delete(&vm, asked).await?))
}

/// Boots a VM that is down. Closing the connection before the end stops it again.
#[utoipa::path(post, path = "/v1/vms/{vm}/start", params(("vm", description = "name, id or its beginning")),
    request_body = StartVm,
    responses((status = OK, body = Event, content_type = "application/x-ndjson"),
        (status = NOT_FOUND, body = Problem)))]
pub(super) async fn start(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Asked(asked): Asked<StartVm>,
) -> Result<Response, Failed> {
    Ok(events::respond(api.engine.start(&vm, asked).await?, op, guard))
}

/// Brings a VM down.
#[utoipa::path(post, path = "/v1/vms/{vm}/stop", params(("vm", description = "name, id or its beginning")),
    request_body = StopVm,
    responses((status = OK, body = VmView), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn stop(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Asked(asked): Asked<StopVm>,
) -> Result<Json<VmView>, Failed> {
    Ok(Json(api.engine.stop(&vm, asked).await?))
}

/// Has a VM stand still, with all that runs in it.
#[utoipa::path(post, path = "/v1/vms/{vm}/pause", params(("vm", description = "name, id or its beginning")),
    responses((status = OK, body = VmView), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn pause(
    State(api): State<Api>,
    Path(vm): Path<String>,
) -> Result<Json<VmView>, Failed> {
    Ok(Json(api.engine.pause(&vm).await?))
}

/// Has a VM that stands still go on.
#[utoipa::path(post, path = "/v1/vms/{vm}/resume", params(("vm", description = "name, id or its beginning")),
    responses((status = OK, body = VmView), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn resume(
    State(api): State<Api>,
    Path(vm): Path<String>,
) -> Result<Json<VmView>, Failed> {
    Ok(Json(api.engine.resume(&vm).await?))
}

/// Ends a VM without asking its guest.
#[utoipa::path(post, path = "/v1/vms/{vm}/kill", params(("vm", description = "name, id or its beginning")),
    responses((status = OK, body = VmView), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn kill(
    State(api): State<Api>,
    Path(vm): Path<String>,
) -> Result<Json<VmView>, Failed> {
    Ok(Json(api.engine.kill(&vm).await?))
}

/// Brings a VM down, if it runs, and boots it. Goes on when the connection is closed.
#[utoipa::path(post, path = "/v1/vms/{vm}/restart", params(("vm", description = "name, id or its beginning")),
    request_body = RestartVm,
    responses((status = OK, body = Event, content_type = "application/x-ndjson"),
        (status = NOT_FOUND, body = Problem)))]
pub(super) async fn restart(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Asked(asked): Asked<RestartVm>,
) -> Result<Response, Failed> {
    Ok(events::respond(api.engine.restart(&vm, asked).await?, op, guard))
}

/// Answers when a VM is as asked, with the VM.
#[utoipa::path(post, path = "/v1/vms/{vm}/wait", params(("vm", description = "name, id or its beginning")),
    request_body = WaitVm,
    responses((status = OK, body = VmView), (status = NOT_FOUND, body = Problem),
        (status = GATEWAY_TIMEOUT, body = Problem)))]
pub(super) async fn wait(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Asked(asked): Asked<WaitVm>,
) -> Result<Json<VmView>, Failed> {
    Ok(Json(api.engine.wait(&vm, asked).await?))
}

/// What of a console is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Logs {
    /// Only the last so many lines.
    tail: Option<usize>,
    /// Go on with what is written, until the VM is down.
    #[serde(default)]
    follow: bool,
}

/// The console of a VM, as its guest wrote it.
#[utoipa::path(get, path = "/v1/vms/{vm}/logs", params(("vm", description = "name, id or its beginning"), Logs),
    responses((status = OK, content_type = "application/octet-stream", body = Vec<u8>),
        (status = NOT_FOUND, body = Problem)))]
pub(super) async fn logs(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Extension(guard): Extension<InFlight>,
    Query(wanted): Query<Logs>,
) -> Result<Response, Failed> {
    let console = api.engine.logs(&vm, wanted.tail, wanted.follow)?;
    let chunks = stream::unfold((console, guard), async |(mut console, guard)| {
        Some((console.recv().await?, (console, guard)))
    });
    let body = Body::from_stream(chunks);
    Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response())
}
