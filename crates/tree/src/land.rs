//! Where a copy goes. One entry of the archive, the first, is the *top*: what is being copied.
//! All others are inside it.
//!
//! ```text
//!   the destination     the top                    what the copy is called
//!   is a directory      has a name, `site`         destination/site
//!   is a directory      is `.`: the contents       destination itself, merged
//!   is anything else    any                        destination
//! ```
//!
//! Directories are merged, files and links replaced; neither ever takes the place of the other.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType};
use tar::EntryType;

use super::beneath::{Beneath, Rules, TreeError, relative};
use super::path::{ends_in_slash, name_of, parent_of};
use super::room::Room;
use super::unpack::{UnpackError, Unpacked, Writer, failed, read_entries};

/// A destination as it was found.
#[derive(Debug)]
pub enum Destination {
    /// A directory that is there.
    Directory(OwnedFd),
    /// A name that nothing has, or that something else has.
    Name {
        /// The directory it is in.
        parent: OwnedFd,
        /// The name.
        name: OsString,
        /// Whether it was written as that of a directory, with a slash at its end.
        slash: bool,
    },
}

/// What a destination may be led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// A link to a directory is that directory.
    Followed,
    /// Only with a slash after it: an earlier copy may have made it.
    Refused,
}

impl Destination {
    /// What `path` names; `open` opens a directory by its path.
    ///
    /// # Errors
    /// When the directory that it would be in is not there, or `links` forbid it.
    pub fn find(
        path: &Path,
        links: Links,
        open: impl Fn(&Path) -> io::Result<OwnedFd>,
    ) -> io::Result<Self> {
        let slash = ends_in_slash(path);
        let Some(name) = name_of(path) else { return open(path).map(Self::Directory) };
        match open(path) {
            Ok(_)
                if links == Links::Refused && !slash && is_link(&open(parent_of(path))?, name)? =>
            {
                let text = "it is a link; with a slash at its end, the directory is meant";
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
            Ok(directory) => Ok(Self::Directory(directory)),
            Err(error) if is_no_directory(&error) => {
                Ok(Self::Name { parent: open(parent_of(path))?, name: name.to_owned(), slash })
            }
            Err(error) => Err(error),
        }
    }
}

fn is_no_directory(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_link(parent: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// What the copy is called in a directory that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Top {
    /// As the archive says.
    OfArchive,
    /// This, whatever the archive says.
    Named(OsString),
    /// Nothing: the contents of what is copied, which has to be a directory.
    Contents,
}

/// Unpacks `stream` where `destination` and `top` say, as long as `room` lets it; of modes, the
/// bits `modes` are kept.
///
/// # Errors
/// [`UnpackError`]. What was written whole before stays; nothing else does.
pub fn land(
    stream: impl Read,
    destination: Destination,
    top: &Top,
    modes: u32,
    room: Room,
) -> Result<Unpacked, UnpackError> {
    let rules = Rules { shared: true, modes };
    let (directory, given) = match destination {
        Destination::Directory(directory) => (directory, None),
        Destination::Name { parent, name, slash } => (parent, Some((name, slash))),
    };
    let beneath = Beneath::new(directory, rules).within(room);
    let mut writer = Writer::new(&beneath);
    // What the archive calls the top, and what it is called here.
    let mut called: Option<(PathBuf, PathBuf)> = None;
    read_entries(stream, |path, entry| {
        let wrong = |source| failed(path, source);
        let inside = relative(path).map_err(wrong)?;
        let (theirs, ours) = match &called {
            Some(called) => called,
            None => {
                let is_directory = entry.header().entry_type() == EntryType::Directory;
                let ours = name_top(&inside, is_directory, given.as_ref(), top).map_err(wrong)?;
                called.insert((inside.clone(), ours))
            }
        };
        let rest = inside.strip_prefix(theirs).map_err(|_| wrong(TreeError::Outside))?;
        let place = if rest.as_os_str().is_empty() { ours.clone() } else { ours.join(rest) };
        writer.entry(path, &place, entry, |target| {
            let target = relative(target)?;
            let rest = target.strip_prefix(theirs).map_err(|_| TreeError::Outside)?;
            Ok(ours.join(rest))
        })
    })?;
    if called.is_none() {
        let empty = io::Error::new(io::ErrorKind::InvalidData, "the archive is empty");
        return Err(UnpackError::Archive(empty));
    }
    writer.finish()
}

/// What the top is called here, from the directory on; empty for that directory itself.
fn name_top(
    theirs: &Path,
    is_directory: bool,
    given: Option<&(OsString, bool)>,
    top: &Top,
) -> Result<PathBuf, TreeError> {
    // A top inside of something else would be a tree without its top.
    if theirs.components().count() > 1 {
        return Err(TreeError::Outside);
    }
    let contents = *top == Top::Contents || theirs.as_os_str().is_empty();
    match given {
        _ if contents && !is_directory => Err(TreeError::Kind),
        Some((_, true)) if !is_directory => Err(TreeError::Io(io::ErrorKind::NotFound.into())),
        Some((name, _)) => Ok(name.into()),
        None => Ok(match top {
            Top::Contents => PathBuf::new(),
            Top::Named(name) => name.into(),
            Top::OfArchive => theirs.to_owned(),
        }),
    }
}
