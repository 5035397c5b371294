//! The survey services: what became of a repository, told to the host by reading files alone.
//!
//! ```text
//!  host ── what is known … End ──▶ list
//!  host ◀─ Data … Event ─ pipe ◀── thread: compare, walk, send what is different
//! ```
//!
//! No git runs here: many images have none, and what the guest's git is configured to do is for
//! the guest. Nothing is written, no link is followed.
//!
//! | module | responsible for |
//! |---|---|
//! | `walk` | the difference between what is known and what is there |
//! | `ignored` | what the repository's rules leave out |
//! | `index` | the paths in the guest's index |
//! | `split` | an index that is in two files |
//! | `head` | what is checked out |
//! | `names` | what the repository has names for |
//! | `objects` | the files of the object store |
//! | `pulse` | telling a long silence from a hang |

mod head;
mod ignored;
mod index;
mod names;
mod objects;
mod pulse;
mod split;
mod walk;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{GitObjectsRequest, SurveyRequest, Surveyed};
use banger_proto::{Code, Problem};
use banger_tree::blob::ObjectFormat;
use banger_tree::changes::Known;
use banger_tree::{Piece, Tree, pipe};
use tokio::time::timeout;

use crate::context::Context;
use crate::services::{FromHost, ServiceError, ToHost, require_configured};
use pulse::{Out, Pulse};

pub(crate) use ignored::{Rules, is_ignored};
pub(crate) use index::load_paths as load_tracked;

/// Longest list of what is known, in bytes: a few million paths.
const LIST_LIMIT: usize = 1 << 30;
/// How long nothing is sent before a sign of life is: a few times less than the host has patience.
const SILENCE: Duration = Duration::from_secs(20);

/// Why a repository cannot be surveyed.
#[derive(Debug, thiserror::Error)]
enum SurveyError {
    /// A file of it.
    #[error("cannot read `{path}` in the guest")]
    Read {
        /// Path from the top.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file became shorter while it was read.
    #[error("`{0}` changed in the guest while it was read")]
    Changed(String),
    /// Nobody takes what is sent.
    #[error("the host listens no more")]
    Unheard,
}

impl SurveyError {
    fn read(path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        let path = String::from_utf8_lossy(path).into_owned();
        move |source| Self::Read { path, source }
    }
}

/// Compares a repository with what the host knows of it.
pub(crate) async fn serve(
    context: &Arc<Context>,
    request: &SurveyRequest,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let format = ObjectFormat::parse(&request.object_format).ok_or_else(|| {
        let message = format!("no object format `{}`", request.object_format);
        Problem::new(Code::BadRequest, message)
    })?;
    let top = open_top(context, &request.directory)?;
    to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;
    let known = Known::parse_list(format, &receive_list(from_host).await?)
        .ok_or_else(|| Problem::new(Code::BadRequest, "a malformed list of what is known"))?;
    let contents = request.contents;
    let work = move |out: &mut Out| walk::survey(top, &known, format, contents, out);
    send(work, to_host, SILENCE).await
}

/// Sends the repository's objects.
pub(crate) async fn send_objects(
    context: &Arc<Context>,
    request: &GitObjectsRequest,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let top = open_top(context, &request.directory)?;
    to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;
    let except = request.except.clone();
    send(move |out: &mut Out| objects::send(top, &except, out), to_host, SILENCE).await
}

fn open_top(context: &Context, directory: &str) -> Result<Tree, Problem> {
    let opened = context.root.open().and_then(|root| root.directory(Path::new(directory)));
    opened.map(Tree::at).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Code::NotFound,
            _ => Code::OperationFailed,
        };
        Problem::new(code, format!("cannot read `{directory}` in the guest")).because(&error)
    })
}

async fn receive_list(from_host: &mut FromHost) -> Result<Vec<u8>, ServiceError> {
    let mut list = Vec::new();
    while let Some(frame) = from_host.next().await? {
        match frame.kind {
            Kind::Data => list.extend_from_slice(&frame.payload),
            Kind::End => return Ok(list),
            _ => {}
        }
        if list.len() > LIST_LIMIT {
            return Err(Problem::new(Code::BadRequest, "too long a list of what is known").into());
        }
    }
    Err(Problem::new(Code::Cancelled, "the list of what is known was broken off").into())
}

/// Does `work` in a thread, passes on what it writes, and tells how it ended. While it writes
/// nothing but goes on, an empty frame each `silence` says so.
async fn send<F>(work: F, to_host: &mut ToHost, silence: Duration) -> Result<(), ServiceError>
where
    F: FnOnce(&mut Out) -> Result<Surveyed, SurveyError> + Send + 'static,
{
    let (inlet, mut outlet) = pipe();
    let pulse = Pulse::default();
    let mut out = Out::new(inlet, pulse.clone());
    let worker = tokio::task::spawn_blocking(move || {
        let surveyed = work(&mut out)?;
        out.flush().map_err(|_| SurveyError::Unheard)?;
        Ok::<_, SurveyError>(surveyed)
    });
    let mut steps = 0;
    loop {
        match timeout(silence, outlet.next()).await {
            // When this fails, dropping the outlet ends the worker.
            Ok(Some(Piece::Bytes(bytes))) => to_host.send_bytes(Kind::Data, &bytes).await?,
            Ok(_) => break,
            Err(_) if pulse.steps() == steps => {}
            Err(_) => {
                steps = pulse.steps();
                to_host.send(&Frame::new(Kind::Data, [])).await?;
            }
        }
    }
    let surveyed = worker
        .await
        .map_err(|_| Problem::new(Code::OperationFailed, "reading the repository panicked"))?
        .map_err(|error| Problem::from_error(Code::OperationFailed, &error))?;
    Ok(to_host.send_json(Kind::Event, &surveyed).await?)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use banger_link::framed::framed;

    use super::*;

    #[tokio::test]
    async fn a_long_silence_is_told_from_a_hang() {
        let (near, far) = tokio::io::duplex(1 << 10);
        let (mut host, _keep) = framed(near);
        let (go_on, told) = mpsc::channel();
        let work = move |out: &mut Out| {
            out.beat();
            // Nothing more is done until the host has heard of it.
            told.recv().map_err(|_| SurveyError::Unheard)?;
            out.write_all(b"found").map_err(|_| SurveyError::Unheard)?;
            Ok(Surveyed::default())
        };
        let agent = tokio::spawn(async move {
            let mut to_host: ToHost = banger_link::framed::FrameWriter::new(Box::new(far));
            send(work, &mut to_host, Duration::from_millis(1)).await
        });
        let sign = host.next().await.unwrap().unwrap();
        assert_eq!((sign.kind, sign.payload.len()), (Kind::Data, 0));
        // Without a step there is no other sign: the next frame has what was found.
        go_on.send(()).unwrap();
        let found = host.next().await.unwrap().unwrap();
        assert_eq!((found.kind, found.payload.as_slice()), (Kind::Data, &b"found"[..]));
        assert_eq!(host.next().await.unwrap().unwrap().kind, Kind::Event);
        assert!(agent.await.unwrap().is_ok());
    }
}
