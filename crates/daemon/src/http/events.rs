//! Answers that go on: one JSON object a line, as it happens.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use banger_proto::OpId;
use banger_proto::api::Event;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use super::front::InFlight;
use crate::engine::Work;

/// An answer that is the events of `work`. When the client goes away, the body is dropped, and
/// with it the work.
pub(super) fn respond(work: Work, op: OpId, guard: InFlight) -> Response {
    respond_lines(stream::unfold((work, op, guard), async |(mut work, op, guard)| {
        let mut event = work.next().await?;
        if let Event::Failed { problem } = &mut event {
            problem.op_id.get_or_insert_with(|| op.clone());
        }
        Some((event, (work, op, guard)))
    }))
}

/// An answer that is `values`, each on a line of its own. They are asked for when the client has
/// taken the earlier ones, but for what the connection holds.
pub(super) fn respond_lines<T: Serialize>(
    values: impl Stream<Item = T> + Send + 'static,
) -> Response {
    let lines = values.map(|value| Ok::<_, Infallible>(render(&value)));
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn render(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_else(|error| {
        // No value has keys that are no strings; should one ever, the stream goes on.
        tracing::error!(%error, "a line cannot be written");
        Vec::new()
    });
    line.push(b'\n');
    line.into()
}
