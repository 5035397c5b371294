//! What every request passes before its handler: who asks, in which version of the interface;
//! and what every answer gets: the version and the op id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use banger_proto::api::{OP_ID_HEADER, VERSION_HEADER};
use banger_proto::{API_VERSION, Code, OpId, Problem};
use tracing::Instrument;

use super::drained::Drained;
use super::reply::{Failed, Unnumbered};
use super::{Api, Peer};
use crate::operation;

/// Counts requests under way, up to the last byte of their answer.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<AtomicU32>);

impl Requests {
    /// Number of requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn begin(&self) -> InFlight {
        self.0.fetch_add(1, Ordering::Relaxed);
        InFlight { _count: Arc::new(Count(Arc::clone(&self.0))) }
    }
}

/// One request under way, until the last clone is dropped. An answer that outlives its handler
/// keeps one.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    _count: Arc<Count>,
}

#[derive(Debug)]
struct Count(Arc<AtomicU32>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The middleware.
pub(super) async fn front(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    // Counted until the handler has answered; an answer that goes on keeps a copy.
    let in_flight = api.requests.begin();
    let op = op_id(request.headers());
    let span = tracing::info_span!("request", %op);
    let mut response = async {
        tracing::debug!(method = %request.method(), path = request.uri().path(), "request");
        if let Err(problem) = check(&api, peer, request.headers()) {
            return Failed(problem).into_response();
        }
        if let Some(full) = peer.full {
            return Failed(full.into()).into_response();
        }
        request.extensions_mut().insert(op.clone());
        request.extensions_mut().insert(in_flight.clone());
        let request = request.map(Drained::wrap);
        operation::scope(op.clone(), next.run(request)).await
    }
    .instrument(span)
    .await;
    if let Some(problem) = response.extensions_mut().remove::<Unnumbered>() {
        response = problem.number(op.clone());
    }
    let headers = response.headers_mut();
    if peer.full.is_some() {
        // Somebody else may want to hear it.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(VERSION_HEADER, HeaderValue::from(API_VERSION));
    if let Ok(op) = HeaderValue::from_str(op.as_str()) {
        headers.insert(OP_ID_HEADER, op);
    }
    response
}

/// The op id the client chose, so that it can name it in its own messages; else a fresh one.
fn op_id(headers: &HeaderMap) -> OpId {
    let chosen = headers.get(OP_ID_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    chosen.unwrap_or_else(|| {
        let mut random = [0; 6];
        // Without randomness ids repeat, which confuses nobody but who reads the log.
        let _ = getrandom::fill(&mut random);
        OpId::from_random(random)
    })
}

fn check(api: &Api, peer: Peer, headers: &HeaderMap) -> Result<(), Problem> {
    if peer.uid != Some(api.owner) {
        let message = format!("this socket belongs to user {}", api.owner);
        return Err(Problem::new(Code::Unauthorized, message));
    }
    let Some(asked) = headers.get(VERSION_HEADER) else { return Ok(()) };
    let asked = asked.to_str().ok().and_then(|version| version.parse::<u32>().ok());
    let advice = match asked {
        Some(API_VERSION) => return Ok(()),
        Some(newer) if newer > API_VERSION => {
            "restart the daemon, so that it is as new as the client: banger daemon stop"
        }
        _ => "update the client: it is older than the daemon",
    };
    let asked =
        asked.map_or_else(|| "an unreadable version".to_owned(), |v| format!("version {v}"));
    let message = format!("the client speaks {asked} of the interface, the daemon {API_VERSION}");
    Err(Problem::new(Code::BadVersion, message).hint(advice))
}
