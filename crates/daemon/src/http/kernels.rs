//! The calls about kernels.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::Response;
use banger_proto::api::{Event, ImportKernel, KernelDetails, KernelList, KernelView, ObtainKernel};
use banger_proto::{OpId, Problem};

use super::front::InFlight;
use super::reply::{Asked, Failed, Path};
use super::{Api, events};

/// Every kernel, those that can be obtained included.
#[utoipa::path(get, path = "/v1/kernels", responses((status = OK, body = KernelList)))]
pub(super) async fn list_kernels(State(api): State<Api>) -> Result<Json<KernelList>, Failed> {
    Ok(Json(api.engine.list_kernels().await?))
}

/// Gets a kernel.
#[utoipa::path(post, path = "/v1/kernels/pull", request_body = ObtainKernel,
    responses((status = OK, body = Event, content_type = "application/x-ndjson")))]
pub(super) async fn pull_kernel(
    State(api): State<Api>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Asked(asked): Asked<ObtainKernel>,
) -> Response {
    events::respond(api.engine.obtain_kernel(asked), op, guard)
}

/// Makes a kernel of what the user has.
#[utoipa::path(post, path = "/v1/kernels/import", request_body = ImportKernel,
    responses((status = OK, body = Event, content_type = "application/x-ndjson")))]
pub(super) async fn import_kernel(
    State(api): State<Api>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Asked(asked): Asked<ImportKernel>,
) -> Response {
    events::respond(api.engine.import_kernel(asked), op, guard)
}

/// Everything about a kernel.
#[utoipa::path(get, path = "/v1/kernels/{kernel}", params(("kernel" = String, Path)),
    responses((status = OK, body = KernelDetails)))]
pub(super) async fn show_kernel(
    State(api): State<Api>,
    Path(kernel): Path<String>,
) -> Result<Json<KernelDetails>, Failed> {
    Ok(Json(api.engine.show_kernel(&kernel).await?))
}

/// Deletes a kernel that no VM uses.
#[utoipa::path(delete, path = "/v1/kernels/{kernel}", params(("kernel" = String, Path)),
    responses((status = OK, body = KernelView), (status = CONFLICT, body = Problem)))]
pub(super) async fn delete_kernel(
    State(api): State<Api>,
    Path(kernel): Path<String>,
) -> Result<Json<KernelView>, Failed> {
    Ok(Json(api.engine.delete_kernel(&kernel).await?))
}
