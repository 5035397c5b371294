//! Jobs: starting, listing, following and signalling them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::response::{IntoResponse, Response};
use banger_proto::Problem;
use banger_proto::api::{AttachToJob, ExecVm, JobList, JobView, SignalJob, UPGRADE_FRAMES};
use tracing::Instrument;

use super::Api;
use super::exec::{splice, take_upgrade};
use super::front::InFlight;
use super::reply::{Asked, Failed, Path};
use crate::engine::Attachment;

/// Lists the jobs of a VM that its guest knows: those that run, and the last that ended.
#[utoipa::path(get, path = "/v1/vms/{vm}/jobs",
    params(("vm", description = "name, id or its beginning")),
    responses((status = OK, body = JobList), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn list_jobs(
    State(api): State<Api>,
    Path(vm): Path<String>,
) -> Result<Json<JobList>, Failed> {
    Ok(Json(JobList { jobs: api.engine.jobs(&vm).await? }))
}

/// Starts a command that outlives this request. With `stdin` its input stays open until somebody
/// attached ends it.
#[utoipa::path(post, path = "/v1/vms/{vm}/jobs",
    params(("vm", description = "name, id or its beginning")), request_body = ExecVm,
    responses((status = OK, body = JobView), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn start_job(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Asked(asked): Asked<ExecVm>,
) -> Result<Json<JobView>, Failed> {
    Ok(Json(api.engine.start_job(&vm, asked).await?))
}

/// Shows a job.
#[utoipa::path(get, path = "/v1/vms/{vm}/jobs/{job}",
    params(("vm", description = "name, id or its beginning"),
        ("job", description = "id or its beginning")),
    responses((status = OK, body = JobView), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn show_job(
    State(api): State<Api>,
    Path((vm, job)): Path<(String, String)>,
) -> Result<Json<JobView>, Failed> {
    Ok(Json(api.engine.job(&vm, &job).await?))
}

/// Sends a signal to a job's process group.
#[utoipa::path(post, path = "/v1/vms/{vm}/jobs/{job}/kill",
    params(("vm", description = "name, id or its beginning"),
        ("job", description = "id or its beginning")), request_body = SignalJob,
    responses((status = OK, body = JobView, description = "as it was"),
        (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
pub(super) async fn kill_job(
    State(api): State<Api>,
    Path((vm, job)): Path<(String, String)>,
    Asked(asked): Asked<SignalJob>,
) -> Result<Json<JobView>, Failed> {
    Ok(Json(api.engine.kill_job(&vm, &job, asked.signal).await?))
}

/// Follows a job, or reads what it wrote. The answer is an upgrade; after it the connection
/// carries frames as those of exec. Closing it leaves the job alone.
#[utoipa::path(post, path = "/v1/vms/{vm}/jobs/{job}/attach",
    params(("vm", description = "name, id or its beginning"),
        ("job", description = "id or its beginning"),
        ("upgrade" = String, Header, description = "banger-frames")),
    request_body = AttachToJob,
    responses((status = SWITCHING_PROTOCOLS, description = "frames, both ways"),
        (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
pub(super) async fn attach_job(
    State(api): State<Api>,
    Path((vm, job)): Path<(String, String)>,
    Extension(guard): Extension<InFlight>,
    mut request: Request,
) -> Result<Response, Failed> {
    let upgrade = take_upgrade(&mut request, UPGRADE_FRAMES)?;
    let Asked(asked) = Asked::<AttachToJob>::from_request(request, &()).await?;
    let Attachment { session, in_use } = api.engine.attach_job(&vm, &job, &asked).await?;
    let held = (guard, in_use);
    tokio::spawn(splice(upgrade, session.stream, held).in_current_span());
    let headers = [(CONNECTION, "upgrade"), (UPGRADE, UPGRADE_FRAMES)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}
