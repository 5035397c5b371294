//! The calls about images.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use banger_proto::OpId;
use banger_proto::api::{Event, ImageList, ImageView, ImportImage, ObtainImage};

use super::front::InFlight;
use super::reply::{Asked, Failed};
use super::{Api, events};

/// Every image, those that can be obtained included.
#[utoipa::path(get, path = "/v1/images", responses((status = OK, body = ImageList)))]
pub(super) async fn list_images(State(api): State<Api>) -> Result<Json<ImageList>, Failed> {
    Ok(Json(ImageList { images: api.engine.list_images().await? }))
}

/// Makes an image from its recipe.
#[utoipa::path(post, path = "/v1/images/build", request_body = ObtainImage,
    responses((status = OK, body = Event, content_type = "application/x-ndjson")))]
pub(super) async fn build_image(
    State(api): State<Api>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Asked(asked): Asked<ObtainImage>,
) -> Response {
    events::respond(api.engine.obtain_image(asked), op, guard)
}

/// Makes an image of a root file system's tar file.
#[utoipa::path(post, path = "/v1/images/import", request_body = ImportImage,
    responses((status = OK, body = Event, content_type = "application/x-ndjson")))]
pub(super) async fn import_image(
    State(api): State<Api>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Asked(asked): Asked<ImportImage>,
) -> Response {
    events::respond(api.engine.import_image(asked), op, guard)
}

/// Deletes an image that no VM uses.
#[utoipa::path(delete, path = "/v1/images/{image}", params(("image" = String, Path)),
    responses((status = OK, body = ImageView)))]
pub(super) async fn delete_image(
    State(api): State<Api>,
    Path(image): Path<String>,
) -> Result<Json<ImageView>, Failed> {
    Ok(Json(api.engine.delete_image(&image).await?))
}
