//! What the fake says about what VMs use and how they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, http::Uri};
use banger_proto::api::{StatsReport, VmEvent, VmHealth};
use banger_proto::{Code, Problem};
use futures_util::stream;
use tokio::sync::broadcast;

use super::{Shared, find, refuse, unknown};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/vms/{vm}/ping", get(ping))
        .route("/v1/vms/{vm}/health", get(health))
        .route("/v1/vms/{vm}/ports", get(ports))
        .route("/v1/stats", get(stats))
        .route("/v1/events", get(events))
}

/// What happens to VMs, for whoever listens.
pub(super) struct News {
    sender: broadcast::Sender<VmEvent>,
    /// Number of the last change.
    last: AtomicU64,
}

impl Default for News {
    fn default() -> Self {
        Self { sender: broadcast::channel(64).0, last: AtomicU64::new(0) }
    }
}

impl News {
    pub(super) fn tell(&self, event: impl FnOnce(u64) -> VmEvent) {
        let seq = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        // Nobody may be listening.
        let _ = self.sender.send(event(seq));
    }
}

/// Everything from now on; what was before is not known.
async fn events(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let listener = shared.news.sender.subscribe();
    let seq = shared.news.last.load(Ordering::SeqCst);
    shared.log(format!("events {}", uri.query().unwrap_or("-")));
    let first = match uri.query() {
        Some(_) => VmEvent::Missed { seq },
        None => VmEvent::Position { seq },
    };
    let lines = stream::unfold((listener, Some(first)), async |(mut listener, first)| {
        let event = match first {
            Some(event) => event,
            None => listener.recv().await.ok()?,
        };
        let line = serde_json::to_string(&event).unwrap() + "\n";
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), (listener, None)))
    });
    Body::from_stream(lines).into_response()
}

/// `slow` does not answer.
async fn ping(State(shared): State<Arc<Shared>>, Path(name): Path<String>, uri: Uri) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    shared.log(format!("ping {}", uri.query().unwrap_or("-")));
    if vm.name.as_str() == "slow" {
        let problem = Problem::new(Code::Timeout, "the agent of VM `slow` does not answer");
        return refuse(StatusCode::GATEWAY_TIMEOUT, problem);
    }
    let pong = serde_json::json!({
        "id": vm.id, "name": vm.name, "agent_version": "0.1.0\u{1b}", "micros": 1234,
    });
    Json(pong).into_response()
}

/// `sick` has failed units.
async fn health(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    let sick = vm.name.as_str() == "sick";
    let system = if sick {
        serde_json::json!({"state": "degraded", "failed_units": ["a.service", "b\u{8}.mount"]})
    } else {
        serde_json::Value::Null
    };
    let health: VmHealth = serde_json::from_value(serde_json::json!({
        "id": vm.id, "name": vm.name, "healthy": !sick, "agent_version": "0.1.0",
        "boot_id": "b007", "uptime_ms": 3_723_000, "init": if sick { "systemd" } else { "agent" },
        "state": "running", "commands": 2, "service": null, "system": system,
        "memory": {"used": 157_286_400, "total": 2_147_483_648_u64}, "disk": null,
    }))
    .unwrap();
    Json(health).into_response()
}

/// `slow` does not answer; the guest's words are a hostile guest's.
async fn ports(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    if vm.name.as_str() == "slow" {
        let problem = Problem::new(Code::OperationFailed, "the agent does not tell who listens");
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, problem);
    }
    let port = |protocol: &str, port: u16, process: &str, rest: serde_json::Value| {
        let mut view = serde_json::json!({
            "protocol": protocol, "address": "0.0.0.0", "port": port,
            "process": {"pid": 7, "name": process},
        });
        view.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        view
    };
    let ports = serde_json::json!({
        "id": vm.id, "name": vm.name, "loopback": "127.77.0.5",
        "ports": [
            port("tcp", 80, "nginx", serde_json::json!({
                "endpoint": "127.77.0.5:8080", "published": ["127.0.0.1:8000"],
                "url": "http://127.77.0.5:8080",
            })),
            port("tcp", 5432, "\u{1b}]0;owned\u{7}postgres", serde_json::json!({
                "problem": "`127.77.0.5:5432` is taken on the host",
            })),
            port("udp", 53, "resolver", serde_json::json!({"problem": "UDP is not forwarded"})),
        ],
    });
    Json(ports).into_response()
}

/// Of VMs that run, always the same. When followed, the second report has the first VM only,
/// and then nothing more comes.
async fn stats(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    shared.log(format!("stats {query}"));
    let process = |pid: u32, cpu: f64| serde_json::json!({"pid": pid, "cpu_percent": cpu, "cpu_ms": 1000, "rss": 104_857_600});
    let vms: Vec<_> = shared
        .vms
        .lock()
        .unwrap()
        .iter()
        .map(|vm| {
            let runs = vm.state == banger_proto::api::StateName::Running;
            serde_json::json!({
                "id": vm.id, "name": vm.name, "state": vm.state, "vcpu": vm.vcpu,
                "memory": vm.memory, "disk": {"used": vm.disk_used, "total": vm.disk_size},
                "host": runs.then(|| {
                    serde_json::json!({"vmm": process(7, 101.5), "supervisor": process(6, 0.1)})
                }),
                "guest": runs.then(|| serde_json::json!({
                    "uptime_ms": 5000, "cpus": 2, "cpu_percent": 99.0, "cpu_ms": 900,
                    "memory": {"used": 157_286_400, "total": 2_147_483_648_u64},
                    "disk": {"used": 1_048_576, "total": 1_073_741_824},
                })),
            })
        })
        .collect();
    let report = |vms: &[serde_json::Value]| -> String {
        let report = serde_json::json!({
            "at": "2026-08-05T12:00:00Z", "interval_ms": 1000, "vms": vms,
        });
        // Held to the type: what the program is told is what a daemon says.
        let report: StatsReport = serde_json::from_value(report).unwrap();
        serde_json::to_string(&report).unwrap() + "\n"
    };
    if !query.contains("follow=true") {
        return report(&vms).into_response();
    }
    let lines = [report(&vms), report(&vms[..1])];
    let lines = stream::iter(lines.map(Ok::<_, std::convert::Infallible>));
    Body::from_stream(futures_util::StreamExt::chain(lines, stream::pending())).into_response()
}
