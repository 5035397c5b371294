//! Kill, restart, wait and set.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{patch, post};
use axum::{Json, Router};
use banger_proto::api::{EndReason, Event, SetVm, Setting, Stage, StateName, VmCondition, WaitVm};
use banger_proto::{Code, Problem};

use super::{Shared, find, lines, refuse, unknown};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/vms/{vm}/kill", post(kill))
        .route("/v1/vms/{vm}/pause", post(pause))
        .route("/v1/vms/{vm}/resume", post(resume))
        .route("/v1/vms/{vm}/restart", post(restart))
        .route("/v1/vms/{vm}/wait", post(wait))
        .route("/v1/vms/{vm}/workspace/prepare", post(prepare))
        .route("/v1/vms/{vm}", patch(set))
}

async fn kill(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    shared.log(format!("kill {}", vm.name));
    Json(vm).into_response()
}

async fn pause(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    shared.log(format!("pause {}", vm.name));
    match vm.state {
        StateName::Running | StateName::Paused => Json(vm).into_response(),
        _ => {
            let message = format!("VM `{}` cannot do this now", vm.name);
            let problem = Problem::new(Code::Conflict, message)
                .cause("it does not run")
                .hint(format!("banger vm start {}", vm.name));
            refuse(StatusCode::CONFLICT, problem)
        }
    }
}

async fn resume(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    shared.log(format!("resume {}", vm.name));
    Json(vm).into_response()
}

async fn restart(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: String,
) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    shared.log(format!("restart {} {body}", vm.name));
    lines(&[
        Event::StageStarted { stage: Stage::Stop },
        Event::StageFinished { stage: Stage::Stop, millis: 300 },
        Event::StageStarted { stage: Stage::Boot },
        Event::StageFinished { stage: Stage::Boot, millis: 700 },
        Event::VmReady { vm: Box::new(vm), millis: 1040 },
    ])
    .into_response()
}

/// `dirty` has work of its own.
async fn prepare(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: String,
) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    shared.log(format!("prepare {} {body}", vm.name));
    let last = if vm.name.as_str() == "dirty" {
        let problem =
            Problem::new(Code::Conflict, "work in the workspace of VM `dirty` would be lost")
                .cause("files that are only there: `a`")
                .hint("to give it up: banger vm workspace prepare --force dirty");
        Event::Failed { problem }
    } else {
        Event::WorkspaceReady { vm: Box::new(vm) }
    };
    lines(&[
        Event::StageStarted { stage: Stage::Workspace },
        Event::StageFinished { stage: Stage::Workspace, millis: 300 },
        last,
    ])
    .into_response()
}

/// `slow` takes longer than anybody waits, `broken` is down because of a failure, `gone` is not
/// there any more; all others are as wanted.
async fn wait(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Json(asked): Json<WaitVm>,
) -> Response {
    let Some(mut vm) = find(&shared, &name) else { return unknown(&name) };
    shared.log(format!("wait {} {}", vm.name, serde_json::to_string(&asked).unwrap()));
    match vm.name.as_str() {
        "slow" => {
            let message = "VM `slow` is not ready after 5 s: it is booting";
            refuse(StatusCode::GATEWAY_TIMEOUT, Problem::new(Code::Timeout, message))
        }
        "gone" => {
            let problem = Problem::new(Code::NotFound, "VM `gone` was deleted");
            refuse(StatusCode::NOT_FOUND, problem)
        }
        "broken" if asked.until == VmCondition::Stopped => {
            vm.ended = Some(EndReason::Failed("the VMM exited with code 1".to_owned()));
            Json(vm).into_response()
        }
        _ => Json(vm).into_response(),
    }
}

/// What runs gets its memory later, and no other image.
async fn set(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Json(asked): Json<SetVm>,
) -> Response {
    let Some(mut vm) = find(&shared, &name) else { return unknown(&name) };
    shared.log(format!("set {} {}", vm.name, serde_json::to_string(&asked).unwrap()));
    let runs = vm.state == StateName::Running;
    if runs && asked.image.is_some() {
        let message = format!("VM `{name}` cannot be given another image while it runs");
        let problem = Problem::new(Code::Conflict, message).hint("banger vm stop web");
        return refuse(StatusCode::CONFLICT, problem);
    }
    if let Some(memory) = asked.memory {
        vm.memory = memory;
        vm.pending.extend(runs.then_some(Setting::Memory));
    }
    if !asked.env.is_empty() {
        vm.pending.extend(runs.then_some(Setting::Env));
    }
    Json(vm).into_response()
}
