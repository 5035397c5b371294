//! What kind of repository a path is in, and what of it would travel.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use banger_proto::api::{GuestBranch, VmWorkspace, WorkspaceMode, WorkspaceSource};
use banger_tree::{Tree, file_type};
use rustix::fs::FileType;

use super::error::WorkspaceError;
use super::git::Git;
use super::index::{self, Tracked};
use super::modules::{self, Module};
use super::{GUEST_PATH, start, tools};
use crate::exec::HostEnv;

/// A repository that can be brought into a guest.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) git: Git,
    pub(super) head: Head,
    pub(super) options: Options,
    /// Submodules that travel, the outer ones first.
    pub(super) modules: Vec<Module>,
    /// The host's own head, where the guest gets another one.
    host_head: Option<String>,
    untracked: Option<usize>,
    tools: Option<&'static str>,
}

/// What is checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The commit, in hexadecimal; absent for a repository without commits.
    pub commit: Option<String>,
    /// Full name of the branch (`refs/heads/main`) as bytes; absent when none is checked out.
    pub reference: Option<Vec<u8>>,
}

/// What to bring.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Files that git neither tracks nor ignores, too.
    pub include_untracked: bool,
    /// How much of it.
    pub mode: WorkspaceMode,
    /// The branch to make in the guest; none for the host's.
    pub branch: Option<GuestBranch>,
}

impl From<&WorkspaceSource> for Options {
    fn from(source: &WorkspaceSource) -> Self {
        let WorkspaceSource { path: _, include_untracked, mode, branch } = source.clone();
        Self { include_untracked, mode, branch }
    }
}

impl Options {
    /// The commit whose files travel, as it was asked for; none for those on the host's disk.
    pub(super) fn from(&self) -> Option<&str> {
        self.branch.as_ref()?.from.as_deref()
    }

    /// Refuses what cannot be taken along: submodules travel as they are on the host's disk, each
    /// with all of its history, or not at all.
    pub(super) fn check(&self, git: &Git, tracked: &Tracked) -> Result<(), WorkspaceError> {
        let taken = self.mode == WorkspaceMode::Full && self.from().is_none();
        match tracked.submodules.first() {
            Some(first) if !taken => Err(WorkspaceError::Submodules {
                path: git.top_level.clone(),
                first: String::from_utf8_lossy(first).into_owned(),
                count: tracked.submodules.len(),
            }),
            _ => Ok(()),
        }
    }
}

/// A file of the working tree that travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceFile {
    /// Path from the top of the repository; any bytes but NUL.
    pub path: PathBuf,
    /// Mode as git writes it: 100644, 100755 or 120000 (octal).
    pub mode: u32,
    /// Bytes of contents, or of a link's text.
    pub size: u64,
}

impl Source {
    /// Looks at the repository that `path` is in, which may be its top level or a directory below.
    /// Nothing on the host changes.
    ///
    /// # Errors
    /// When there is none that can travel so: no directory, no repository, a bare one, one that git
    /// refuses, one with submodules that are not asked for, one without the commit that is; or when
    /// git cannot be asked.
    pub async fn inspect(
        env: &HostEnv,
        path: &Path,
        options: Options,
    ) -> Result<Self, WorkspaceError> {
        let metadata = fs_err::tokio::metadata(path)
            .await
            .and_then(|metadata| std::path::absolute(path).map(|path| (metadata, path)));
        let (metadata, path) = metadata.map_err(|source| {
            // The path is in the error's own text.
            let source = source.kind().into();
            WorkspaceError::Path { path: path.to_owned(), source }
        })?;
        if !metadata.is_dir() {
            return Err(WorkspaceError::NotDirectory(path));
        }
        let git = Git::discover(env, &path).await?;
        let (head, tracked, untracked) = tokio::join!(
            start::load(&git, &options),
            index::load_tracked(&git, None),
            index::load_untracked(&git),
        );
        let (start, tracked) = (head?, tracked?);
        options.check(&git, &tracked)?;
        let modules = modules::discover(&git, &tracked).await?;
        if let Err(error) = &untracked {
            // The count is for a notice only.
            tracing::warn!(%error, "cannot count untracked files");
        }
        let untracked = untracked.ok();
        let start::Start { head, host_head } = start;
        let along = untracked.iter().flatten().filter(|_| options.include_untracked);
        let paths = tracked.files.iter().chain(along);
        let tools = tools::find(&git, &head, &options, paths).await?;
        let untracked = untracked.map(|files| files.len());
        Ok(Self { git, head, options, modules, host_head, untracked, tools })
    }

    /// Top of the repository's working tree.
    #[must_use]
    pub fn top_level(&self) -> &Path {
        &self.git.top_level
    }

    /// What was checked out when it was looked at.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Number of files that are neither tracked nor ignored, in all of the repository; absent
    /// when it could not be found out.
    #[must_use]
    pub fn untracked(&self) -> Option<usize> {
        self.untracked
    }

