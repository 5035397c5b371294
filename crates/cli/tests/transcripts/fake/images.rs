//! The fake's calls about images.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use banger_proto::api::{Event, ImageDetails, ImageList, ImageView, Pruned};
use banger_proto::{ByteSize, Code, Problem};

use super::{Shared, lines, refuse};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/images", get(list))
        .route("/v1/images/{image}", get(show).delete(delete))
        .route("/v1/images/{image}/promote", post(promote))
        .route("/v1/images/import", post(import))
        .route("/v1/images/pull", post(pull))
        .route("/v1/images/upload", post(upload))
        .route("/v1/images/register", post(register))
        .route("/v1/images/prune", post(prune))
        .layer(DefaultBodyLimit::disable())
}

fn view(name: &str) -> ImageView {
    serde_json::from_value(serde_json::json!({
        "name": name, "description": "", "size": 0, "local": true,
    }))
    .unwrap()
}

fn ready(name: &str) -> Body {
    let progress = Event::Progress { label: "writing".into(), done: 1 << 20, total: Some(2 << 20) };
    lines(&[progress, Event::ImageReady { image: Box::new(view(name)) }])
}

fn not_here(name: &str) -> Response {
    let problem = Problem::new(Code::NotFound, format!("there is no image `{name}` here"));
    refuse(StatusCode::NOT_FOUND, problem)
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<ImageList> {
    let images = shared.images.lock().unwrap().clone();
    Json(ImageList { images, notices: vec!["No catalog today.".into()] })
}

fn find(shared: &Shared, name: &str) -> Option<ImageView> {
    shared.images.lock().unwrap().iter().find(|image| image.name == name).cloned()
}

async fn show(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    match find(&shared, &name) {
        Some(image) => Json(ImageDetails { image, vms: vec!["web".into()] }).into_response(),
        None => not_here(&name),
    }
}

async fn delete(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    match find(&shared, &name) {
        Some(image) => {
            shared.log(format!("delete image {name}"));
            Json(image).into_response()
        }
        None => not_here(&name),
    }
}

async fn promote(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Body {
    shared.log(format!("promote {name}"));
    ready(&name)
}

async fn import(State(shared): State<Arc<Shared>>, body: String) -> Body {
    shared.log(format!("import {body}"));
    ready("mine")
}

async fn pull(State(shared): State<Arc<Shared>>, body: String) -> Body {
    shared.log(format!("pull {body}"));
    ready("alpine:latest")
}

/// `taken` is refused while the body is still coming, and then read to its end.
async fn upload(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let query = query.unwrap_or_default();
    if query.contains("name=taken") {
        let problem = Problem::new(Code::AlreadyExists, "an image named `taken` exists already");
        tokio::spawn(async move { axum::body::to_bytes(body, usize::MAX).await });
        return lines(&[Event::Failed { problem }]).into_response();
    }
    let bytes: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    shared.log(format!("upload {} bytes, {query}", bytes.len()));
    ready("team/app:1").into_response()
}

async fn register(State(shared): State<Arc<Shared>>, body: String) -> Json<ImageView> {
    shared.log(format!("register {body}"));
    Json(view("own"))
}

async fn prune(State(shared): State<Arc<Shared>>) -> Json<Pruned> {
    shared.log("prune");
    let notices = vec!["Some are kept.".to_owned()];
    Json(Pruned { files: 2, bytes: ByteSize::from_mib(312), notices })
}
