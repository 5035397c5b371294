//! Out of a guest onto this host.

use std::io;
use std::path::Path;

use banger_proto::api::Event;
use banger_proto::guest::Copied;
use banger_tree::{Destination, Inlet, Links, Piece, Room, Top, UnpackError, land, name_of, pipe};

use super::{GuestPlace, INTERRUPTED, end_of, open_directory, tell};
use crate::client::{Client, Part};
use crate::cmd::Context;
use crate::errors::CliError;
use crate::progress::Progress;
use crate::signals::Signals;

/// The bits of a mode that are kept: a guest makes no programs that run as somebody else.
const MODES: u32 = 0o1777;

/// Copies `from` to `to`.
///
/// # Errors
/// When something cannot be read there or written here, and when a signal comes.
pub(crate) async fn copy_out(
    context: &Context,
    from: &GuestPlace,
    to: &Path,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let mut signals = Signals::ending()?;
    let unwritable = || CliError::failure(format!("cannot copy to `{}`", to.display()));
    let destination = Destination::find(to, Links::Refused, open_directory)
        .map_err(|error| explain(unwritable(), &error))?;
    // What the guest calls it is not asked.
    let top = match name_of(Path::new(&from.path)) {
        Some(name) => Top::Named(name.to_owned()),
        None => Top::Contents,
    };
    let client = context.daemon(&mut signals).await?;
    progress.begin(&format!("copying from {}", from.vm));
    let (inlet, outlet) = pipe();
    let landing = tokio::task::spawn_blocking(move || {
        land(outlet, destination, &top, MODES, Room::sparing())
    });
    let received = signals.race_or(INTERRUPTED, receive(&client, from, inlet, progress)).await;
    // The pipe has its end, or has gone: so the thread ends, and clears what is not whole away.
    let landed = landing.await.map_err(|error| unwritable().because(&error))?;
    match (received, landed) {
        // Why the thread took no more.
        (Ok(_), Err(error)) => Err(explain_landing(unwritable(), from, &error)),
        (Err(error), _) => Err(error),
        (Ok(received), Ok(landed)) => {
            let notes = received.map(|copied| copied.notes).unwrap_or_default();
            let copied = Copied { entries: landed.entries, bytes: landed.bytes, notes };
            tell(context, progress, &copied);
            Ok(())
        }
    }
}

fn explain(problem: CliError, error: &io::Error) -> CliError {
    let problem = problem.because(error);
    match error.kind() {
        io::ErrorKind::NotFound => problem.hint("the directory that it goes into has to be there"),
        _ => problem,
    }
}

fn explain_landing(problem: CliError, from: &GuestPlace, error: &UnpackError) -> CliError {
    let problem = problem.because(error);
    match error.is_full() {
        true => problem
            .hint(format!("how large it is: banger vm exec {} -- du -sh {}", from.vm, from.path))
            .hint("copy it to another file system, or make room on this one"),
        false => problem,
    }
}

/// Passes the stream on to its end. What the guest says of it; nothing when the thread takes no
/// more.
async fn receive(
    client: &Client,
    from: &GuestPlace,
    inlet: Inlet,
    progress: &mut Progress,
) -> Result<Option<Copied>, CliError> {
    let mut download = client.copy_out(&from.call()?).await?;
    let mut done = 0;
    loop {
        match download.next().await? {
            Part::Bytes(bytes) => {
                done += bytes.len() as u64;
                if !inlet.send(Piece::Bytes(bytes)).await {
                    return Ok(None);
                }
                progress.show(&Event::Progress { label: "received".into(), done, total: None });
            }
            Part::End(event) => {
                let end = end_of(event).map_err(|error| error.of_operation(download.op_id()))?;
                inlet.send(Piece::End).await;
                return Ok(Some(end));
            }
        }
    }
}
