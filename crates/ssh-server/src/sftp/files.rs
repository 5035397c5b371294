//! Requests that concern names: what each of them does to the files.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::attributes::Attributes;
use super::protocol::Status;

/// How a file is to be opened (the draft's §6.3).
const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREATE: u32 = 8;
const TRUNCATE: u32 = 16;
const EXCLUSIVE: u32 = 32;

/// The path of a request. An empty one is where the process is.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(if bytes.is_empty() { b"." } else { bytes }))
}

/// Opens a file; and whether writes go to its end.
pub(super) fn open(
    path: &Path,
    flags: u32,
    attributes: &Attributes,
) -> Result<(File, bool), Status> {
    let has = |flag| flags & flag != 0;
    let file = OpenOptions::new()
        .read(has(READ))
        .write(has(WRITE) && !has(APPEND))
        .append(has(APPEND))
        .create(has(CREATE) && !has(EXCLUSIVE))
        .create_new(has(CREATE) && has(EXCLUSIVE))
        .truncate(has(TRUNCATE) && !has(APPEND))
        .mode(attributes.permissions(0o666))
        .open(path)?;
    if file.metadata()?.is_dir() {
        return Err(Status::failure("is a directory"));
    }
    Ok((file, has(APPEND)))
}

pub(super) fn make_directory(path: &Path, attributes: &Attributes) -> Result<(), Status> {
    Ok(DirBuilder::new().mode(attributes.permissions(0o777)).create(path)?)
}

/// Renames without replacing anything, as the draft has it.
pub(super) fn rename_new(from: &Path, to: &Path) -> Result<(), Status> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems that do not know the flag say so.
        Err(rustix::io::Errno::INVAL) => {
            if to.symlink_metadata().is_ok() {
                return Err(rustix::io::Errno::EXIST.into());
            }
            Ok(fs::rename(from, to)?)
        }
        other => Ok(other?),
    }
}

/// Makes the link `link`. Clients of OpenSSH send the target first, which the draft has second.
pub(super) fn make_link(target: &Path, link: &Path) -> Result<(), Status> {
    Ok(symlink(target, link)?)
}

/// The absolute path without links; of what does not exist, as far as it does, with the rest of
/// the name as it is, for clients ask about files that they are about to make.
pub(super) fn real_path(path: &Path) -> Result<PathBuf, Status> {
    let missing = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => error,
        other => return Ok(other?),
    };
    let is_name = matches!(path.components().next_back(), Some(Component::Normal(_)));
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if is_name => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(fs::canonicalize(parent)?.join(name))
        }
        _ => Err(missing.into()),
    }
}

/// The path with a leading `~` replaced by the user's home, where the process begins.
pub(super) fn expand(bytes: &[u8]) -> Result<PathBuf, Status> {
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    match bytes.strip_prefix(b"~") {
        None => real_path(path(bytes)),
        Some([]) => real_path(&home()),
        Some([b'/', rest @ ..]) => real_path(&home().join(OsStr::from_bytes(rest))),
        Some(_) => Err(Status::failure("homes of other users are not known")),
    }
}
