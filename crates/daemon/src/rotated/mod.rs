//! Logs of bounded size: a file that is renamed to the same name with `.1` when it is full.
//!
//! ```text
//!   append ──▶ NAME ──full──▶ NAME.1 ──full again──▶ gone
//! ```
//!
//! `write` makes them, `read` reads the two files as the one text they are, also while they are
//! written. Not responsible for what stands in them.

mod read;
mod write;

use std::path::{Path, PathBuf};

pub(crate) use read::load_end;
pub use read::{Chunks, stream};
pub(crate) use write::RotatedFile;

/// The file that a full one becomes.
fn older(path: &Path) -> PathBuf {
    let mut older = path.to_owned().into_os_string();
    older.push(".1");
    older.into()
}
