//! The guest's `.git`, built in a temporary directory on the host.
//!
//! It is a repository of its own from the start: the host's objects are read through an
//! alternate that is named to one command only, and nothing is ever written to the host's
//! repository, not even a temporary file.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use banger_proto::api::WorkspaceMode;
use fs_err::tokio as fs;
use tempfile::TempDir;

use super::error::WorkspaceError;
use super::git::{Git, quiet_git};
use super::index::{Tracked, load_is_filtered, load_tracked};
use super::references::History;
use super::settings::{SUBMODULES, Settings, TRUST_TIMES, render_guest_config};
use super::source::{Head, Options, load_paths};
use super::start::{self, Start};

/// Largest file of rules that is copied, in bytes.
const RULES_LIMIT: u64 = 1 << 20;

/// A finished `.git`.
#[derive(Debug)]
pub(super) struct Metadata {
    /// Its contents; removed when dropped.
    pub(super) directory: TempDir,
    /// The files that go with it, where those are not the host's; removed when dropped.
    pub(super) tree: Option<TempDir>,
    /// What its `HEAD` says, and the host's.
    pub(super) start: Start,
    /// Paths that its index has and untracked ones, as asked for.
    pub(super) paths: Vec<Vec<u8>>,
    /// Paths of submodules.
    pub(super) submodules: Vec<Vec<u8>>,
}

/// Builds the guest's `.git` in a new directory under `temp`.
pub(super) async fn build(
    git: &Git,
    options: &Options,
    temp: &Path,
) -> Result<Metadata, WorkspaceError> {
    let prepare = |source| WorkspaceError::Prepare { path: git.top_level.clone(), source };
    let make_directory =
        || tempfile::Builder::new().prefix("workspace-").tempdir_in(temp).map_err(prepare);
    let directory = make_directory()?;
    let build = Build { git, at: directory.path() };
    // The head is read again: between a look at the repository and the guest being up there may
    // be minutes, and head, index and files should be of one time.
    let (start, settings, index) = tokio::join!(
        start::load(git, options),
        Settings::load(git),
        build.copy_index(options.from().is_some()),
    );
    let (start, settings, index) = (start?, settings?, index?);
    let head = &start.head;
    let history = match options.mode {
        WorkspaceMode::Shallow => History::shallow(head),
        WorkspaceMode::Full => History::load_full(git, head).await?,
    };
    build.write_small_files(head, &history, &settings).await.map_err(prepare)?;
    let packing = build.pack_objects(head, &history, &settings);
    let (tree, tracked, untracked) =
        match head.commit.as_deref().filter(|_| options.from().is_some()) {
            Some(commit) => {
                packing.await?;
                let tree = make_directory()?;
                start::check_out(git, directory.path(), tree.path(), commit).await?;
                let tracked = load_tracked(git, Some(&index)).await?;
                (Some(tree), tracked, Vec::new())
            }
            None => {
                let paths = async {
                    let (tracked, untracked) = load_paths(git, Some(&index), options).await?;
                    let all: Vec<_> = tracked.files.iter().chain(&untracked).cloned().collect();
                    if settings.has_filters() && load_is_filtered(git, &all).await? {
                        build.add_to_config(TRUST_TIMES).await.map_err(prepare)?;
                    }
                    Ok((tracked, untracked))
                };
                let ((tracked, untracked), ()) = tokio::try_join!(paths, packing)?;
                (None, tracked, untracked)
            }
        };
    options.check(git, &tracked)?;
    let Tracked { files: mut paths, submodules } = tracked;
    if !submodules.is_empty() {
        build.add_to_config(SUBMODULES).await.map_err(prepare)?;
    }
    paths.extend(untracked);
    Ok(Metadata { directory, tree, start, paths, submodules })
}

struct Build<'a> {
    git: &'a Git,
    /// The new `.git`.
    at: &'a Path,
}

