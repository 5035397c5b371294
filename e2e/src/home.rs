//! One user's home, and running `banger` in it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{leftovers, shared};

/// A home with everything banger keeps in it. Dropping it stops its daemon and ends the VMs
/// that a failed test left.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
    /// Whether images, kernels and caches are its own.
    apart: bool,
}

/// A finished run of a program.
#[derive(Debug)]
pub struct Ran {
    what: String,
    status: ExitStatus,
    /// Its standard output, lossily decoded.
    pub stdout: String,
    /// Its standard error, lossily decoded.
    pub stderr: String,
}

/// The setting without which templates of VMs are made.
const WARM_STARTS: &str = "warm_starts";

impl Home {
    /// A fresh home in which the default image and kernel are at hand.
    #[must_use]
    pub fn new() -> Self {
        shared::ensure_image_and_kernel();
        Self::empty()
    }

    /// A fresh home; nothing is fetched or built for it.
    ///
    /// # Panics
    /// When the directories cannot be made.
    #[must_use]
    pub fn empty() -> Self {
        // Short: socket paths are limited to 107 bytes.
        let dir = tempfile::Builder::new().prefix("be-").tempdir().expect("temporary directory");
        let home = Self { dir, apart: false };
        for name in ["run", "state", "config", "home", "data", "cache"] {
            let path = home.path().join(name);
            fs::create_dir(&path).expect("directory of the home");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("its mode");
        }
        home.configure("");
        home
    }

    /// A fresh home with images, kernels and caches of its own, of which there are none yet.
    #[must_use]
    pub fn apart() -> Self {
        let mut home = Self::empty();
        home.apart = true;
        home
    }

    /// Takes a copy of the default kernel into a home [apart](Self::apart).
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    pub fn with_kernel(self) -> Self {
        shared::ensure_kernel();
        let to = self.data_dir();
        fs::create_dir_all(&to).expect("data directory");
        let from = shared::data_dir().join("banger/kernels");
        let copied = Command::new("cp").arg("-a").args([&from, &to]).status().expect("cp");
        assert!(copied.success(), "cannot copy {}", from.display());
        self
    }

