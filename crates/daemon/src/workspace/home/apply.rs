//! The guest's changes on their way into the host's working tree.
//!
//! Each file has three versions: as it was brought in, as it is here now, as it is in the guest.
//!
//! | here | in the guest | what is done |
//! |---|---|---|
//! | as brought in | changed | the guest's is taken |
//! | changed | changed to the same | nothing |
//! | changed | changed otherwise | `git merge-file`, where all three are files |
//!
//! What cannot be merged is a conflict, and with one conflict nothing is written at all. Versions
//! are compared and written as they are on disk; git's index is neither read nor written.

use std::collections::HashMap;
use std::path::PathBuf;

use banger_tree::blob::{name_blob, name_blob_of};
use banger_tree::changes::{FILE, LINK, PROGRAM};
use banger_tree::{Node, Room, Tree};
use rustix::fs::{FileType, Stat};

use super::HomeError;
use super::guest::GuestTree;
use super::interrupted::take_back;
use super::place::{Action, Seen, place};
use super::receive::Changes;
use super::record::{Record, Version};
use crate::workspace::error::WorkspaceError;

/// Most names in a message.
const MAX_NAMED: usize = 20;

/// What is to be done, as far as it can be told without merging.
#[derive(Debug, Default)]
struct Plan {
    actions: Vec<Action>,
    merges: Vec<Merge>,
    conflicts: Vec<Vec<u8>>,
}

/// A file that both sides changed.
#[derive(Debug)]
struct Merge {
    path: Vec<u8>,
    seen: Seen,
    base: Version,
    ours: (Version, Vec<u8>),
    theirs: Version,
}

impl GuestTree {
    /// Makes the guest's changes to the host's files. Answers which files, and what a person
    /// should know.
    pub(crate) async fn apply(self) -> Result<(Vec<String>, Vec<String>), HomeError> {
        let top = self.gone.git.top_level.clone();
        let Self { gone, scratch, changes, mut notes, .. } = self;
        let planning = tokio::task::spawn_blocking(move || {
            let taken_back = take_back(&top)?;
            let plan = plan(top, &gone.record, &changes)?;
            Ok::<_, HomeError>((plan, gone, taken_back))
        });
        let (mut plan, gone, taken_back) = planning.await.map_err(|_| HomeError::Interrupted)??;
        if taken_back > 0 {
            notes.push(format!(
                "an export that was interrupted was taken back first (files: {taken_back})"
            ));
        }
        for merge in std::mem::take(&mut plan.merges) {
            match self::merge(&scratch, &merge).await? {
                Some(version) => plan.actions.push(Action {
                    path: merge.path,
                    seen: Some(merge.seen),
                    version: Some(version),
                }),
                None => plan.conflicts.push(merge.path),
            }
        }
        if !plan.conflicts.is_empty() {
            plan.conflicts.sort();
            let named = plan.conflicts.iter().take(MAX_NAMED).map(|path| render(path));
            let (files, count) = (named.collect(), plan.conflicts.len());
            return Err(HomeError::Conflicts { files, count });
        }
        plan.actions.sort_by(|a, b| a.path.cmp(&b.path));
        let files = plan.actions.iter().map(|action| render(&action.path)).collect();
        let top = gone.git.top_level.clone();
        // Once it has begun it goes on to its end or back to its beginning, whoever listens.
        let placing = tokio::task::spawn_blocking(move || {
            let _scratch = &scratch;
            place(&top, &plan.actions, &scratch.objects(), &Room::sparing())
        });
        placing.await.map_err(|_| HomeError::Interrupted)??;
        Ok((files, notes))
    }
}

fn render(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn plan(top: PathBuf, record: &Record, changes: &Changes) -> Result<Plan, HomeError> {
    let before = record.entries.iter().map(|entry| (entry.path.as_slice(), entry.raw.as_ref()));
    let before: HashMap<_, _> = before.collect();
    let read_error = |source| HomeError::Host(WorkspaceError::Read { path: top.clone(), source });
    let mut tree = Tree::open(&top).map_err(read_error)?;
    let mut plan = Plan::default();
    for (path, changed) in changes {
        let base = before.get(path.as_slice()).copied().flatten();
        let mut look = Look { tree: &mut tree, record, changes };
        look.decide(path, base, changed.raw.as_ref(), &mut plan).map_err(read_error)?;
    }
    Ok(plan)
}

struct Look<'a> {
    tree: &'a mut Tree,
    record: &'a Record,
    changes: &'a Changes,
}

