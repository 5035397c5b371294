//! What would be lost if the guest's repository went: what is in it and not on the host.
//!
//! | in the guest | is lost, unless |
//! |---|---|
//! | a file that is not as it was brought in | it is the same on the host's disk |
//! | a commit that something names | the host's repository has it |
//!
//! That is what comes home by an export, and nothing of it once it has come home.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;

use banger_proto::Code;
use banger_proto::guest::SurveyRequest;
use banger_tree::blob::{ObjectFormat, name_blob, name_blob_of};
use banger_tree::changes::{FILE, LINK, PROGRAM};
use banger_tree::{Node, Outlet, Tree};

use super::guest::{Gone, follow, known_files};
use super::objects::Objects;
use super::receive::{Changes, receive};
use super::record::{Record, Version};
use super::shelf::{CURRENT, load_modules};
use super::{HomeError, SCRATCH};
use crate::guest::{GuestClient, GuestError};
use crate::workspace::GUEST_PATH;
use crate::workspace::commits::load_known;
use crate::workspace::git::Git;

/// Most of them that are named.
const MAX_NAMED: usize = 10;

/// What is only in a guest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lost {
    files: BTreeSet<Vec<u8>>,
    commits: BTreeSet<String>,
    /// Whether the guest may have more commits than these.
    unclear: bool,
}

impl Gone {
    /// Refuses when something would be lost; of changed files `limit` bytes are read at most.
    ///
    /// # Errors
    /// [`HomeError::Lost`], and when the guest cannot be asked.
    pub(crate) async fn require_nothing_lost(
        &self,
        guest: &GuestClient,
        limit: u64,
    ) -> Result<(), HomeError> {
        let mut lost = Lost::default();
        let top = self.git.top_level.as_path();
        self.look(&self.record, top, Some(&self.git), guest, limit, &mut lost).await?;
        let modules = load_modules(&self.directory.join(CURRENT)).map_err(HomeError::Record)?;
        for module in &modules {
            // One that is not on the host any more has nothing that is there as well.
            let git = Git::discover(&self.git.env, &module.base.path).await.ok();
            self.look(module, &module.base.path, git.as_ref(), guest, limit, &mut lost).await?;
        }
        if lost == Lost::default() {
            return Ok(());
        }
        let files = lost.files.iter().map(|path| String::from_utf8_lossy(path).into_owned());
        Err(HomeError::Lost {
            files: name_some(files),
            commits: name_some(lost.commits.iter().cloned()),
            unclear: lost.unclear,
        })
    }

    /// Looks at one repository, which is at `top` on the host.
    async fn look(
        &self,
        record: &Record,
        top: &Path,
        git: Option<&Git>,
        guest: &GuestClient,
        limit: u64,
        lost: &mut Lost,
    ) -> Result<(), HomeError> {
        let below = record.base.below.as_str();
        let separator = if below.is_empty() { "" } else { "/" };
        let request = SurveyRequest {
            directory: format!("{GUEST_PATH}{separator}{below}"),
            object_format: record.base.object_format.clone(),
            contents: true,
        };
        let source = match guest.survey(&request, &known_files(record)).await {
            Err(GuestError::Refused(problem)) if problem.code == Code::NotFound => {
                // Who removed all of it has nothing to lose.
                return Ok(());
            }
            source => source?,
        };
        let room = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&self.directory);
        let room = room.map_err(HomeError::Scratch)?;
        let objects = Objects::new(room.path().to_owned(), record.format);
        let receiving = move |mut stream: Outlet| {
            let changes = receive(&mut stream, &HashMap::new(), &objects, limit);
            drop(room);
            changes
        };
        let (changes, surveyed) = follow(source, receiving).await?;
        let (host, format) = (top.to_owned(), record.format);
        let comparing = tokio::task::spawn_blocking(move || select_lost(&host, format, &changes));
        let found = comparing.await.map_err(|_| HomeError::Interrupted)?;
        lost.files.extend(found.into_iter().map(|path| match below {
            "" => path,
            _ => [below.as_bytes(), b"/", &path].concat(),
        }));
        let base = &record.base.commit;
        let named: BTreeSet<_> =
            surveyed.commits.into_iter().chain(surveyed.commit.clone()).collect();
        let named: Vec<_> = named.into_iter().filter(|id| Some(id) != base.as_ref()).collect();
        let known = match git {
            Some(git) => load_known(git, &named).await?,
            None => HashSet::new(),
        };
        lost.commits.extend(named.into_iter().filter(|id| !known.contains(id)));
        lost.unclear |= surveyed.more_commits || (base.is_some() && surveyed.commit.is_none());
        Ok(())
    }
}

