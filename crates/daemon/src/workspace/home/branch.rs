//! The guest's commits on their way into the host's repository.
//!
//! ```text
//!  agent ──loose objects, packs──▶ scratch: each checked ──git fetch──▶ the host's objects
//!                                  (its own settings)      fsck          └─▶ refs/heads/NAME, new
//! ```

use std::io::{self, Read};

use banger_proto::guest::GitObjectsRequest;
use banger_tree::Outlet;
use banger_tree::blob::ObjectId;
use banger_tree::changes::{Change, FILE};
use tempfile::TempPath;

use super::HomeError;
use super::guest::{Gone, GuestTree, follow};
use super::objects::Objects;
use super::scratch::{GIT_MEMORY, Scratch};
use crate::guest::GuestClient;
use crate::workspace::GUEST_PATH;
use crate::workspace::git::{Git, quiet_git};

/// Most files of an object store that are taken.
const MAX_FILES: usize = 8 << 20;
/// Most packs that are taken: git joins them long before there are so many.
const MAX_PACKS: usize = 4096;
/// What the guest's commit is called in the scratch repository.
const GUEST_BRANCH: &str = "refs/heads/guest";

impl Gone {
    /// Refuses a name that no branch can have, or that one has.
    pub(crate) async fn require_new_branch(&self, name: &str) -> Result<(), HomeError> {
        let reference = branch(name);
        let odd = name.is_empty() || name.starts_with('-') || name == "HEAD";
        let checked = self.git.line("check-ref-format", &[&reference]).await?;
        if odd || checked.is_none() {
            return Err(HomeError::BranchName(name.to_owned()));
        }
        match self.git.line("rev-parse", &["--quiet", "--verify", &reference]).await? {
            Some(_) => Err(HomeError::BranchExists(name.to_owned())),
            None => Ok(()),
        }
    }
}

impl GuestTree {
    /// Makes the branch `name` of what is checked out in the guest. Answers the commit, and what a
    /// person should know.
    pub(crate) async fn bring_branch(
        mut self,
        guest: &GuestClient,
        name: &str,
        limit: u64,
    ) -> Result<(String, Vec<String>), HomeError> {
        let request = GitObjectsRequest {
            directory: GUEST_PATH.to_owned(),
            except: self.gone.record.base.packs.clone(),
        };
        let objects = self.scratch.objects();
        let source = guest.git_objects(&request).await?;
        let receiving = move |mut stream: Outlet| receive(&mut stream, &objects, limit);
        let (packs, surveyed) = follow(source, receiving).await?;
        for pack in packs {
            let file = tokio::fs::File::open(&pack).await.map_err(HomeError::Scratch)?;
            let index = self.scratch.command("index-pack").without_deadline();
            let index = index.args(["--stdin", "--fsck-objects"]);
            let index = index.stdin_stream(file);
            index.run().await.map_err(HomeError::Objects)?;
        }
        let commit = surveyed.commit.ok_or(HomeError::NoCommits)?;
        let format = self.gone.record.format;
        let commit = ObjectId::parse(format, commit.as_bytes()).ok_or(HomeError::NoCommits)?;
        let commit = commit.to_string();
        if self.gone.record.base.commit.as_ref() == Some(&commit) {
            return Err(HomeError::NoCommits);
        }
        fetch(&self.gone.git, &self.scratch, &commit, name).await?;
        if self.differs_from(&commit).await? {
            self.notes.push(
                "the guest has edits that are not committed; the branch does not have them"
                    .to_owned(),
            );
        }
        Ok((commit, self.notes))
    }
}

fn branch(name: &str) -> String {
    format!("refs/heads/{name}")
}

/// Takes over the files of the guest's object store: loose objects at once, packs for `git
/// index-pack`. They have `limit` bytes at most, and as many when loose objects are unfolded.
fn receive(stream: &mut impl Read, objects: &Objects, limit: u64) -> io::Result<Vec<TempPath>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let (mut packs, mut left, mut unfolded) = (Vec::new(), limit, limit);
    for _ in 0..MAX_FILES {
        let Some(change) = Change::read(stream)? else { return Ok(packs) };
        let path = String::from_utf8_lossy(&change.path).into_owned();
        left = left
            .checked_sub(change.size)
            .filter(|_| change.mode == FILE)
            .ok_or_else(|| invalid(format!("`{path}` is too much")))?;
        let file = objects.keep(change.size, stream)?;
        let below = path.strip_prefix("objects/").unwrap_or_default();
        if below.starts_with("pack/") {
            if packs.len() == MAX_PACKS {
                return Err(invalid(format!("there are more than {MAX_PACKS} packs")));
            }
            // Closed: as many open files as a guest likes are more than a process may have.
            packs.push(file.into_temp_path());
            continue;
        }
        let name = ObjectId::parse(objects.format(), below.replacen('/', "", 1).as_bytes());
        let name = name.ok_or_else(|| invalid(format!("`{path}` is no file of git's objects")))?;
        let adopted = objects.adopt(&name, file, unfolded);
        unfolded -= adopted.map_err(|error| invalid(format!("`{path}`: {error}")))?;
    }
    Err(invalid(format!("there are more than {MAX_FILES} files")))
}

