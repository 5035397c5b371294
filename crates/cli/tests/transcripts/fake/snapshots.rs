//! What the fake says about snapshots and copies.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use banger_proto::api::{ForkVm, Forked};
use serde_json::{Value, json};

use super::{Shared, find, unknown};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/snapshots", get(list))
        .route("/v1/vms/{vm}/snapshots", post(take))
        .route("/v1/vms/{vm}/fork", post(fork))
}

fn snapshot(name: &str) -> Value {
    json!({
        "vm": "aabbccddeeff", "vm_name": "web", "name": name, "taken_at": "2999-01-01T00:00:00Z",
        "memory": true, "size": 1u64 << 30,
    })
}

async fn list() -> Json<Value> {
    Json(json!({ "snapshots": [snapshot("first")] }))
}

async fn take(State(shared): State<Arc<Shared>>, Path(vm): Path<String>) -> Response {
    match find(&shared, &vm) {
        Some(_) => Json(snapshot("second")).into_response(),
        None => unknown(&vm),
    }
}

async fn fork(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Json(asked): Json<ForkVm>,
) -> Response {
    match find(&shared, &name) {
        Some(vm) => {
            let vms = (0..asked.count).map(|_| vm.clone()).collect();
            Json(Forked { vms, held_ms: 210 }).into_response()
        }
        None => unknown(&name),
    }
}
