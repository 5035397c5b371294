//! The fake's calls about banger as a whole.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use banger_proto::api::{CollectGarbage, Garbage, Leftover, LeftoverKind};
use banger_proto::{ByteSize, Code, Problem};

use super::Shared;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v1/system/gc", post(collect)).route("/v1/doctor", get(doctor))
}

/// A process and a disk that cannot be removed.
async fn collect(
    State(shared): State<Arc<Shared>>,
    Json(asked): Json<CollectGarbage>,
) -> Json<Garbage> {
    if !asked.dry_run {
        shared.log("gc");
    }
    let leftover = |kind, dir: &str, size| Leftover {
        vm: Some("0123456789ab".parse().unwrap()),
        kind,
        path: format!("{dir}/vms/0123456789ab"),
        size: ByteSize::from_bytes(size),
        removed: !asked.dry_run,
        problem: None,
    };
    let mut disk = leftover(LeftoverKind::Disk, "/state", 3 << 30);
    if !asked.dry_run {
        disk.removed = false;
        disk.problem = Some(Problem::new(Code::OperationFailed, "cannot remove the files"));
    }
    Json(Garbage {
        leftovers: vec![leftover(LeftoverKind::Process, "/run", 8 << 10), disk],
        notices: vec!["`/run/vms/aa` is of somebody else".into()],
    })
}

/// A host on which VMs are slow.
async fn doctor() -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "checks": [
            { "name": "architecture", "status": "PASS", "found": "x86_64" },
            { "name": "kvm", "status": "WARN", "found": "no `/dev/kvm`", "remedy": "Turn it on." },
        ],
        "repairs": [{ "what": "remove `/state/vms/aa`", "done": false }],
    }))
}
