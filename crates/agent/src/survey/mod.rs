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
//! | `objects` | the files of the object store |

mod head;
mod ignored;
mod index;
mod objects;
mod split;
mod walk;

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use banger_proto::guest::frame::{DATA_CHUNK, Kind};
use banger_proto::guest::{GitObjectsRequest, SurveyRequest, Surveyed};
use banger_proto::{Code, Problem};
use banger_tree::blob::ObjectFormat;
use banger_tree::changes::Known;
use banger_tree::{Inlet, Piece, Tree, pipe};

use crate::context::Context;
use crate::services::{FromHost, ServiceError, ToHost, require_configured};

/// Longest list of what is known, in bytes: a few million paths.
const LIST_LIMIT: usize = 1 << 30;

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

type Out = BufWriter<Inlet>;

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
    send(work, to_host).await
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
    send(move |out: &mut Out| objects::send(top, &except, out), to_host).await
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

/// Does `work` in a thread, passes on what it writes, and tells how it ended.
async fn send<F>(work: F, to_host: &mut ToHost) -> Result<(), ServiceError>
where
    F: FnOnce(&mut Out) -> Result<Surveyed, SurveyError> + Send + 'static,
{
    let (inlet, mut outlet) = pipe();
    let worker = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(DATA_CHUNK, inlet);
        let surveyed = work(&mut out)?;
        out.flush().map_err(|_| SurveyError::Unheard)?;
        Ok::<_, SurveyError>(surveyed)
    });
    while let Some(Piece::Bytes(bytes)) = outlet.next().await {
        // Dropping the outlet then ends the worker.
        to_host.send_bytes(Kind::Data, &bytes).await?;
    }
    let surveyed = worker
        .await
        .map_err(|_| Problem::new(Code::OperationFailed, "reading the repository panicked"))?
        .map_err(|error| Problem::from_error(Code::OperationFailed, &error))?;
    Ok(to_host.send_json(Kind::Event, &surveyed).await?)
}
