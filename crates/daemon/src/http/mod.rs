//! The interface on the unix socket: HTTP/1.1 and JSON under `/v1`.
//!
//! A handler decodes, calls the engine and encodes; nothing is decided here but the form. What
//! the calls are stands in [`banger_proto::api`].
//!
//! | module | what |
//! |---|---|
//! | `door` | connections, as many as there can be |
//! | `front` | what every request passes: who asks, in which version, under which op id |
//! | `drained` | bodies that nobody reads |
//! | `vms`, `snapshots`, `exec`, `ssh`, `jobs`, `files`, `workspace`, `insight`, `images`, `kernels`, `daemon`, `system` | the calls |
//! | `reply` | problems and bodies |
//! | `described` | what the description says beyond the calls: what any request may be answered, examples |
//! | `events` | answers of one JSON object a line |

mod daemon;
mod described;
mod door;
mod drained;
mod events;
mod exec;
mod files;
mod front;
mod images;
mod insight;
mod jobs;
mod kernels;
mod prepare;
mod reply;
mod snapshots;
mod ssh;
mod system;
mod vms;
mod workspace;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use banger_proto::{Code, Problem};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa::openapi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use door::{Door, Full};
pub use front::Requests;

use crate::engine::Engine;

/// What handlers work with.
#[derive(Debug, Clone)]
pub struct Api {
    /// The engine.
    pub engine: Engine,
    /// The only user who may ask.
    pub owner: u32,
    /// Requests under way.
    pub requests: Requests,
    /// Set off to end the daemon.
    pub stop: CancellationToken,
    /// Identity of the program's file; see [`banger_proto::api::DaemonStatus::build`].
    pub build: String,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
struct Peer {
    /// User id; absent when the kernel would not tell.
    uid: Option<u32>,
    /// Why it is not served, if it is not.
    full: Option<Full>,
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        let visitor = stream.io();
        Self { uid: visitor.uid(), full: visitor.full }
    }
}

/// Answers requests on `listener`, in a process that may have `open_files`, until `api.stop` is set
/// off and the requests under way are answered.
///
/// # Errors
/// When the socket fails.
pub async fn serve(listener: UnixListener, open_files: u64, api: Api) -> std::io::Result<()> {
    let stop = api.stop.clone();
    let app = router(api).into_make_service_with_connect_info::<Peer>();
    axum::serve(Door::new(listener, open_files), app)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(api: Api) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .fallback(async || reply::Failed(unknown_method()))
        .method_not_allowed_fallback(async || reply::Failed(unknown_method()))
        .layer(axum::middleware::from_fn_with_state(api.clone(), front::front))
        .with_state(api)
}

fn unknown_method() -> Problem {
    Problem::new(Code::UnknownMethod, "this daemon does not know that call")
        .hint("GET /v1/openapi.json tells what it knows")
}

/// The description of the interface.
#[must_use]
pub fn description() -> openapi::OpenApi {
    let (_, mut description) = described().split_for_parts();
    "banger".clone_into(&mut description.info.title);
    description.info.description =
        Some("Disposable, fully isolated Linux VMs. On a unix socket, for its owner only.".into());
    described::complete(&mut description);
    description
}

#[derive(OpenApi)]
struct Described;

fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(daemon::status))
        .routes(routes!(daemon::stop))
        .routes(routes!(daemon::openapi))
        .routes(routes!(daemon::doctor, daemon::repair))
        .routes(routes!(system::collect_garbage))
        .routes(routes!(vms::list, vms::create))
        .routes(routes!(vms::show, vms::set, vms::delete))
        .routes(routes!(vms::start))
        .routes(routes!(vms::stop))
        .routes(routes!(vms::pause))
        .routes(routes!(vms::resume))
        .routes(routes!(snapshots::fork))
        .routes(routes!(snapshots::list))
        .routes(routes!(snapshots::take))
        .routes(routes!(snapshots::restore))
        .routes(routes!(snapshots::delete))
        .routes(routes!(vms::kill))
        .routes(routes!(vms::restart))
        .routes(routes!(vms::wait))
        .routes(routes!(vms::logs))
        .routes(routes!(exec::exec))
        .routes(routes!(ssh::connect))
        .routes(routes!(jobs::list_jobs, jobs::start_job))
        .routes(routes!(jobs::show_job))
        .routes(routes!(jobs::attach_job))
        .routes(routes!(jobs::kill_job))
        .routes(routes!(files::copy_in, files::copy_out))
        .routes(routes!(workspace::status))
        .routes(routes!(workspace::patch))
        .routes(routes!(workspace::apply))
        .routes(routes!(workspace::branch))
        .routes(routes!(prepare::prepare))
        .routes(routes!(insight::ping))
        .routes(routes!(insight::health))
        .routes(routes!(insight::ports))
        .routes(routes!(insight::stats))
        .routes(routes!(insight::follow_events))
        .routes(routes!(images::list_images))
        .routes(routes!(images::build_image))
        .routes(routes!(images::pull_image))
        .routes(routes!(images::import_image))
        .routes(routes!(images::upload_image))
        .routes(routes!(images::register_image))
        .routes(routes!(images::prune_images))
        .routes(routes!(images::promote_image))
        .routes(routes!(images::show_image, images::delete_image))
        .routes(routes!(kernels::list_kernels))
        .routes(routes!(kernels::pull_kernel))
        .routes(routes!(kernels::import_kernel))
        .routes(routes!(kernels::show_kernel, kernels::delete_kernel))
}