impl Look<'_> {
    fn decide(
        &mut self,
        path: &[u8],
        base: Option<&Version>,
        theirs: Option<&Version>,
        plan: &mut Plan,
    ) -> std::io::Result<()> {
        if !self.is_reachable(path, theirs.is_some())? {
            plan.conflicts.push(path.to_vec());
            return Ok(());
        }
        let ours = match self.tree.kind(path)? {
            None => None,
            Some(FileType::RegularFile | FileType::Symlink) => self.observe(path)?,
            // Git knows no directories: where one is, no file is.
            Some(FileType::Directory) if theirs.is_none() || self.goes_away(path)? => None,
            Some(_) => {
                plan.conflicts.push(path.to_vec());
                return Ok(());
            }
        };
        let (ours, contents, seen) = match ours {
            Some((version, contents, seen)) => (Some(version), contents, Some(seen)),
            None => (None, None, None),
        };
        if ours.as_ref() == theirs {
            return Ok(());
        }
        let path = path.to_vec();
        if ours.as_ref() == base {
            plan.actions.push(Action { path, seen, version: theirs.cloned() });
            return Ok(());
        }
        match (base, ours, theirs, contents, seen) {
            (Some(base), Some(ours), Some(theirs), Some(contents), Some(seen))
                if is_file(base) && is_file(&ours) && is_file(theirs) =>
            {
                let (base, theirs) = (base.clone(), theirs.clone());
                plan.merges.push(Merge { path, seen, base, ours: (ours, contents), theirs });
            }
            _ => plan.conflicts.push(path),
        }
        Ok(())
    }

    /// Whether nothing but directories, or what goes away, is on the way to `path`.
    fn is_reachable(&mut self, path: &[u8], is_written: bool) -> std::io::Result<bool> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for parent in slashes.map(|(at, _)| &path[..at]) {
            match self.tree.kind(parent)? {
                None | Some(FileType::Directory) => {}
                Some(_) => {
                    let gone = self.changes.get(parent).is_some_and(|it| it.raw.is_none());
                    return Ok(gone || !is_written);
                }
            }
        }
        Ok(true)
    }

    /// Whether all that is in the directory `path` was removed in the guest.
    fn goes_away(&mut self, path: &[u8]) -> std::io::Result<bool> {
        let mut pending = vec![path.to_vec()];
        while let Some(directory) = pending.pop() {
            for name in self.tree.list(&directory)?.unwrap_or_default() {
                let path = [directory.as_slice(), b"/", &name].concat();
                if self.tree.kind(&path)? == Some(FileType::Directory) {
                    pending.push(path);
                } else if self.changes.get(&path).is_none_or(|changed| changed.raw.is_some()) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// What is at `path`: its version, the contents of a file that may have to be merged, and by
    /// what it is known again.
    #[expect(clippy::type_complexity, reason = "three parts of one look, taken apart at once")]
    fn observe(
        &mut self,
        path: &[u8],
    ) -> std::io::Result<Option<(Version, Option<Vec<u8>>, Seen)>> {
        let format = self.record.format;
        Ok(match self.tree.read(path)? {
            None => None,
            Some(Node::Link(text, stat)) => {
                let version = Version { mode: LINK, id: name_blob(format, &text) };
                Some((version, None, Seen::of(&stat)))
            }
            Some(Node::File(mut file, stat)) => {
                let mode = if stat.st_mode & 0o100 == 0 { FILE } else { PROGRAM };
                let size = size_of(&stat);
                let (id, contents) = if size <= MAX_MERGED {
                    let mut contents = Vec::new();
                    std::io::Read::read_to_end(&mut file, &mut contents)?;
                    (name_blob(format, &contents), Some(contents))
                } else {
                    (name_blob_of(format, size, &mut file)?, None)
                };
                Some((Version { mode, id }, contents, Seen::of(&stat)))
            }
        })
    }
}

/// Largest file that is merged, in bytes.
const MAX_MERGED: u64 = 16 << 20;

fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

fn is_file(version: &Version) -> bool {
    matches!(version.mode, FILE | PROGRAM)
}

/// Merges the contents and the modes; none where they do not go together.
async fn merge(
    scratch: &super::scratch::Scratch,
    merge: &Merge,
) -> Result<Option<Version>, HomeError> {
    let room = tempfile::tempdir_in(scratch.path()).map_err(HomeError::Scratch)?;
    let write = |name: &str, contents: &[u8]| {
        fs_err::write(room.path().join(name), contents).map_err(HomeError::Scratch)
    };
    write("here", &merge.ours.1)?;
    write("before", &scratch.read_blob(&merge.base).await?)?;
    write("guest", &scratch.read_blob(&merge.theirs).await?)?;
    let program = scratch.command("merge-file").current_dir(room.path());
    let merged = program.args(["--stdout", "--quiet", "here", "before", "guest"]);
    let merged = merged.capture(crate::workspace::git::LIST_LIMIT).await.map_err(HomeError::Git)?;
    // How many conflicts there are, or 255 for files that have no lines.
    if !merged.status.success() {
        return Ok(None);
    }
    let contents = merged.stdout;
    let (base, ours, theirs) = (merge.base.mode, merge.ours.0.mode, merge.theirs.mode);
    let mode = if ours == base { theirs } else { ours };
    let id = scratch.objects().write_blob(contents.len() as u64, &mut contents.as_slice());
    Ok(Some(Version { mode, id: id.map_err(HomeError::Scratch)? }))
}
