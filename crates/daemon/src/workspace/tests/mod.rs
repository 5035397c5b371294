//! Real repositories on their way through a real archive into a directory that stands for the
//! guest, where real git is asked what it sees.

mod cases;
mod modes;
mod random;
mod refusals;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use banger_proto::api::{GuestBranch, WorkspaceMode};

use super::{Options, Source, WorkspaceError};
use crate::exec::{HostEnv, Program};

const TRACKED: Options =
    Options { include_untracked: false, mode: WorkspaceMode::Shallow, branch: None };
const UNTRACKED: Options = Options { include_untracked: true, ..TRACKED };

/// A host with a home of its own and one repository.
struct Host {
    directory: tempfile::TempDir,
    env: HostEnv,
    top: PathBuf,
}

/// What came out in the guest.
struct Guest {
    _directory: tempfile::TempDir,
    env: HostEnv,
    top: PathBuf,
}

fn environment(home: &Path) -> HostEnv {
    let path = std::env::var_os("PATH");
    let home = home.as_os_str().to_owned();
    HostEnv::from_env(|name| match name {
        "PATH" => path.clone(),
        "HOME" => Some(home.clone()),
        _ => None,
    })
    .with("GIT_CONFIG_NOSYSTEM", "1")
}

async fn git_in(env: &HostEnv, top: &Path, args: &[&(impl AsRef<OsStr> + ?Sized)]) -> Vec<u8> {
    let program = Program::new(env, "git").env("GIT_OPTIONAL_LOCKS", "0").current_dir(top);
    program.args(args.iter().map(|arg| arg.as_ref())).output(1 << 24).await.unwrap()
}

impl Host {
    /// A repository without commits.
    async fn empty() -> Self {
        Self::init(&["init", "-q", "-b", "main"]).await
    }

    async fn init(init: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home");
        let top = directory.path().join("re po");
        fs_err::create_dir(&home).unwrap();
        fs_err::create_dir(&top).unwrap();
        fs_err::write(home.join(".gitconfig"), "[user]\nname = A U Thor\nemail = a@example.org\n")
            .unwrap();
        let host = Self { env: environment(&home), directory, top };
        host.git(init).await;
        host
    }

    /// A repository with two commits of a few files.
    async fn with_history() -> Self {
        let host = Self::empty().await;
        host.write("old", "old\n");
        host.commit().await;
        host.write("a", "one\ntwo\nthree\nfour\nfive\n");
        host.write("sub/b", "b\n");
        host.write("run.sh", "#!/bin/sh\n");
        host.set_mode("run.sh", 0o755);
        std::os::unix::fs::symlink("sub/b", host.top.join("link")).unwrap();
        host.commit().await;
        host
    }

    async fn git(&self, args: &[&str]) -> Vec<u8> {
        git_in(&self.env, &self.top, args).await
    }

    async fn commit(&self) {
        self.git(&["add", "-A"]).await;
        self.git(&["commit", "-q", "-m", "commit"]).await;
    }

    fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.top.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }

    fn remove(&self, path: &str) {
        fs_err::remove_file(self.top.join(path)).unwrap();
    }

    fn set_mode(&self, path: &str, mode: u32) {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs_err::set_permissions(self.top.join(path), mode).unwrap();
    }

    async fn inspect(&self) -> Result<Source, WorkspaceError> {
        Source::inspect(&self.env, &self.top, TRACKED).await
    }

    /// Sends the repository and checks everything that holds for each of them.
    async fn send(&self, options: Options) -> Guest {
        self.send_from(&self.top, options).await
    }

    async fn send_from(&self, path: &Path, options: Options) -> Guest {
        let source = Source::inspect(&self.env, path, options).await.unwrap();
        let files = source.files().await.unwrap();
        let guest = self.unpack(&source).await;

        let planned: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
        assert_eq!(sorted(planned), guest.working_tree(), "the dry run's list is not exact");
        for file in &files {
            let metadata = fs_err::symlink_metadata(guest.top.join(&file.path)).unwrap();
            assert_eq!(metadata.len(), file.size, "{}", file.path.display());
        }
        self.compare(&guest).await;
        guest
    }

    /// Sends what `source` says; nothing on the host may change.
    async fn unpack(&self, source: &Source) -> Guest {
        let before = self.fingerprint();
        let temp = self.directory.path().join("temp");
        fs_err::create_dir_all(&temp).unwrap();
        let archive = source.archive(&temp).await.unwrap();
        assert_eq!(archive.workspace(), source.workspace());
        let mut chunks = archive.stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await.unwrap() {
            bytes.extend(chunk);
        }
        assert!(chunks.next().await.unwrap().is_none());
        let (done, total) = chunks.progress();
        assert_eq!(done, total);
        assert_eq!(fs_err::read_dir(&temp).unwrap().count(), 0, "something was left behind");
        let after = self.fingerprint();
        let changed: Vec<_> = before
            .keys()
            .chain(after.keys())
            .filter(|path| before.get(*path) != after.get(*path))
            .collect();
        assert!(changed.is_empty(), "changed on the host: {changed:?}");

        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("repo");
        let mut tar = tar::Archive::new(zstd::Decoder::new(bytes.as_slice()).unwrap());
        tar.set_preserve_permissions(true);
        tar.unpack(&top).unwrap();
        Guest { env: environment(directory.path()), _directory: directory, top }
    }

    /// What git says has to be the same on both sides.
    async fn compare(&self, guest: &Guest) {
        let top = PathBuf::from(OsStr::from_bytes(
            self.git(&["rev-parse", "--show-toplevel"]).await.trim_ascii_end(),
        ));
        let commands: &[&[&str]] = &[
            &["status", "--porcelain=v2", "-z", "--untracked-files=no"],
            &["status", "--porcelain", "--untracked-files=no"],
            &["ls-files", "-z", "-v", "--stage"],
            &["diff", "--binary"],
            &["diff", "--binary", "--cached"],
            &["log", "-1", "--format=%H %an %ae %s"],
            &["var", "GIT_AUTHOR_IDENT"],
        ];
        let born = self.inspect().await.is_ok_and(|source| source.head().commit.is_some());
        for command in commands.iter().filter(|command| born || command[0] != "log") {
            let mut here = git_in(&self.env, &top, command).await;
            let mut there = guest.git(command).await;
            if command[0] == "var" {
                // The end is the time of the question.
                here.truncate(here.iter().position(|byte| *byte == b'>').unwrap());
                there.truncate(here.len());
            }
            assert_eq!(
                String::from_utf8_lossy(&there),
                String::from_utf8_lossy(&here),
                "git {command:?}"
            );
        }
        guest.git(&["fsck", "--full", "--strict"]).await;
    }

    /// Contents and times of everything on the host. The times of objects and of a shared index
    /// do not count: git renews them whenever it meets them, so that they outlive a clean-up.
    fn fingerprint(&self) -> BTreeMap<PathBuf, (Option<SystemTime>, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut pending = vec![self.directory.path().to_owned()];
        while let Some(path) = pending.pop() {
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            if metadata.is_dir() && !path.ends_with("temp") {
                pending.extend(fs_err::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if metadata.is_file() {
                let content = fs_err::read(&path).unwrap();
                let text = path.to_string_lossy();
                let renewed = text.contains("/.git/objects/") || text.contains("/sharedindex.");
                let modified = (!renewed).then(|| metadata.modified().unwrap());
                found.insert(path, (modified, content));
            }
        }
        found
    }
}

impl Guest {
    async fn git(&self, args: &[&str]) -> Vec<u8> {
        git_in(&self.env, &self.top, args).await
    }

    fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.top.join(path)).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        fs_err::symlink_metadata(self.top.join(path)).is_ok()
    }

    /// All files outside `.git`, sorted.
    fn working_tree(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![self.top.clone()];
        while let Some(directory) = pending.pop() {
            for entry in fs_err::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if !entry.file_type().unwrap().is_dir() {
                    found.push(entry.path().strip_prefix(&self.top).unwrap().to_owned());
                } else if entry.file_name() != ".git" {
                    pending.push(entry.path());
                }
            }
        }
        sorted(found)
    }
}

fn sorted(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths
}

fn name(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}
