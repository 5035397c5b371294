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

fn snapshot(id: &str, vm: &str, name: &str) -> Value {
    json!({
        "vm": id, "vm_name": vm, "name": name, "taken_at": "2999-01-01T00:00:00Z",
        "memory": true, "size": 1u64 << 30,
    })
}

/// Two of one VM, and one of another.
async fn list() -> Json<Value> {
    let of_web = |name| snapshot("aabbccddeeff", "web", name);
    let of_db = snapshot("aacc00000000", "db", "birth");
    Json(json!({ "snapshots": [of_web("first"), of_web("before"), of_db] }))
}

async fn take(State(shared): State<Arc<Shared>>, Path(vm): Path<String>) -> Response {
    match find(&shared, &vm) {
        Some(_) => Json(snapshot("aabbccddeeff", "web", "second")).into_response(),
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
