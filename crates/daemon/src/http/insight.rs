//! The calls that look at VMs: their guests, what they use, what happens to them.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::Response;
use banger_proto::Problem;
use banger_proto::api::{Pong, StatsReport, VmEvent, VmHealth, VmPorts};
use futures_util::{StreamExt, stream};
use serde::Deserialize;

use super::Api;
use super::events::respond_lines;
use super::front::InFlight;
use super::reply::{Failed, Path, Query};

/// Time between two looks when nobody said.
const DEFAULT_INTERVAL_MS: u64 = 1000;

/// How long to wait for a guest.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Patience {
    /// Milliseconds; absent for what is usual.
    timeout_ms: Option<u64>,
}

impl Patience {
    fn deadline(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

/// Whether a VM's agent answers, and how fast.
#[utoipa::path(get, path = "/v1/vms/{vm}/ping", params(("vm", description = "name, id or its beginning"), Patience),
    responses((status = OK, body = Pong), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem), (status = GATEWAY_TIMEOUT, body = Problem)))]
pub(super) async fn ping(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Query(patience): Query<Patience>,
) -> Result<Json<Pong>, Failed> {
    Ok(Json(api.engine.ping(&vm, patience.deadline()).await?))
}

/// How a VM's guest is.
#[utoipa::path(get, path = "/v1/vms/{vm}/health", params(("vm", description = "name, id or its beginning"), Patience),
    responses((status = OK, body = VmHealth), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem), (status = GATEWAY_TIMEOUT, body = Problem)))]
pub(super) async fn health(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Query(patience): Query<Patience>,
) -> Result<Json<VmHealth>, Failed> {
    Ok(Json(api.engine.health(&vm, patience.deadline()).await?))
}

/// What listens in a VM's guest, and where the host reaches it.
#[utoipa::path(get, path = "/v1/vms/{vm}/ports", params(("vm", description = "name, id or its beginning")),
    responses((status = OK, body = VmPorts), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn ports(
    State(api): State<Api>,
    Path(vm): Path<String>,
) -> Result<Json<VmPorts>, Failed> {
    Ok(Json(api.engine.ports(&vm).await?))
}

/// What of the numbers is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Names, ids or beginnings of ids, with commas between; absent for all VMs.
    #[serde(default)]
    vms: String,
    /// Milliseconds between two looks, 100 to 3600000; absent for 1000.
    interval_ms: Option<u64>,
    /// Go on with a line for every interval.
    #[serde(default)]
    follow: bool,
}

/// What VMs use, on the host and in their guests. The first line comes after one interval. Who follows
/// does not make the daemon busy, as with events.
#[utoipa::path(get, path = "/v1/stats", params(Wanted),
    responses((status = OK, body = StatsReport, content_type = "application/x-ndjson"),
        (status = BAD_REQUEST, body = Problem), (status = NOT_FOUND, body = Problem)))]
pub(super) async fn stats(
    State(api): State<Api>,
    Extension(guard): Extension<InFlight>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Failed> {
    let vms: Vec<&str> = wanted.vms.split(',').filter(|vm| !vm.is_empty()).collect();
    let interval = Duration::from_millis(wanted.interval_ms.unwrap_or(DEFAULT_INTERVAL_MS));
    let feed = api.engine.stats(&vms, interval)?;
    // Whoever wants one report gets it before the daemon is replaced; a next one comes from any daemon.
    let guard = (!wanted.follow).then_some(guard);
    let reports = stream::unfold((feed, guard), async |(mut feed, guard)| {
        Some((feed.next().await?, (feed, guard)))
    });
    Ok(respond_lines(reports.take(if wanted.follow { usize::MAX } else { 1 })))
}

/// Where to go on.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct After {
    /// Number of the last change that is known; absent for what happens from now on.
    since: Option<u64>,
}

/// What happens to VMs, as it happens. Who listens does not make the daemon busy: it may be
/// replaced by a newer one, and the listener goes on with that.
#[utoipa::path(get, path = "/v1/events", params(After),
    responses((status = OK, body = VmEvent, content_type = "application/x-ndjson")))]
pub(super) async fn follow_events(State(api): State<Api>, Query(after): Query<After>) -> Response {
    let listener = api.engine.events(after.since);
    respond_lines(stream::unfold(listener, async |mut listener| {
        Some((listener.next().await?, listener))
    }))
}
