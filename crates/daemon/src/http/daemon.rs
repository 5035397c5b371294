//! The calls about the daemon itself.

use axum::Json;
use axum::extract::State;
use banger_proto::api::{DaemonStatus, DoctorReport, StateName};
use banger_proto::{API_VERSION, build};
use utoipa::openapi::OpenApi;

use super::Api;

/// How the daemon is.
#[utoipa::path(get, path = "/v1/daemon", responses((status = OK, body = DaemonStatus)))]
pub(super) async fn status(State(api): State<Api>) -> Json<DaemonStatus> {
    let paths = &api.engine.host().paths;
    let counts = api.engine.count();
    Json(DaemonStatus {
        version: build::current().version.to_owned(),
        api_version: API_VERSION,
        build: api.build.clone(),
        pid: std::process::id(),
        started_at: api.engine.started_at().to_string(),
        log: paths.daemon_log().display().to_string(),
        state_dir: paths.state_dir.display().to_string(),
        vms: counts.values().sum(),
        vms_running: counts.get(StateName::Running.as_str()).copied().unwrap_or_default(),
        busy: api.requests.in_flight().saturating_sub(1),
        dns: api.engine.host().names.status(),
        network: api.engine.host().network.status(),
    })
}

/// Ends the daemon; VMs keep running.
#[utoipa::path(post, path = "/v1/daemon/stop", responses((status = OK, body = serde_json::Value)))]
pub(super) async fn stop(State(api): State<Api>) -> Json<serde_json::Value> {
    tracing::info!("asked to stop");
    api.stop.cancel();
    Json(serde_json::json!({}))
}

/// Checks the host.
#[utoipa::path(get, path = "/v1/doctor", responses((status = OK, body = DoctorReport)))]
pub(super) async fn doctor(State(api): State<Api>) -> Json<DoctorReport> {
    Json(api.engine.examine().await)
}

/// Repairs what needs no judgement, then checks the host.
#[utoipa::path(post, path = "/v1/doctor", responses((status = OK, body = DoctorReport)))]
pub(super) async fn repair(State(api): State<Api>) -> Json<DoctorReport> {
    Json(api.engine.repair_and_examine().await)
}

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = OK, body = serde_json::Value)))]
pub(super) async fn openapi() -> Json<OpenApi> {
    Json(super::description())
}
