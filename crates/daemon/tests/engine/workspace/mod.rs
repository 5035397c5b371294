//! Workspaces on their way home, with the real agent and real git on both sides.

mod apply;
mod bootstrap;
mod branch;
mod hostile;
mod kinds;
mod modules;
mod patch;
mod prepare;
mod random;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use banger_proto::Problem;
use banger_proto::api::{END_TRAILER, Event, VmView, WorkspaceStatus};
use banger_testkit::{Boot, Events, Hostile, TestDaemon, TestEnv};
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::in_time;

/// A VM `web` with a workspace.
struct Rig {
    env: TestEnv,
    daemon: TestDaemon,
    /// The repository on the host.
    host: PathBuf,
    /// The one in the guest.
    guest: PathBuf,
}

const PREPARE: &str = "/v1/vms/web/workspace/prepare";

/// How a preparation ended.
async fn prepared(events: &mut Events) -> Result<VmView, Problem> {
    let ended = |event: &Event| match event {
        Event::WorkspaceReady { vm } => Some(Ok((**vm).clone())),
        Event::Failed { problem } => Some(Err(problem.clone())),
        _ => None,
    };
    in_time(events.find(ended)).await
}

/// Runs git as a person would, whose settings are in `home`.
fn try_git(top: &Path, args: &[&str]) -> std::process::Output {
    let output = Command::new("git")
        .current_dir(top)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", top.join("no home"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_0", "user.name")
        .env("GIT_CONFIG_VALUE_0", "A U Thor")
        .env("GIT_CONFIG_KEY_1", "user.email")
        .env("GIT_CONFIG_VALUE_1", "a@example.org")
        .args(args)
        .output();
    output.unwrap()
}

fn git(top: &Path, args: &[&str]) -> String {
    let output = try_git(top, args);
    assert!(output.status.success(), "git {args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn write(top: &Path, path: impl AsRef<OsStr>, contents: impl AsRef<[u8]>) {
    let path = top.join(path.as_ref());
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, contents).unwrap();
}

fn set_mode(top: &Path, path: &str, mode: u32) {
    fs_err::set_permissions(top.join(path), PermissionsExt::from_mode(mode)).unwrap();
}

/// Every file of a working tree: git's mode and the contents.
fn tree(top: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs_err::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let below = path.strip_prefix(top).unwrap().to_owned();
            if metadata.is_symlink() {
                let text = fs_err::read_link(&path).unwrap().into_os_string();
                found.insert(below, (0o120_000, text.as_bytes().to_vec()));
            } else if metadata.is_file() {
                let bits = metadata.permissions().mode() & 0o100;
                let mode = if bits == 0 { 0o100_644 } else { 0o100_755 };
                found.insert(below, (mode, fs_err::read(&path).unwrap()));
            } else if metadata.is_dir() && below != Path::new(".git") {
                pending.push(path);
            }
        }
    }
    found
}

/// Contents and modes of all that git keeps, but for objects.
fn git_files(top: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let files = tree(&top.join(".git"));
    files.into_iter().filter(|(path, _)| !path.starts_with("objects")).collect()
}

/// A repository with two commits of a few files, at `top`.
fn repository(top: &Path) {
    fs_err::create_dir_all(top).unwrap();
    git(top, &["init", "-q", "-b", "main"]);
    write(top, "old", "old\n");
    commit(top, "first");
    write(top, "a", "one\ntwo\nthree\nfour\nfive\nsix\nseven\n");
    write(top, "sub/b", "b\n");
    write(top, "run.sh", "#!/bin/sh\n");
    set_mode(top, "run.sh", 0o755);
    symlink("sub/b", top.join("link")).unwrap();
    write(top, ".gitignore", "*.o\n/target/\n");
    commit(top, "second");
}

fn commit(top: &Path, message: &str) {
    git(top, &["add", "-A"]);
    git(top, &["commit", "-q", "--allow-empty", "-m", message]);
}

impl Rig {
    async fn new() -> Self {
        Self::of(repository).await
    }

    /// With the repository that `make` makes at the path it gets.
    async fn of(make: impl FnOnce(&Path)) -> Self {
        let env = TestEnv::new();
        let host = env.dir().join("re po");
        make(&host);
        Self::over(env, host, false).await
    }

