//! The calls about banger as a whole on this host.

use axum::Json;
use axum::extract::State;
use banger_proto::api::{CollectGarbage, Garbage};

use super::Api;
use super::reply::{Asked, Failed};

/// Removes what belongs to no VM, or tells what that is.
#[utoipa::path(post, path = "/v1/system/gc", request_body = CollectGarbage,
    responses((status = OK, body = Garbage)))]
pub(super) async fn collect_garbage(
    State(api): State<Api>,
    Asked(asked): Asked<CollectGarbage>,
) -> Result<Json<Garbage>, Failed> {
    Ok(Json(api.engine.collect_garbage(asked).await?))
}