    /// The file at its top that names tools for mise, if one travels.
    #[must_use]
    pub fn tools(&self) -> Option<&'static str> {
        self.tools
    }

    /// What to tell a user whose untracked files stay on the host, if there are any.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let left_out = !self.options.include_untracked;
        let count = self.untracked.filter(|count| *count > 0 && left_out)?;
        let (files, stay) = if count == 1 { ("file", "stays") } else { ("files", "stay") };
        Some(format!(
            "{count} untracked {files} {stay} on the host; `--include-untracked` brings {} in",
            if count == 1 { "it" } else { "them" }
        ))
    }

    /// The workspace as a VM's view shows it.
    #[must_use]
    pub fn workspace(&self) -> VmWorkspace {
        VmWorkspace {
            tools: self.tools.map(str::to_owned),
            ..describe(&self.git, &self.head, self.host_head.clone(), &self.options)
        }
    }

    /// Exactly the files that would travel now, in git's order, the untracked ones last. A
    /// tracked file that is deleted on disk is not among them.
    ///
    /// # Errors
    /// When git or the working tree cannot be read.
    pub async fn files(&self) -> Result<Vec<WorkspaceFile>, WorkspaceError> {
        if self.options.from().is_some() {
            return start::files(&self.git, &self.head, &[]).await;
        }
        let own = Module { path: Vec::new(), git: self.git.clone() };
        let mut files = Vec::new();
        for Module { path, git } in [own].iter().chain(&self.modules) {
            let (tracked, untracked) = load_paths(git, None, &self.options).await?;
            let paths = tracked.files.into_iter().chain(untracked).collect();
            let (top, below) = (git.top_level.clone(), PathBuf::from(OsStr::from_bytes(path)));
            let observe = tokio::task::spawn_blocking(move || observe_files(&top, &below, paths));
            let found = observe.await;
            files.extend(found.map_err(|_| WorkspaceError::Interrupted(git.top_level.clone()))??);
        }
        Ok(files)
    }
}

impl Head {
    pub(super) async fn load(git: &Git) -> Result<Self, WorkspaceError> {
        let (reference, commit) = tokio::join!(
            git.line("symbolic-ref", &["--quiet", "HEAD"]),
            git.line("rev-parse", &["--quiet", "--verify", "HEAD"]),
        );
        let commit = match commit? {
            None => None,
            Some(id) => Some(String::from_utf8(id).map_err(|_| git.nonsense("rev-parse"))?),
        };
        let head = Self { commit, reference: reference? };
        if head.commit.is_none() && head.reference.is_none() {
            return Err(git.nonsense("rev-parse"));
        }
        Ok(head)
    }

    /// Short name of the branch, for people.
    #[must_use]
    pub fn branch(&self) -> Option<String> {
        let name = self.reference.as_deref()?;
        let short = name.strip_prefix(b"refs/heads/").unwrap_or(name);
        Some(String::from_utf8_lossy(short).into_owned())
    }
}

pub(super) fn describe(
    git: &Git,
    head: &Head,
    host_head: Option<String>,
    options: &Options,
) -> VmWorkspace {
    VmWorkspace {
        host_path: git.top_level.display().to_string(),
        guest_path: GUEST_PATH.to_owned(),
        head: head.commit.clone(),
        branch: head.branch(),
        host_head,
        mode: options.mode,
        guest_branch: options.branch.clone(),
        include_untracked: options.include_untracked,
        tools: None,
        prepared_at: None,
    }
}

/// Paths that may travel: those of the index, and the untracked ones if asked for. Whether there
/// is a file at each, only a look at the working tree tells.
pub(super) async fn load_paths(
    git: &Git,
    index_file: Option<&Path>,
    options: &Options,
) -> Result<(Tracked, Vec<Vec<u8>>), WorkspaceError> {
    let untracked = async {
        if options.include_untracked { index::load_untracked(git).await } else { Ok(Vec::new()) }
    };
    tokio::try_join!(index::load_tracked(git, index_file), untracked)
}

/// The files at `paths` under `top`, which is at `below` in the guest's tree.
fn observe_files(
    top: &Path,
    below: &Path,
    paths: Vec<Vec<u8>>,
) -> Result<Vec<WorkspaceFile>, WorkspaceError> {
    let read_error = |path: PathBuf| move |source| WorkspaceError::Read { path, source };
    let mut tree = Tree::open(top).map_err(read_error(top.to_owned()))?;
    let mut files = Vec::new();
    for bytes in paths {
        let observed = tree.observe(&bytes);
        let path = PathBuf::from(OsString::from_vec(bytes));
        if let Some(stat) = observed.map_err(read_error(top.join(&path)))? {
            let mode = match file_type(&stat) {
                FileType::Symlink => 0o120_000,
                _ if stat.st_mode & 0o100 != 0 => 0o100_755,
                _ => 0o100_644,
            };
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            files.push(WorkspaceFile { path: below.join(path), mode, size });
        }
    }
    Ok(files)
}
