//! Replacing a small file as a whole.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// In the name of a file that is being written; what comes after it says by whom.
pub(crate) const HALF: &str = ".half-";

/// Replaces the file `path` by one with `contents`, or leaves it as it is.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn save_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut half = path.as_os_str().to_owned();
    // Daemons with state directories of their own may share this one.
    half.push(format!("{HALF}{}", std::process::id()));
    let half = PathBuf::from(half);
    let mut file = fs_err::File::create(&half)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs_err::rename(&half, path)?;
    fs_err::File::open(directory)?.sync_all()
}