    async fn over(env: TestEnv, host: PathBuf, include_untracked: bool) -> Self {
        let root = env.dir().join("guest");
        fs_err::create_dir_all(root.join("root")).unwrap();
        let daemon = TestDaemon::start(&env).await;
        env.world.next_boot(Boot::InDirectory(root.clone()));
        let workspace = json!({ "path": host, "include_untracked": include_untracked });
        let asked = json!({ "name": "web", "workspace": workspace });
        daemon.client.events("/v1/vms", asked).await.ready().await;
        Self { env, daemon, host, guest: root.join("root/repo") }
    }

    /// A guest that lies about one service.
    async fn lying(hostile: Hostile) -> Self {
        let env = TestEnv::new();
        let host = env.dir().join("re po");
        repository(&host);
        let daemon = TestDaemon::start(&env).await;
        // The agent is this process: its own `/root/repo` is not to be touched.
        env.world.next_boot(Boot::Hostile(hostile));
        let asked = json!({ "name": "web" });
        let vm = daemon.client.events("/v1/vms", asked).await.ready().await;
        let record = env.paths.vm_state_dir(&vm.id).join("workspace/current");
        fs_err::create_dir_all(record.join("objects")).unwrap();
        let commit = git(&host, &["rev-parse", "HEAD"]);
        let base = json!({ "path": host, "commit": commit, "branch": "main",
            "object_format": "sha1", "packs": [] });
        fs_err::write(record.join("base.json"), base.to_string()).unwrap();
        fs_err::write(record.join("entries"), "").unwrap();
        let guest = env.dir().join("nowhere");
        Self { env, daemon, host, guest }
    }

    async fn answer(&self, form: &str) -> Result<(Vec<u8>, Option<Event>), Problem> {
        let path = format!("/v1/vms/web/workspace/patch?form={form}");
        let client = &self.daemon.client;
        let answer = client.send(Method::GET, &path, &[("te", "trailers")], "").await;
        let status = answer.status();
        let whole = in_time(answer.into_body().collect()).await.unwrap();
        let trailers = whole.trailers().cloned().unwrap_or_default();
        let body = whole.to_bytes();
        if status != StatusCode::OK {
            return Err(serde_json::from_slice(&body).unwrap());
        }
        let end = trailers.get(END_TRAILER);
        Ok((body.to_vec(), end.map(|end| serde_json::from_slice(end.as_bytes()).unwrap())))
    }

    /// The patch, and what is noted about it.
    async fn patch(&self) -> (Vec<u8>, Vec<String>) {
        let (patch, end) = self.answer("patch").await.unwrap();
        let Some(Event::Exported { exported }) = end else { panic!("{end:?}") };
        assert_eq!(exported.bytes, patch.len() as u64);
        (patch, exported.notes)
    }

    async fn status(&self) -> WorkspaceStatus {
        self.daemon.client.get("/v1/vms/web/workspace").await
    }

    /// Prepares; what came of it.
    async fn prepare(&self, asked: serde_json::Value) -> Result<VmView, Problem> {
        prepared(&mut self.daemon.client.events(PREPARE, asked).await).await
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        verb: &str,
        body: serde_json::Value,
    ) -> Result<T, Problem> {
        let path = format!("/v1/vms/web/workspace/{verb}");
        let answer = self.daemon.client.call(Method::POST, &path, body).await;
        if answer.status == StatusCode::OK { Ok(answer.ok()) } else { Err(answer.problem()) }
    }

    /// Exports, applies the patch to a fresh clone at `base`, and compares that with the guest.
    /// Neither side changes.
    async fn round_trip(&self, base: &str) -> Vec<u8> {
        let before = (tree(&self.host), git_files(&self.host), tree(&self.guest));
        let guest_git = tree(&self.guest.join(".git"));
        let (patch, _) = self.patch().await;
        assert_eq!((tree(&self.host), git_files(&self.host), tree(&self.guest)), before);
        assert_eq!(tree(&self.guest.join(".git")), guest_git);

        let clone = tempfile::tempdir().unwrap();
        let top = clone.path().join("clone");
        git(clone.path(), &["clone", "-q", "--no-checkout", self.host.to_str().unwrap(), "clone"]);
        git(&top, &["checkout", "-q", "--detach", base]);
        fs_err::write(clone.path().join("patch"), &patch).unwrap();
        if !patch.is_empty() {
            git(&top, &["apply", "--index", "--whitespace=nowarn", "../patch"]);
        }
        assert_eq!(tree(&top), tree(&self.guest), "{}", String::from_utf8_lossy(&patch));
        patch
    }
}