    /// The directory that holds everything.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// banger's state directory.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.path().join("state/banger")
    }

    /// banger's runtime directory.
    #[must_use]
    pub fn runtime_dir(&self) -> PathBuf {
        self.path().join("run/banger")
    }

    /// banger's data directory: images and kernels.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.xdg_dirs().0.join("banger")
    }

    /// banger's cache directory.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.xdg_dirs().1.join("banger")
    }

    /// `XDG_DATA_HOME` and `XDG_CACHE_HOME`.
    fn xdg_dirs(&self) -> (PathBuf, PathBuf) {
        if self.apart {
            (self.path().join("data"), self.path().join("cache"))
        } else {
            (shared::data_dir(), shared::cache_dir())
        }
    }

    /// Writes the configuration file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, toml: &str) {
        let dir = self.path().join("config/banger");
        fs::create_dir_all(&dir).expect("configuration directory");
        // Tests that want templates say so: making one is a boot more, beside all others.
        let cold = if toml.contains(WARM_STARTS) { "" } else { "warm_starts = false\n" };
        let everywhere = std::env::var(shared::CONFIG).unwrap_or_default();
        fs::write(dir.join("config.toml"), format!("{cold}{everywhere}{toml}"))
            .expect("configuration file");
    }

    /// `program` with this home's environment and nothing else from the test's.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        // Signals as they are at a terminal: whoever runs the tests may have some ignored, which
        // programs inherit.
        let mut command = Command::new("/usr/bin/env");
        let (data, cache) = self.xdg_dirs();
        command
            .arg("--default-signal")
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path().join("home"))
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .env("XDG_CONFIG_HOME", self.path().join("config"))
            .env("XDG_DATA_HOME", data)
            .env("XDG_CACHE_HOME", cache)
            .current_dir(self.path());
        command
    }

    /// `banger` with `args`, not yet started.
    #[must_use]
    pub fn banger_command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = self.command(shared::banger());
        command.args(args);
        command
    }

    /// Runs `banger` with `args` and an empty standard input.
    #[must_use]
    pub fn banger<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Ran {
        Ran::of(self.banger_command(args), b"")
    }

    /// Runs `banger` with `args` and `input` on standard input.
    #[must_use]
    pub fn banger_with_input<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        args: I,
        input: &[u8],
    ) -> Ran {
        Ran::of(self.banger_command(args), input)
    }

    /// Starts `banger` with `args` and lets it run.
    #[must_use]
    pub fn spawn_banger<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Child {
        self.spawn_banger_with(args, &[])
    }

    /// The same with more in its environment.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn_banger_with<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        args: I,
        env: &[(&str, &Path)],
    ) -> Child {
        self.banger_command(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("banger starts")
    }

    /// Makes a VM with `args` and returns its name.
    #[must_use]
    pub fn create(&self, name: &str, args: &[&str]) -> String {
        self.banger([&["vm", "create", "--name", name], args].concat()).expect_code(0);
        name.to_owned()
    }

    /// Runs a command in a VM.
    #[must_use]
    pub fn exec(&self, vm: &str, argv: &[&str]) -> Ran {
        self.banger([&["vm", "exec", vm, "--"], argv].concat())
    }

    /// What `banger vm show --json` says.
    #[must_use]
    pub fn show(&self, vm: &str) -> Value {
        self.banger(["vm", "show", "--json", vm]).expect_code(0).json()
    }

    /// What `banger vm list --json` says: the VMs.
    #[must_use]
    pub fn list(&self) -> Vec<Value> {
        let list = self.banger(["vm", "list", "--json"]).expect_code(0).json();
        list["vms"].as_array().cloned().unwrap_or_default()
    }

    /// The daemon's process id.
    ///
    /// # Panics
    /// When there is no daemon.
    #[must_use]
    pub fn daemon_pid(&self) -> i32 {
        let status = self.banger(["daemon", "status", "--json"]).expect_code(0).json();
        i32::try_from(status["pid"].as_i64().expect("pid")).expect("pid fits")
    }

    /// Processes of this home that run: daemon, supervisors, VMMs. One line each.
    #[must_use]
    pub fn processes(&self) -> Vec<String> {
        leftovers::processes(self.path()).into_iter().map(|process| process.line).collect()
    }

    /// Those of them that belong to VMs: all but the daemon and its network, which goes with it.
    #[must_use]
    pub fn vm_processes(&self) -> Vec<String> {
        let others = ["bangerd", "banger-helper hold", "banger-helper serve", "/pasta "];
        let mut lines = self.processes();
        lines.retain(|line| !others.iter().any(|name| line.contains(name)));
        lines
    }

    /// Asserts that no VM left anything: processes, sockets, files.
    ///
    /// # Panics
    /// When something is left.
    pub fn expect_nothing_left(&self) {
        let mut left = self.vm_processes();
        for dir in [self.state_dir(), self.runtime_dir()] {
            left.extend(leftovers::files(&dir.join("vms")));
        }
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let stopped = Ran::of(self.banger_command(["daemon", "stop"]), b"");
        if std::thread::panicking() {
            eprintln!("daemon stop: {}", stopped.stderr);
            let log = fs::read_to_string(self.state_dir().join("bangerd.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("daemon log:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        leftovers::end_processes(self.path());
    }
}

impl Ran {
    /// Runs a prepared command with `input` to its end.
    ///
    /// # Panics
    /// When it cannot be started or waited for.
    #[must_use]
    pub fn of(mut command: Command, input: &[u8]) -> Self {
        let what = format!("{command:?}");
        let what = what.split("banger\"").last().unwrap_or_default().to_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut stdin = child.stdin.take().expect("piped");
        let output = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A program may end without reading its input; what it says then is checked.
                let _ = stdin.write_all(input);
            });
            child.wait_with_output().expect("it ends")
        });
        Self {
            what,
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its exit code as a shell would show it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Asserts the exit code.
    ///
    /// # Panics
    /// When it is another, with everything the program said.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "banger{}\nstdout: {}\nstderr: {}",
            self.what,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Asserts that standard error has every one of `parts`.
    ///
    /// # Panics
    /// When one is missing.
    #[track_caller]
    pub fn expect_stderr(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in stderr:\n{}", self.stderr);
        }
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}):\n{}", self.stdout))
    }
}
