//! Progress of long work: one JSON object a line, as it happens.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use banger_proto::OpId;
use banger_proto::api::Event;
use futures_util::stream;

use super::front::InFlight;
use crate::engine::Work;

/// An answer that is the events of `work`. When the client goes away, the body is dropped, and
/// with it the work.
pub(super) fn respond(work: Work, op: OpId, guard: InFlight) -> Response {
    let lines = stream::unfold((work, op, guard), async |(mut work, op, guard)| {
        let line = render(work.next().await?, &op);
        Some((Ok::<_, Infallible>(line), (work, op, guard)))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn render(mut event: Event, op: &OpId) -> Bytes {
    if let Event::Failed { problem } = &mut event {
        problem.op_id.get_or_insert_with(|| op.clone());
    }
    let mut line = serde_json::to_vec(&event).unwrap_or_else(|error| {
        // No event has keys that are no strings; should one ever, the stream goes on.
        tracing::error!(%error, "event cannot be written");
        Vec::new()
    });
    line.push(b'\n');
    line.into()
}
