//! The calls about a VM's workspace: how it is on both sides, and its way home.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::Response;
use banger_proto::api::{Applied, Branched, BringBranch, PatchForm, WorkspaceStatus};
use banger_proto::{OpId, Problem};
use futures_util::stream;
use serde::Deserialize;

use super::Api;
use super::files::respond_pieces;
use super::front::InFlight;
use super::reply::{Asked, Failed, Path, Query};

/// How the patch is told.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Form {
    /// Absent for the whole patch.
    #[serde(default)]
    form: PatchForm,
}

/// How a VM's workspace is on both sides. Neither is changed.
#[utoipa::path(get, path = "/v1/vms/{vm}/workspace", params(("vm", description = "name, id or its beginning")),
    responses((status = OK, body = WorkspaceStatus), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn status(
    State(api): State<Api>,
    Path(vm): Path<String>,
) -> Result<Json<WorkspaceStatus>, Failed> {
    Ok(Json(api.engine.workspace_status(&vm).await?))
}

/// Everything in a VM's workspace since the commit that was brought in, as one patch that git
/// applies: the guest's commits, edits, new files and deletions. Nothing is changed. The trailer
/// `banger-end` is the last event, `exported` or `failed`; it is sent to clients that say
/// `TE: trailers`.
#[utoipa::path(get, path = "/v1/vms/{vm}/workspace/patch",
    params(("vm", description = "name, id or its beginning"), Form),
    responses((status = OK, content_type = "text/x-patch", body = Vec<u8>),
        (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
pub(super) async fn patch(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Query(form): Query<Form>,
) -> Result<Response, Failed> {
    let patch = api.engine.export(&vm, form.form).await?;
    let pieces = stream::unfold(patch, async |mut patch| Some((patch.next().await?, patch)));
    Ok(respond_pieces("text/x-patch", pieces, op, guard))
}

/// Makes the changes in a VM's workspace to the files of the repository on the host: all of them,
/// or none where one of them meets a change of the host's. Index, branches and settings stay.
#[utoipa::path(post, path = "/v1/vms/{vm}/workspace/apply", params(("vm", description = "name, id or its beginning")),
    responses((status = OK, body = Applied), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn apply(
    State(api): State<Api>,
    Path(vm): Path<String>,
) -> Result<Json<Applied>, Failed> {
    Ok(Json(api.engine.apply_workspace(&vm).await?))
}

/// Makes a new branch of the repository on the host of the commits in a VM's workspace.
#[utoipa::path(post, path = "/v1/vms/{vm}/workspace/branch", params(("vm", description = "name, id or its beginning")),
    request_body = BringBranch,
    responses((status = OK, body = Branched), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn branch(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Asked(request): Asked<BringBranch>,
) -> Result<Json<Branched>, Failed> {
    Ok(Json(api.engine.bring_branch(&vm, &request.name).await?))
}
