//! Where the records of a VM's workspace lie, and which of them is that of the guest's tree.
//!
//! ```text
//!  <VM's directory>/workspace/
//!  ├── current/   what is in the guest
//!  ├── next/      what is being put in its place
//!  └── new-…/     being written
//!
//!  write new-… ──▶ next ──▶ the guest exchanges its trees ──▶ current
//!                   └─ died in between: the guest's tree says by its id which one it is ─┘
//! ```
//!
//! So there is no moment at which a record is taken for that of another tree: either there is one
//! record, or the guest is asked.

use std::io;
use std::path::{Path, PathBuf};

use banger_proto::guest::SurveyRequest;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use super::guest::follow;
use super::receive::count;
use super::record::Record;
use super::{HomeError, SCRATCH};
use crate::guest::GuestClient;
use crate::private;
use crate::workspace::GUEST_PATH;

/// Record of what is in the guest.
pub(super) const CURRENT: &str = "current";
const NEXT: &str = "next";
/// Beginning of the names of records that are being written.
const NEW: &str = "new-";
/// Directory in a record with those of submodules.
const MODULES: &str = "modules";

/// The directory of the record of the repository at `path` (empty for the outermost) in the record
/// at `top`, made where it is missing.
pub(crate) fn record_of(top: &Path, path: &[u8]) -> io::Result<PathBuf> {
    if path.is_empty() {
        return Ok(top.to_owned());
    }
    let modules = top.join(MODULES);
    fs_err::create_dir_all(&modules)?;
    let directory = modules.join(fs_err::read_dir(&modules)?.count().to_string());
    fs_err::create_dir(&directory)?;
    Ok(directory)
}

/// Copies all records of a VM's workspace, if there are any; what is made for one request stays behind.
pub(crate) fn copy_records(shelf: &Path, target: &Path) -> io::Result<()> {
    let entries = match fs_err::read_dir(shelf) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    private::ensure_dir(target)?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if !text.starts_with(SCRATCH) && !text.starts_with(NEW) {
            copy_tree(&entry.path(), &target.join(&name))?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    if !fs_err::symlink_metadata(from)?.is_dir() {
        return fs_err::copy(from, to).map(drop);
    }
    private::ensure_dir(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The records of submodules in the record at `top`.
pub(super) fn load_modules(top: &Path) -> io::Result<Vec<Record>> {
    let entries = match fs_err::read_dir(top.join(MODULES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let loaded = entries.filter_map(|entry| match entry {
        Ok(entry) => Record::load(&entry.path()).transpose(),
        Err(error) => Some(Err(error)),
    });
    loaded.collect()
}

/// A record that is being written; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct NewRecord {
    shelf: PathBuf,
    directory: TempDir,
    id: String,
}

impl NewRecord {
    /// Begins one in `shelf`, the VM's directory of records, in which nobody else is at work. One
    /// that a daemon left unfinished goes.
    ///
    /// # Errors
    /// When there is no room, or no randomness.
    pub(crate) fn create(shelf: &Path) -> io::Result<Self> {
        private::ensure_dir(shelf)?;
        for entry in fs_err::read_dir(shelf)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(NEW.as_bytes()) {
                remove(&entry.path())?;
            }
        }
        let directory = tempfile::Builder::new().prefix(NEW).tempdir_in(shelf)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let id = format!("{:032x}", u128::from_ne_bytes(random));
        Ok(Self { shelf: shelf.to_owned(), directory, id })
    }

    /// Where to write it.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What the guest's tree is to be known by.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Puts the record, which is whole, where it is found should the guest's answer not be heard.
    /// Call it before the guest may exchange its trees.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn announce(self) -> io::Result<Announced> {
        let next = self.shelf.join(NEXT);
        remove(&next)?;
        fs_err::rename(self.directory.path(), next)?;
        sync(&self.shelf)?;
        Ok(Announced { shelf: self.shelf })
    }
}

/// A record of a tree that is perhaps in the guest by now.
#[derive(Debug)]
pub(crate) struct Announced {
    shelf: PathBuf,
}

impl Announced {
    /// It is.
    ///
    /// # Errors
    /// What the system says; then the guest is asked, later.
    pub(crate) fn settle(self) -> io::Result<()> {
        promote(&self.shelf)
    }
}

fn promote(shelf: &Path) -> io::Result<()> {
    let (current, next) = (shelf.join(CURRENT), shelf.join(NEXT));
    match renameat_with(CWD, &next, CWD, &current, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT) => fs_err::rename(&next, &current)?,
        Err(errno) => return Err(errno.into()),
    }
    // What is there now is of a tree that is in no guest.
    remove(&next)?;
    sync(shelf)
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    fs_err::File::open(directory)?.sync_all()
}

/// Finds out which record is that of the guest's tree, where a former exchange of trees leaves that
/// open.
///
/// # Errors
/// When the guest cannot be asked, or its tree is that of neither.
pub(crate) async fn ensure_settled(
    shelf: &Path,
    guest: &GuestClient,
    vm: &str,
) -> Result<(), HomeError> {
    let load = |name: &str| Record::load(&shelf.join(name)).map_err(HomeError::Record);
    let Some(next) = load(NEXT)? else {
        return Ok(());
    };
    let request = SurveyRequest {
        directory: GUEST_PATH.to_owned(),
        object_format: next.base.object_format.clone(),
        contents: false,
    };
    let source = guest.survey(&request, b"").await?;
    let (_, surveyed) = follow(source, |mut stream| count(&mut stream)).await?;
    let id = surveyed.workspace_id;
    if id.is_some() && id == next.base.id {
        promote(shelf).map_err(HomeError::Record)
    } else if load(CURRENT)?.is_some_and(|current| id == current.base.id) {
        remove(&shelf.join(NEXT)).map_err(HomeError::Record)
    } else {
        Err(HomeError::Unsettled(vm.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_current_one_once_it_is_settled() {
        let shelf = tempfile::tempdir().unwrap();
        let shelf = shelf.path().join("workspace");
        let names = || {
            let entries = fs_err::read_dir(&shelf).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        for id in ["one", "two"] {
            let new = NewRecord::create(&shelf).unwrap();
            fs_err::write(new.path().join("id"), id).unwrap();
            let announced = new.announce().unwrap();
            assert!(names().contains(&NEXT.to_owned()));
            announced.settle().unwrap();
            assert_eq!(names(), [CURRENT]);
            assert_eq!(fs_err::read_to_string(shelf.join("current/id")).unwrap(), id);
        }
        fs_err::create_dir(shelf.join("new-left")).unwrap();
        drop(NewRecord::create(&shelf).unwrap());
        assert_eq!(names(), [CURRENT], "one that was given up stays");
        let left = NewRecord::create(&shelf).unwrap();
        left.announce().unwrap();
        let again = NewRecord::create(&shelf).unwrap();
        again.announce().unwrap();
        assert_eq!(names(), [CURRENT, NEXT]);
    }

    #[test]
    fn submodules_have_records_of_their_own() {
        let top = tempfile::tempdir().unwrap();
        assert_eq!(record_of(top.path(), b"").unwrap(), top.path());
        let first = record_of(top.path(), b"lib/a").unwrap();
        assert_ne!(record_of(top.path(), b"lib/b").unwrap(), first);
        assert!(load_modules(top.path()).unwrap().is_empty());
    }
}
