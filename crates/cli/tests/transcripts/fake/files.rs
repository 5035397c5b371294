//! The fake's guests that hold files, some of which are not honest.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use banger_proto::api::{END_TRAILER, Event};
use banger_proto::guest::Copied;
use banger_proto::{Code, Problem};
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tar::{Builder, EntryType, Header};

use super::{OP_ID, Shared, find, lines, refuse, unknown};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v1/vms/{vm}/files", put(copy_in).get(copy_out))
}

fn problem(text: &str) -> Problem {
    Problem::new(Code::NotFound, text).cause("No such file or directory")
}

fn failed() -> Event {
    Event::Failed { problem: Problem::new(Code::OperationFailed, "no space left in the guest") }
}

/// `/missing` is refused, `/full` gives up while the body is still coming; of all else the
/// archive's entries are logged.
async fn copy_in(
    State(shared): State<Arc<Shared>>,
    Path(vm): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    if find(&shared, &vm).is_none() {
        drain(body);
        return unknown(&vm);
    }
    let query = query.unwrap_or_default();
    match &*query {
        "path=%2Fmissing%2Fx" => {
            drain(body);
            return refuse(
                StatusCode::NOT_FOUND,
                problem("cannot copy to `/missing/x` in the guest"),
            );
        }
        "path=%2Ffull" => {
            drain(body);
            return lines(&[failed()]).into_response();
        }
        "path=%2Fslow" => {
            let mut chunks = body.into_data_stream();
            while let Some(Ok(_)) = chunks.next().await {
                shared.log("copying in");
            }
            shared.log("copy in closed");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        _ => {}
    }
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        shared.log("copy in broken off");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    shared.log(format!("copy in {query}"));
    let mut copied = Copied { entries: 0, bytes: 0, notes: Vec::new() };
    let mut archive = tar::Archive::new(&*bytes);
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        shared.log(format!("  {path} {:o} {}", entry.header().mode().unwrap(), entry.size()));
        copied.entries += 1;
        copied.bytes += entry.size();
    }
    lines(&[Event::Copied { copied }]).into_response()
}

/// Reads what nobody wants, as the daemon does.
fn drain(body: Body) {
    tokio::spawn(async move { axum::body::to_bytes(body, usize::MAX).await });
}

/// One entry; its name goes into the archive as it is.
type Entry = (EntryType, &'static str, &'static str, &'static [u8]);

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, link, data) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        header.set_size(data.len() as u64);
        header.set_mtime(1_000_000_000);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        tar.append(&header, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

/// What is at each path, and whether the answer says that it is whole.
async fn copy_out(
    State(shared): State<Arc<Shared>>,
    Path(vm): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    const DIRECTORY: EntryType = EntryType::Directory;
    const FILE: EntryType = EntryType::Regular;
    const SYMLINK: EntryType = EntryType::Symlink;
    if find(&shared, &vm).is_none() {
        return unknown(&vm);
    }
    let query = query.unwrap_or_default();
    shared.log(format!("copy out {query}"));
    let notes = vec!["`site/pipe\u{1b}[2J`: it is a pipe, which is not copied".to_owned()];
    let whole = Event::Copied { copied: Copied { entries: 2, bytes: 4, notes } };
    let site: &[Entry] = &[(DIRECTORY, "site", "", b""), (FILE, "site/page", "", b"page")];
    let (bytes, end) = match query.strip_prefix("path=%2F").unwrap_or(&query) {
        "missing" => {
            return refuse(StatusCode::NOT_FOUND, problem("cannot read `/missing` in the guest"));
        }
        "cut" => (archive(site)[..1026].to_vec(), None),
        "short" => (archive(site)[..1026].to_vec(), Some(whole)),
        "failed" => (archive(site)[..1026].to_vec(), Some(failed())),
        "unsaid" => (archive(site), None),
        "climbs" => (archive(&[site[0], (FILE, "site/../../victim", "", b"x")]), Some(whole)),
        "absolute" => (archive(&[(FILE, "/tmp/victim", "", b"x")]), Some(whole)),
        "link" => {
            let link = (SYMLINK, "site/out", "..", &b""[..]);
            (archive(&[site[0], link, (FILE, "site/out/victim", "", b"x")]), Some(whole))
        }
        "device" => (archive(&[site[0], (EntryType::Char, "site/null", "", b"")]), Some(whole)),
        "renamed" => (archive(&[(FILE, ".profile", "", b"x")]), Some(whole)),
        "slow" => {
            let first = Bytes::from(archive(site)[..1026].to_vec());
            let frames = stream::iter([Ok::<_, Infallible>(Frame::data(first))]);
            let body = StreamBody::new(frames.chain(stream::pending()));
            return ([("content-type", "application/x-tar")], Body::new(body)).into_response();
        }
        _ => (archive(site), Some(whole)),
    };
    let mut frames = vec![Frame::data(Bytes::from(bytes))];
    frames.extend(end.map(|end| {
        let end = HeaderValue::from_bytes(&serde_json::to_vec(&end).unwrap()).unwrap();
        Frame::trailers(HeaderMap::from_iter([(HeaderName::from_static(END_TRAILER), end)]))
    }));
    let frames = stream::iter(frames.into_iter().map(Ok::<_, Infallible>));
    let headers = [("trailer", END_TRAILER), (banger_proto::api::OP_ID_HEADER, OP_ID)];
    (headers, Body::new(StreamBody::new(frames))).into_response()
}