impl Build<'_> {
    /// Copies the host's index and has git rewrite the copy: whole where it was split, spread out
    /// where it was sparse, without caches of the host's file system, in a format that old
    /// versions of git read. Staged contents, conflicts and flags stay exactly as they are.
    ///
    /// Git replaces its index by renaming, so a copy is always of one state. With `later`, git makes
    /// one when it checks out.
    async fn copy_index(&self, later: bool) -> Result<PathBuf, WorkspaceError> {
        let copy = self.at.join("index");
        let objects = self.at.join("objects");
        let source = self.git.git_dir.join("index");
        let prepare = |source| WorkspaceError::Prepare { path: self.git.top_level.clone(), source };
        let copied = copy.clone();
        let copying = tokio::task::spawn_blocking(move || {
            fs_err::create_dir_all(objects)?;
            if later {
                return Ok(());
            }
            copy_with_time(&source, &copied)
        });
        match copying.await.map_err(io::Error::other).flatten() {
            // No index yet: a new repository in which nothing was added.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(copy),
            result => result.map_err(prepare)?,
        }
        if later {
            return Ok(copy);
        }
        let plain = [
            "core.splitIndex=false",
            "core.untrackedCache=false",
            "index.sparse=false",
            "index.skipHash=false",
        ];
        let rewrite = quiet_git(&self.git.env, "update-index")
            .current_dir(&self.git.top_level)
            .env("GIT_DIR", &self.git.git_dir)
            .env("GIT_WORK_TREE", &self.git.top_level)
            .env("GIT_INDEX_FILE", &copy)
            // Spreading a sparse index out makes git write trees.
            .env("GIT_OBJECT_DIRECTORY", self.at.join("objects"))
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quote_alternate(&self.git.objects))
            .args(plain.iter().flat_map(|setting| ["-c", setting]))
            .args(["update-index", "--force-write-index", "--index-version", "2"]);
        rewrite.run().await.map_err(|source| self.git.failure(source))?;
        Ok(copy)
    }

    async fn write_small_files(
        &self,
        head: &Head,
        history: &History,
        settings: &Settings,
    ) -> io::Result<()> {
        for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info"] {
            fs::create_dir_all(self.at.join(directory)).await?;
        }
        let commit = head.commit.as_deref().unwrap_or_default();
        let content = match &head.reference {
            Some(reference) => [b"ref: ", reference.as_slice(), b"\n"].concat(),
            None => format!("{commit}\n").into_bytes(),
        };
        fs::write(self.at.join("HEAD"), content).await?;
        if !history.references.is_empty() {
            fs::write(self.at.join("packed-refs"), history.render_packed()).await?;
        }
        if !history.edge.is_empty() {
            let edge: String = history.edge.iter().map(|commit| format!("{commit}\n")).collect();
            fs::write(self.at.join("shallow"), edge).await?;
        }
        let config = render_guest_config(settings, &self.git.object_format);
        fs::write(self.at.join("config"), config).await?;
        self.write_rules(settings).await
    }

    async fn add_to_config(&self, section: &[u8]) -> io::Result<()> {
        let path = self.at.join("config");
        let config = [fs::read(&path).await?.as_slice(), section].concat();
        let new = self.at.join("config.lock");
        fs::write(&new, config).await?;
        fs::rename(new, path).await
    }

    /// Copies the rules that are kept outside the working tree. The user's own ignore rules come
    /// first, as those of the repository win over them.
    async fn write_rules(&self, settings: &Settings) -> io::Result<()> {
        let shared = self.git.common_dir();
        let mut ignored = match self.user_ignore_file(settings) {
            Some(file) => read_rules(&file).await,
            None => Vec::new(),
        };
        if !ignored.is_empty() && !ignored.ends_with(b"\n") {
            ignored.push(b'\n');
        }
        ignored.extend(read_rules(&shared.join("info/exclude")).await);
        let attributes = read_rules(&shared.join("info/attributes")).await;
        let sparse = read_rules(&self.git.git_dir.join("info/sparse-checkout")).await;
        for (name, content) in
            [("exclude", ignored), ("attributes", attributes), ("sparse-checkout", sparse)]
        {
            if !content.is_empty() {
                fs::write(self.at.join("info").join(name), content).await?;
            }
        }
        Ok(())
    }

    /// Where `core.excludesFile` points to, or git's default for it (gitignore(5)).
    fn user_ignore_file(&self, settings: &Settings) -> Option<PathBuf> {
        match settings.get("core.excludesfile") {
            None => Some(self.git.env.config_home()?.join("git/ignore")),
            Some(b"") => None,
            Some(value) => match value.strip_prefix(b"~/") {
                Some(below) => Some(self.git.env.home()?.join(OsStr::from_bytes(below))),
                None => Some(self.git.top_level.join(OsStr::from_bytes(value))),
            },
        }
    }

    /// Writes one pack with the history, all below it and all that is staged.
    async fn pack_objects(
        &self,
        head: &Head,
        history: &History,
        settings: &Settings,
    ) -> Result<(), WorkspaceError> {
        let revisions = history.render_revisions(head);
        // The new repository's settings alone count here, so that the pack is the same whatever
        // the user has set up for packs.
        let pack = quiet_git(&self.git.env, "pack-objects")
            .current_dir(self.at)
            .env("GIT_DIR", self.at)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quote_alternate(&self.git.objects))
            // Speed matters more than size for something that crosses one memory bus; what the
            // host has packed already is taken as it is.
            .args(["-c", "pack.compression=1", "-c", "pack.writeReverseIndex=false"])
            .args(["pack-objects", "--revs", "--shallow", "--indexed-objects", "--non-empty"])
            .args(["--missing=allow-promisor", "--delta-base-offset", "--window=0", "-q"])
            .arg(self.at.join("objects/pack/pack"))
            .stdin_bytes(revisions.into_bytes())
            .without_deadline();
        let names = pack.output(1 << 10).await.map_err(|source| self.git.failure(source))?;
        if settings.is_partial_clone() {
            let prepare =
                |source| WorkspaceError::Prepare { path: self.git.top_level.clone(), source };
            for name in str::from_utf8(&names).unwrap_or_default().lines() {
                let marker = format!("objects/pack/pack-{name}.promisor");
                fs::write(self.at.join(marker), b"").await.map_err(prepare)?;
            }
        }
        Ok(())
    }
}

/// Copies a file with its modification time, by which git tells which entries it must not trust.
fn copy_with_time(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = fs_err::File::open(from)?;
    let modified = source.metadata()?.modified()?;
    let mut copy = fs_err::File::create(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.file().set_modified(modified)
}

/// The rules in a file; none when it cannot be read, as git does.
async fn read_rules(file: &Path) -> Vec<u8> {
    match fs::metadata(file).await {
        Ok(metadata) if metadata.is_file() && metadata.len() <= RULES_LIMIT => {
            fs::read(file).await.unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// A path in the list of alternates, quoted where it has to be (git(1),
/// `GIT_ALTERNATE_OBJECT_DIRECTORIES`).
pub(super) fn quote_alternate(path: &Path) -> std::ffi::OsString {
    let bytes = path.as_os_str().as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b':' | b'"' | b'\\' | 0..b' ')) {
        return path.as_os_str().to_owned();
    }
    let mut quoted = vec![b'"'];
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => quoted.extend_from_slice(&[b'\\', byte]),
            0..b' ' => quoted.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            _ => quoted.push(byte),
        }
    }
    quoted.push(b'"');
    OsStr::from_bytes(&quoted).to_owned()
}
