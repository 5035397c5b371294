//! The calls about snapshots, and copies of VMs.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::Response;
use banger_proto::api::{
    Event, ForkVm, Forked, RestoreSnapshot, SnapshotList, SnapshotView, TakeSnapshot,
};
use banger_proto::{OpId, Problem, SnapshotName};
use serde::Deserialize;

use super::front::InFlight;
use super::reply::{Asked, Failed, Path, Query};
use super::{Api, events};

/// Which snapshots are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those of this VM: name, id or its beginning.
    vm: Option<String>,
}

/// Snapshots, the oldest of each VM first.
#[utoipa::path(get, path = "/v1/snapshots", params(Wanted),
    responses((status = OK, body = SnapshotList), (status = NOT_FOUND, body = Problem)))]
pub(super) async fn list(
    State(api): State<Api>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<SnapshotList>, Failed> {
    Ok(Json(api.engine.list_snapshots(wanted.vm.as_deref()).await?))
}

/// Takes a snapshot of a VM; answers once it was tried and kept. Goes on when the connection is closed.
#[utoipa::path(post, path = "/v1/vms/{vm}/snapshots", params(("vm", description = "name, id or its beginning")),
    request_body = TakeSnapshot,
    responses((status = OK, body = SnapshotView), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn take(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Asked(asked): Asked<TakeSnapshot>,
) -> Result<Json<SnapshotView>, Failed> {
    Ok(Json(api.engine.take_snapshot(&vm, asked).await?))
}

/// Takes a VM back to a snapshot. Goes on when the connection is closed.
#[utoipa::path(post, path = "/v1/vms/{vm}/snapshots/{snapshot}/restore",
    params(("vm", description = "name, id or its beginning"), ("snapshot", description = "its name")),
    request_body = RestoreSnapshot,
    responses((status = OK, body = Event, content_type = "application/x-ndjson"),
        (status = NOT_FOUND, body = Problem)))]
pub(super) async fn restore(
    State(api): State<Api>,
    Path((vm, snapshot)): Path<(String, SnapshotName)>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Asked(asked): Asked<RestoreSnapshot>,
) -> Result<Response, Failed> {
    let work = api.engine.restore_snapshot(&vm, &snapshot, asked).await?;
    Ok(events::respond(work, op, guard))
}

/// Removes a snapshot; answers with it as it was.
#[utoipa::path(delete, path = "/v1/vms/{vm}/snapshots/{snapshot}",
    params(("vm", description = "name, id or its beginning"), ("snapshot", description = "its name")),
    responses((status = OK, body = SnapshotView), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn delete(
    State(api): State<Api>,
    Path((vm, snapshot)): Path<(String, SnapshotName)>,
) -> Result<Json<SnapshotView>, Failed> {
    Ok(Json(api.engine.delete_snapshot(&vm, snapshot).await?))
}

/// Makes copies of a VM that runs; answers when commands run in them. Goes on when the connection is closed.
#[utoipa::path(post, path = "/v1/vms/{vm}/fork", params(("vm", description = "name, id or its beginning")),
    request_body = ForkVm,
    responses((status = OK, body = Forked), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn fork(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Asked(asked): Asked<ForkVm>,
) -> Result<Json<Forked>, Failed> {
    Ok(Json(api.engine.fork(&vm, asked).await?))
}
