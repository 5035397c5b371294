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
use tempfile::NamedTempFile;

use super::HomeError;
use super::guest::{Gone, GuestTree, follow};
use super::objects::Objects;
use super::scratch::Scratch;
use crate::guest::GuestClient;
use crate::workspace::GUEST_PATH;
use crate::workspace::git::{Git, quiet_git};

/// Most files of an object store that are taken.
const MAX_FILES: usize = 8 << 20;
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
            let (file, path) = pack.into_parts();
            let index = self.scratch.command("index-pack").without_deadline();
            let index = index.args(["--stdin", "--fsck-objects"]);
            let index = index.stdin_stream(tokio::fs::File::from_std(file));
            index.run().await.map_err(HomeError::Objects)?;
            drop(path);
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
/// index-pack`.
fn receive(
    stream: &mut impl Read,
    objects: &Objects,
    limit: u64,
) -> io::Result<Vec<NamedTempFile>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let (mut packs, mut left) = (Vec::new(), limit);
    for _ in 0..MAX_FILES {
        let Some(change) = Change::read(stream)? else { return Ok(packs) };
        let path = String::from_utf8_lossy(&change.path).into_owned();
        left = left
            .checked_sub(change.size)
            .filter(|_| change.mode == FILE)
            .ok_or_else(|| invalid(format!("`{path}` is too much")))?;
        let mut file = NamedTempFile::new_in(objects.directory())?;
        if io::copy(&mut stream.take(change.size), &mut file)? < change.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let below = path.strip_prefix("objects/").unwrap_or_default();
        if below.starts_with("pack/") {
            io::Seek::rewind(&mut file)?;
            packs.push(file);
            continue;
        }
        let name = ObjectId::parse(objects.format(), below.replacen('/', "", 1).as_bytes());
        let name = name.ok_or_else(|| invalid(format!("`{path}` is no file of git's objects")))?;
        objects.adopt(&name, file).map_err(|error| invalid(format!("`{path}`: {error}")))?;
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
        .current_dir(&git.top_level)
        .env("GIT_DIR", &git.git_dir)
        .env("GIT_WORK_TREE", &git.top_level)
        .args(strict.iter().flat_map(|setting| ["-c", setting]))
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
