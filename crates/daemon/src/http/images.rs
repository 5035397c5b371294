//! The calls about images.

use std::io;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::Response;
use banger_proto::api::{
    Event, ImageDetails, ImageList, ImageView, ImportImage, ObtainImage, Pruned, RegisterImage,
};
use banger_proto::{OpId, Problem};
use futures_util::StreamExt;

use super::front::InFlight;
use super::reply::{Asked, Failed, Path, Query};
use super::{Api, events};

/// Every image, those that can be obtained included.
#[utoipa::path(get, path = "/v1/images", responses((status = OK, body = ImageList)))]
pub(super) async fn list_images(State(api): State<Api>) -> Result<Json<ImageList>, Failed> {
    Ok(Json(api.engine.list_images().await?))
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
    events::respond(api.engine.build_image(asked), op, guard)
}

/// Gets an image from wherever it is.
#[utoipa::path(post, path = "/v1/images/pull", request_body = ObtainImage,
    responses((status = OK, body = Event, content_type = "application/x-ndjson")))]
pub(super) async fn pull_image(
    State(api): State<Api>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Asked(asked): Asked<ObtainImage>,
) -> Response {
    events::respond(api.engine.pull_image(asked), op, guard)
}

/// Makes an image of an archive on this host.
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

/// Makes an image of the archive that the body is, as it comes. The answer begins at once.
#[utoipa::path(post, path = "/v1/images/upload", params(ImportImage),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = OK, body = Event, content_type = "application/x-ndjson")))]
pub(super) async fn upload_image(
    State(api): State<Api>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Query(asked): Query<ImportImage>,
    body: Body,
) -> Response {
    let chunks = body.into_data_stream().map(|chunk| chunk.map_err(io::Error::other));
    events::respond(api.engine.receive_image(asked, chunks), op, guard)
}

/// Takes in a file system whose file stays where it is.
#[utoipa::path(post, path = "/v1/images/register", request_body = RegisterImage,
    responses((status = OK, body = ImageView), (status = CONFLICT, body = Problem)))]
pub(super) async fn register_image(
    State(api): State<Api>,
    Asked(asked): Asked<RegisterImage>,
) -> Result<Json<ImageView>, Failed> {
    Ok(Json(api.engine.register_image(asked).await?))
}

/// Copies the file of a registered image to where images are.
#[utoipa::path(post, path = "/v1/images/{image}/promote", params(("image" = String, Path)),
    responses((status = OK, body = Event, content_type = "application/x-ndjson")))]
pub(super) async fn promote_image(
    State(api): State<Api>,
    Path(image): Path<String>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
) -> Response {
    events::respond(api.engine.promote_image(image), op, guard)
}

/// Removes the files of images that nothing needs any more.
#[utoipa::path(post, path = "/v1/images/prune", responses((status = OK, body = Pruned)))]
pub(super) async fn prune_images(State(api): State<Api>) -> Result<Json<Pruned>, Failed> {
    Ok(Json(api.engine.prune_images().await?))
}

/// One image that is here, and who uses it.
#[utoipa::path(get, path = "/v1/images/{image}", params(("image" = String, Path)),
    responses((status = OK, body = ImageDetails), (status = NOT_FOUND, body = Problem)))]
pub(super) async fn show_image(
    State(api): State<Api>,
    Path(image): Path<String>,
) -> Result<Json<ImageDetails>, Failed> {
    Ok(Json(api.engine.show_image(&image).await?))
}

/// Deletes an image that no VM uses.
#[utoipa::path(delete, path = "/v1/images/{image}", params(("image" = String, Path)),
    responses((status = OK, body = ImageView), (status = CONFLICT, body = Problem)))]
pub(super) async fn delete_image(
    State(api): State<Api>,
    Path(image): Path<String>,
) -> Result<Json<ImageView>, Failed> {
    Ok(Json(api.engine.delete_image(&image).await?))
}
