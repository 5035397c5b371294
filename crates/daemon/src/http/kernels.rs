//! The calls about kernels.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::Response;
use banger_proto::OpId;
use banger_proto::api::{Event, KernelList, ObtainKernel};

use super::front::InFlight;
use super::reply::{Asked, Failed};
use super::{Api, events};

/// Every kernel, those that can be obtained included.
#[utoipa::path(get, path = "/v1/kernels", responses((status = OK, body = KernelList)))]
pub(super) async fn list_kernels(State(api): State<Api>) -> Result<Json<KernelList>, Failed> {
    Ok(Json(KernelList { kernels: api.engine.list_kernels().await? }))
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
