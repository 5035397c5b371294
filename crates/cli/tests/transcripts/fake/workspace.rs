//! The fake's guests that have a workspace.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use banger_proto::api::{END_TRAILER, Event, Exported};
use banger_proto::{Code, Problem};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::json;

use super::{Shared, find, refuse, unknown};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/vms/{vm}/workspace", get(status))
        .route("/v1/vms/{vm}/workspace/patch", get(patch))
        .route("/v1/vms/{vm}/workspace/apply", post(apply))
        .route("/v1/vms/{vm}/workspace/branch", post(branch))
}

async fn status(State(shared): State<Arc<Shared>>, Path(vm): Path<String>) -> Response {
    if find(&shared, &vm).is_none() {
        return unknown(&vm);
    }
    let commit = "0123456789abcdef0123456789abcdef01234567";
    Json(json!({
        "base": commit,
        "host": { "path": "/home/ada/repo", "head": commit, "branch": "main", "changed": 1 },
        "guest": { "path": "/root/repo", "head": "fedcba\u{1b}[2J", "branch": null, "changed": 0 },
        "notes": ["`lib` is a repository of its own, which stays in the guest"],
    }))
    .into_response()
}

/// `web` has a patch, `same` an empty one, `broken` one that fails on its way.
async fn patch(
    State(shared): State<Arc<Shared>>,
    Path(vm): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    if find(&shared, &vm).is_none() {
        return unknown(&vm);
    }
    shared.log(format!("patch {}", query.unwrap_or_default()));
    let text = if vm == "same" { "" } else { "diff --git a/x b/x\n\u{1}\u{1b}\n" };
    let notes = match &*vm {
        "web" => vec!["`lib` is a repository of its own\u{7}".to_owned()],
        _ => Vec::new(),
    };
    let end = match &*vm {
        "broken" => Event::Failed { problem: Problem::new(Code::OperationFailed, "git went away") },
        _ => Event::Exported { exported: Exported { bytes: text.len() as u64, notes } },
    };
    let end = HeaderValue::from_bytes(&serde_json::to_vec(&end).unwrap()).unwrap();
    let frames = [
        Frame::data(Bytes::from(text)),
        Frame::trailers(HeaderMap::from_iter([(HeaderName::from_static(END_TRAILER), end)])),
    ];
    let frames = stream::iter(frames.map(Ok::<_, Infallible>));
    ([("trailer", END_TRAILER)], Body::new(StreamBody::new(frames))).into_response()
}

async fn apply(State(shared): State<Arc<Shared>>, Path(vm): Path<String>) -> Response {
    if find(&shared, &vm).is_none() {
        return unknown(&vm);
    }
    if vm == "broken" {
        let problem = Problem::new(Code::Conflict, "a file was changed here and in the guest: `a`")
            .hint("nothing was changed here");
        return refuse(StatusCode::CONFLICT, problem);
    }
    let files = if vm == "same" { json!([]) } else { json!(["a", "odd\u{1b}name"]) };
    Json(json!({ "path": "/home/ada/repo", "files": files, "notes": [] })).into_response()
}

async fn branch(
    State(shared): State<Arc<Shared>>,
    Path(vm): Path<String>,
    Json(asked): Json<serde_json::Value>,
) -> Response {
    shared.log(format!("branch {vm} {asked}"));
    let notes = ["the guest has edits that are not committed; the branch does not have them"];
    Json(json!({ "path": "/home/ada/repo", "branch": asked["name"], "commit": "c0ffee",
        "notes": notes }))
    .into_response()
}
