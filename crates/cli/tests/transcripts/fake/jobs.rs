//! What the fake says about jobs: `aaaa…` runs and takes input, `bbbb…` has ended, `cccc…` is lost.
//! `dddd…` runs on a terminal, `0000…` has done what it was for, `1111…` never ran: they are not in the
//! list.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use banger_link::framed::framed;
use banger_proto::api::{AttachToJob, ExecVm};
use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{ExecExit, JobOutput};
use banger_proto::{Code, Problem};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::{OP_ID, Shared, find, refuse, unknown};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/vms/{vm}/jobs", get(list).post(start))
        .route("/v1/vms/{vm}/jobs/{job}", get(show))
        .route("/v1/vms/{vm}/jobs/{job}/kill", post(kill))
        .route("/v1/vms/{vm}/jobs/{job}/attach", post(attach))
}

fn jobs() -> [Value; 3] {
    let job = |id: &str, state: &str| {
        json!({ "id": id.repeat(12), "state": state, "command": ["make", "te\u{1b}st"],
            "terminal": false, "input": id == "a", "pid": 7,
            "started_at": "2026-08-05T10:00:00.25Z" })
    };
    let mut jobs = [job("a", "running"), job("b", "exited"), job("c", "lost")];
    jobs[1]["code"] = 2.into();
    for ended in &mut jobs[1..] {
        ended["ended_at"] = "2026-08-05T11:00:00Z".into();
    }
    jobs
}

fn by(id: &str) -> Option<Value> {
    let [first, ..] = jobs();
    let mut shell = first;
    shell["id"] = "d".repeat(12).into();
    shell["terminal"] = true.into();
    let [_, ended, _] = jobs();
    let [mut done, mut never] = [ended.clone(), ended];
    done["id"] = "0".repeat(12).into();
    done["code"] = 0.into();
    never["id"] = "1".repeat(12).into();
    never["code"] = 127.into();
    never["pid"] = 0.into();
    jobs()
        .into_iter()
        .chain([shell, done, never])
        .find(|job| job["id"].as_str().unwrap().starts_with(id))
}

async fn list(State(shared): State<Arc<Shared>>, Path(vm): Path<String>) -> Response {
    if find(&shared, &vm).is_none() {
        return unknown(&vm);
    }
    Json(json!({ "jobs": jobs() })).into_response()
}

/// The job that installs the tools of a workspace, in a VM of this name.
pub(super) fn bootstrap(vm: &str) -> Option<&'static str> {
    let jobs = [("able", "0"), ("bare", "1"), ("busy", "a"), ("unable", "b"), ("unsure", "c")];
    jobs.into_iter().find(|(name, _)| *name == vm).map(|(_, job)| job)
}

async fn start(
    State(shared): State<Arc<Shared>>,
    Path(vm): Path<String>,
    Json(asked): Json<ExecVm>,
) -> Response {
    shared.log(format!("job {}", serde_json::to_string(&asked).unwrap()));
    let Some(vm) = find(&shared, &vm) else { return unknown(&vm) };
    let job = bootstrap(vm.name.as_str()).filter(|_| asked.argv == ["mise", "install"]);
    Json(by(job.unwrap_or("a"))).into_response()
}

async fn show(Path((_, job)): Path<(String, String)>) -> Response {
    match by(&job) {
        Some(job) => Json(job).into_response(),
        None => no_job(&job),
    }
}

async fn kill(
    State(shared): State<Arc<Shared>>,
    Path((_, job)): Path<(String, String)>,
    body: String,
) -> Response {
    shared.log(format!("kill {job} {body}"));
    show(Path((String::new(), job))).await
}

fn no_job(job: &str) -> Response {
    let problem = Problem::new(Code::NotFound, format!("VM `web` has no job `{job}`"));
    refuse(StatusCode::NOT_FOUND, problem)
}

/// The one that runs says `ready`, then what it hears, and ends with its input.
async fn attach(
    State(shared): State<Arc<Shared>>,
    Path((_, job)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let asked: AttachToJob = serde_json::from_slice(&body).unwrap();
    shared.log(format!("attach {job} {}", serde_json::to_string(&asked).unwrap()));
    let Some(job) = by(&job) else { return no_job(&job) };
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>().unwrap();
    tokio::spawn(async move {
        let (mut reader, mut writer) = framed(TokioIo::new(upgrade.await.unwrap()));
        if asked.from == Some(JobOutput::Start) {
            let skipped = json!({ "skipped": 70_000 });
            writer.send_json(Kind::Event, &skipped).await.unwrap();
            writer.send_bytes(Kind::Stdout, b"out\n").await.unwrap();
            writer.send_bytes(Kind::Stderr, b"err\n").await.unwrap();
        }
        let (code, signal) = match job["state"].as_str().unwrap() {
            "running" if asked.no_follow => {
                writer.send(&Frame::new(Kind::End, [])).await.unwrap();
                return writer.shutdown().await.unwrap();
            }
            "running" => {
                writer.send_bytes(Kind::Stdout, b"asleep\n").await.unwrap();
                while let Ok(Some(frame)) = reader.next().await {
                    match frame.kind {
                        Kind::Stdin => {
                            writer.send_bytes(Kind::Stdout, &frame.payload).await.unwrap();
                        }
                        Kind::StdinEnd => {
                            shared.log("input ended");
                            break;
                        }
                        other => shared.log(format!("got {other:?}")),
                    }
                }
                shared.log("attach ended");
                (Some(4), None)
            }
            "exited" => (job["code"].as_u64().and_then(|code| u8::try_from(code).ok()), None),
            _ => (None, None),
        };
        let _ = writer.send_json(Kind::Exit, &ExecExit { code, signal }).await;
        let _ = writer.shutdown().await;
    });
    let headers = [
        (header::CONNECTION.as_str(), "upgrade"),
        (header::UPGRADE.as_str(), "banger-frames"),
        (banger_proto::api::OP_ID_HEADER, OP_ID),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}