/// Those of the guest's changes that are not the same below `top`.
fn select_lost(top: &Path, format: ObjectFormat, changes: &Changes) -> Vec<Vec<u8>> {
    // What cannot be read on the host cannot be known to be there.
    let mut tree = Tree::open(top).ok();
    let mut is_here = |path: &[u8], version: Option<&Version>| {
        let here = tree.as_mut().map(|tree| observe(tree, format, path));
        here.is_some_and(|here| here.is_ok_and(|here| here.as_ref() == version))
    };
    let lost = changes.iter().filter(|(path, changed)| !is_here(path, changed.raw.as_ref()));
    lost.map(|(path, _)| path.clone()).collect()
}

fn observe(tree: &mut Tree, format: ObjectFormat, path: &[u8]) -> io::Result<Option<Version>> {
    Ok(match tree.read(path)? {
        None => None,
        Some(Node::Link(text, _)) => Some(Version { mode: LINK, id: name_blob(format, &text) }),
        Some(Node::File(mut file, stat)) => {
            let mode = if stat.st_mode & 0o100 == 0 { FILE } else { PROGRAM };
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            Some(Version { mode, id: name_blob_of(format, size, &mut file)? })
        }
    })
}

/// The first of `names`, in backticks, and how many more there are.
fn name_some(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(MAX_NAMED);
    let named: Vec<_> = names.take(MAX_NAMED).map(|name| format!("`{name}`")).collect();
    match more {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use banger_tree::blob::name_blob;

    use super::*;
    use crate::workspace::home::receive::Changed;

    #[test]
    fn what_is_the_same_on_the_host_is_not_lost() {
        let format = ObjectFormat::Sha1;
        let top = tempfile::tempdir().unwrap();
        for (name, text) in [("same", "s\n"), ("other", "o\n"), ("here", "h\n")] {
            fs_err::write(top.path().join(name), text).unwrap();
        }
        let version = |mode, text: &[u8]| Some(Version { mode, id: name_blob(format, text) });
        let changed = |raw: Option<Version>| Changed { raw: raw.clone(), clean: raw };
        let changes = Changes::from([
            (b"same".to_vec(), changed(version(FILE, b"s\n"))),
            (b"other".to_vec(), changed(version(FILE, b"other\n"))),
            (b"here".to_vec(), changed(None)),
            (b"gone".to_vec(), changed(None)),
            (b"new".to_vec(), changed(version(LINK, b"same"))),
        ]);
        let names = |lost: Vec<Vec<u8>>| -> Vec<_> {
            lost.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
        };
        assert_eq!(names(select_lost(top.path(), format, &changes)), ["here", "new", "other"]);
        let nowhere = top.path().join("nowhere");
        assert_eq!(names(select_lost(&nowhere, format, &changes)).len(), 5);
    }

    #[test]
    fn not_all_are_named() {
        assert_eq!(name_some(["a".to_owned(), "b".to_owned()].into_iter()), "`a`, `b`");
        let many = (0..12).map(|number| number.to_string()).collect::<Vec<_>>();
        assert!(name_some(many.into_iter()).ends_with("`9` and 2 more"));
    }
}
