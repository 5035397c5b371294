//! Copying files: a tar stream as the body of a request or of an answer.
//!
//! How a copy out ended is known when the answer has long begun, so it stands in a trailer
//! ([`END_TRAILER`]). An answer without that was cut.

use std::convert::Infallible;
use std::io;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_TYPE, TRAILER};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use banger_proto::api::{END_TRAILER, Event};
use banger_proto::{OpId, Problem};
use futures_util::{Stream, StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Deserialize;

use super::front::InFlight;
use super::reply::{Failed, Path, Query};
use super::{Api, events};
use crate::engine::OutPiece;

/// Bytes of a trailer: half of what HTTP libraries take.
const MAX_END: usize = 8 << 10;

/// Where in the guest.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Place {
    /// A path; one that is not absolute is relative to root's home.
    path: String,
}

/// Copies files into a guest. The body is a tar stream whose first entry is what is copied, all
/// others inside of it; into a directory that is there it goes under its name, and takes the
/// path's name otherwise. Closing the connection breaks the copy off: files are whole or absent.
#[utoipa::path(put, path = "/v1/vms/{vm}/files",
    params(("vm", description = "name, id or its beginning"), Place),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = OK, body = Event, content_type = "application/x-ndjson"),
        (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
pub(super) async fn copy_in(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Query(place): Query<Place>,
    body: Body,
) -> Result<Response, Failed> {
    let chunks = body.into_data_stream().map(|chunk| chunk.map_err(io::Error::other));
    Ok(events::respond(api.engine.copy_in(&vm, place.path, chunks).await?, op, guard))
}

/// Copies a file or a directory out of a guest, as a tar stream that the guest wrote: whoever
/// unpacks it must not trust it. The trailer `banger-end` is the last event, `copied` or `failed`;
/// it is sent to clients that say `TE: trailers`.
#[utoipa::path(get, path = "/v1/vms/{vm}/files",
    params(("vm", description = "name, id or its beginning"), Place),
    responses((status = OK, content_type = "application/x-tar", body = Vec<u8>),
        (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
pub(super) async fn copy_out(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Query(place): Query<Place>,
) -> Result<Response, Failed> {
    let copy = api.engine.copy_out(&vm, place.path).await?;
    let pieces = stream::unfold(copy, async |mut copy| Some((copy.next().await?, copy)));
    Ok(respond_pieces("application/x-tar", pieces, op, guard))
}

/// An answer that is bytes and, in a trailer, how they ended.
pub(super) fn respond_pieces(
    kind: &'static str,
    pieces: impl Stream<Item = OutPiece> + Send + 'static,
    op: OpId,
    guard: InFlight,
) -> Response {
    let frames = pieces.map(move |piece| {
        let _in_flight = &guard;
        let frame = match piece {
            OutPiece::Bytes(bytes) => Frame::data(Bytes::from(bytes)),
            OutPiece::End(event) => {
                let end = (HeaderName::from_static(END_TRAILER), render_end(event, &op));
                Frame::trailers(HeaderMap::from_iter([end]))
            }
        };
        Ok::<_, Infallible>(frame)
    });
    let headers = [(CONTENT_TYPE, kind), (TRAILER, END_TRAILER)];
    (headers, Body::new(StreamBody::new(frames))).into_response()
}

/// The last event as a header's value. One that is too long loses its details.
fn render_end(mut event: Event, op: &OpId) -> HeaderValue {
    if let Event::Failed { problem } = &mut event {
        problem.op_id.get_or_insert_with(|| op.clone());
    }
    let render = |event: &Event| {
        let json = serde_json::to_vec(event).ok().filter(|json| json.len() <= MAX_END)?;
        HeaderValue::from_bytes(&json).ok()
    };
    let ended = render(&event).or_else(|| render(&without_details(event)));
    // Nothing in it can be so long or so odd; and no trailer at all is a failure, too.
    ended.unwrap_or(HeaderValue::from_static(""))
}

fn without_details(event: Event) -> Event {
    match event {
        Event::Copied { mut copied } => {
            let count = copied.notes.len();
            copied.notes = vec![format!("{count} entries were not copied as they are")];
            Event::Copied { copied }
        }
        Event::Exported { mut exported } => {
            exported.notes.truncate(1);
            Event::Exported { exported }
        }
        Event::Failed { problem } => {
            Event::Failed { problem: Problem::new(problem.code, problem.message) }
        }
        other => other,
    }
}
