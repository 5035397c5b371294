//! The copy services: a tar stream from the host becomes files where a person wants them, and
//! files become a tar stream for the host.
//!
//! ```text
//!  host ── Data … End ──▶ pipe ──▶ thread: land        into what is there, file by file
//!  host ◀─ Data … Event ─ pipe ◀── thread: pack        Refused instead of Event: not whole
//! ```
//!
//! They act as root, as commands do unless they are told otherwise.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_proto::guest::frame::Kind;
use banger_proto::guest::{Copied, CopyRequest};
use banger_proto::{Code, Problem};
use banger_tree::{Destination, Links, Piece, Room, Source, Top, UnpackError, land, pack, pipe};

use crate::context::Context;
use crate::root::RootDir;
use crate::services::{FromHost, ServiceError, ToHost, require_configured};
use crate::unpack::{feed, stream_code};

/// What paths that are not absolute are relative to.
const HOME: &str = "/root";
/// The bits of a mode that are kept: all. The guest is its owner's.
const MODES: u32 = 0o7777;

/// Writes the stream where the request says.
pub(crate) async fn receive(
    context: &Arc<Context>,
    request: &CopyRequest,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let path = parse_path(request)?;
    let root = context.root.open().map_err(|error| no_destination(&path, &error))?;
    let destination = if request.exact {
        exactly(&root, &path)
    } else {
        Destination::find(&path, Links::Followed, |path| root.directory(path))
    };
    let destination = destination.map_err(|error| no_destination(&path, &error))?;
    to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;

    let (inlet, outlet) = pipe();
    let mut worker = tokio::task::spawn_blocking(move || {
        land(outlet, destination, &Top::OfArchive, MODES, Room::all())
    });
    // The worker stops on its own when it fails, and when the pipe ends without an `End`.
    let result = tokio::select! {
        result = &mut worker => result,
        () = feed(from_host, inlet) => worker.await,
    };
    let written = result
        .map_err(|_| Problem::new(Code::OperationFailed, "writing the files panicked"))?
        .map_err(|error| unwritable(&path, &error))?;
    let copied = Copied { entries: written.entries, bytes: written.bytes, notes: Vec::new() };
    Ok(to_host.send_json(Kind::Event, &copied).await?)
}

/// Sends what the request names.
pub(crate) async fn send(
    context: &Arc<Context>,
    request: &CopyRequest,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let path = parse_path(request)?;
    let root = context.root.open().map_err(|error| no_source(&path, &error))?;
    let source = Source::find(&path, |path| root.directory(path))
        .map_err(|error| no_source(&path, &error))?;
    to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;

    let (mut inlet, mut outlet) = pipe();
    let worker = tokio::task::spawn_blocking(move || {
        let packed = pack(&source, &mut inlet)?;
        // Nobody wants it any more where nobody takes its end.
        let _ = inlet.end();
        Ok::<_, banger_tree::PackError>(packed)
    });
    while let Some(Piece::Bytes(bytes)) = outlet.next().await {
        // Dropping the outlet then ends the worker.
        to_host.send_bytes(Kind::Data, &bytes).await?;
    }
    let copied = worker
        .await
        .map_err(|_| Problem::new(Code::OperationFailed, "reading the files panicked"))?
        .map_err(|error| {
            let message = format!("cannot copy all of `{}` out of the guest", path.display());
            Problem::new(Code::OperationFailed, message).because(&error)
        })?;
    Ok(to_host.send_json(Kind::Event, &copied).await?)
}

/// The name `path` in its directory, which is made.
fn exactly(root: &RootDir, path: &Path) -> io::Result<Destination> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    let parent = root.ensure_directory(parent)?;
    Ok(Destination::Name { parent, name, slash: false })
}

fn parse_path(request: &CopyRequest) -> Result<PathBuf, Problem> {
    if request.path.contains('\0') {
        return Err(Problem::new(Code::BadRequest, "a path has no byte 0"));
    }
    Ok(Path::new(HOME).join(&request.path))
}

fn no_source(path: &Path, error: &io::Error) -> Problem {
    let message = format!("cannot read `{}` in the guest", path.display());
    Problem::new(code_of(error), message).because(error)
}

fn no_destination(path: &Path, error: &io::Error) -> Problem {
    let message = format!("cannot copy to `{}` in the guest", path.display());
    let problem = Problem::new(code_of(error), message).because(error);
    match error.kind() {
        io::ErrorKind::NotFound => problem.hint("the directory that it goes into has to be there"),
        _ => problem,
    }
}

fn unwritable(path: &Path, error: &UnpackError) -> Problem {
    let message = format!("cannot copy to `{}` in the guest", path.display());
    Problem::new(stream_code(error), message).because(error)
}

fn code_of(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Code::NotFound,
        _ => Code::OperationFailed,
    }
}
