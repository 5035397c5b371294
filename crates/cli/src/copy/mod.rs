//! Copying files between this host and a guest: what `banger vm cp` does once it knows what is
//! meant.
//!
//! ```text
//!   into the guest    thread: pack ─▶ pipe ─▶ body of the request ─▶ daemon ─▶ agent
//!   out of it         thread: land ◀─ pipe ◀─ body of the answer ◀── daemon ◀─ agent
//! ```
//!
//! The host's files are read and written by a thread of this process, as the user; the daemon
//! never sees a path of the host. What comes out of a guest is not trusted.

mod into;
mod out;
mod place;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use banger_proto::ByteSize;
use banger_proto::api::Event;
use banger_proto::guest::Copied;
use rustix::fs::{Mode, OFlags};

use crate::cmd::Context;
use crate::errors::CliError;
use crate::progress::Progress;

pub(crate) use into::copy_in;
pub(crate) use out::copy_out;
pub(crate) use place::{GuestPlace, Place};

/// What a signal does to a copy.
const INTERRUPTED: &str = "interrupted; files that were copied whole stay";

/// Opens a directory of this host as a place.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// What the last event of a copy says.
fn end_of(event: Event) -> Result<Copied, CliError> {
    match event {
        Event::Copied { copied } => Ok(copied),
        Event::Failed { problem } => Err(problem.into()),
        other => {
            let message = format!("the daemon ended the copy with something else: {other:?}");
            Err(CliError::failure(message))
        }
    }
}

/// Says what was copied, and what was not.
fn tell(context: &Context, progress: &mut Progress, copied: &Copied) {
    progress.clear();
    for note in &copied.notes {
        context.ui.note(format!("note: {note}"));
    }
    let entries = match copied.entries {
        1 => "1 entry".to_owned(),
        several => format!("{several} entries"),
    };
    progress.remark(&format!("copied {entries}, {}", ByteSize::from_bytes(copied.bytes).human()));
}