/// Has the host's git take the commit and all that it needs, and gives it a name that is new.
async fn fetch(git: &Git, scratch: &Scratch, commit: &str, name: &str) -> Result<(), HomeError> {
    let write = async {
        // Where the host's history ends, the guest's does.
        let shallow = git.common_dir().join("shallow");
        match fs_err::tokio::copy(shallow, scratch.path().join("shallow")).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs_err::tokio::write(scratch.path().join(GUEST_BRANCH), format!("{commit}\n")).await
    };
    write.await.map_err(HomeError::Scratch)?;
    let strict = ["transfer.fsckObjects=true", "fetch.fsckObjects=true", "gc.auto=0"];
    let fetch = quiet_git(&git.env, "fetch")
        .without_deadline()
        .memory(GIT_MEMORY)
        .current_dir(&git.top_level)
        .env("GIT_DIR", &git.git_dir)
        .env("GIT_WORK_TREE", &git.top_level)
        .args(strict.iter().flat_map(|setting| ["-c", setting]))
        // A few small objects of a pack may unfold to very large ones: it stays a pack.
        .args(["-c", "fetch.unpackLimit=1", "-c", "pack.threads=1"])
        .args(["-c", "maintenance.auto=false", "fetch", "--quiet", "--no-tags"])
        .args(["--no-write-fetch-head", "--no-recurse-submodules", "--upload-pack=git-upload-pack"])
        .arg("--")
        .arg(scratch.path())
        .arg(GUEST_BRANCH);
    fetch.run().await.map_err(HomeError::Objects)?;
    let none = "0".repeat(commit.len());
    let name_it = git.command("update-ref").args(["-m", "banger: commits of a guest"]);
    let name_it = name_it.args(["--end-of-options", &branch(name), commit, &none]);
    name_it.run().await.map_err(HomeError::Objects)
}

#[cfg(test)]
mod tests {
    use banger_tree::blob::{ObjectFormat, name_blob};
    use banger_tree::changes::LINK;

    use super::*;

    fn refused(stream: &mut impl Read) -> String {
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::new(directory.path().to_owned(), ObjectFormat::Sha1);
        let error = receive(stream, &objects, 1 << 20).unwrap_err();
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 0, "something stayed");
        error.to_string()
    }

    fn said(path: &str, mode: u32, size: u64, contents: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Change { path: path.into(), mode, size }.write(&mut bytes).unwrap();
        [bytes, contents.to_vec()].concat()
    }

    #[test]
    fn stores_that_are_none_are_refused() {
        let name = name_blob(ObjectFormat::Sha1, b"").to_string();
        let loose = format!("objects/{}/{}", &name[..2], &name[2..]);
        for (path, mode, size, why) in [
            ("objects/pack/a.pack", FILE, u64::MAX, "`objects/pack/a.pack` is too much"),
            (&loose, FILE, 1 << 40, &*format!("`{loose}` is too much")),
            (&loose, LINK, 1, &format!("`{loose}` is too much")),
            ("objects/../config", FILE, 1, "`objects/../config` is no file of git's objects"),
            ("../objects/aa/bb", FILE, 1, "`../objects/aa/bb` is no file of git's objects"),
            (
                "objects/info/alternates",
                FILE,
                1,
                "`objects/info/alternates` is no file of git's objects",
            ),
            ("config", FILE, 1, "`config` is no file of git's objects"),
        ] {
            assert_eq!(refused(&mut said(path, mode, size, b"x").as_slice()), why);
        }
        let cut = refused(&mut said("objects/pack/a.pack", FILE, 9, b"x").as_slice());
        assert_eq!(cut, "unexpected end of file");
        let nonsense = refused(&mut said(&loose, FILE, 1, b"x").as_slice());
        assert!(nonsense.starts_with(&format!("`{loose}`: ")), "{nonsense}");
    }

    #[test]
    fn packs_without_end_end() {
        let pack = said("objects/pack/a.pack", FILE, 0, b"");
        let mut packs = io::Cursor::new(pack.repeat(MAX_PACKS + 1));
        assert_eq!(refused(&mut packs), "there are more than 4096 packs");
        let large = said("objects/pack/a.pack", FILE, 1 << 19, &[0; 1 << 19]);
        let mut packs = io::Cursor::new(large.repeat(3));
        assert_eq!(refused(&mut packs), "`objects/pack/a.pack` is too much");
    }
}
