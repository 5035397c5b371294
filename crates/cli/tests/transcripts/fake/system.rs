//! The fake's calls about banger as a whole.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use banger_proto::api::{
    CollectGarbage, Garbage, Leftover, LeftoverKind, SnapshotList, SnapshotView,
};
use banger_proto::{ByteSize, Code, Problem};

use super::Shared;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v1/system/gc", post(collect)).route("/v1/snapshots", get(snapshots))
}

/// One snapshot of each of two VMs.
async fn snapshots() -> Json<SnapshotList> {
    let snapshot = |vm: &str, name: &str, id: &str| SnapshotView {
        name: name.parse().unwrap(),
        vm: id.parse().unwrap(),
        vm_name: vm.parse().unwrap(),
        taken_at: "2026-08-05T12:00:00Z".into(),
        memory: false,
        size: ByteSize::from_mib(1),
    };
    let of_web = snapshot("web", "before", "aabbccddeeff");
    Json(SnapshotList { snapshots: vec![of_web, snapshot("db", "birth", "aacc00000000")] })
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
