//! A user of this host with nothing: own home, own directories, empty environment.

use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The user's directories, gone with this value.
pub(crate) struct Host {
    dir: TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        for dir in ["home", "run", "run/banger"] {
            DirBuilder::new().mode(0o700).create(host.path(dir)).unwrap();
        }
        host
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/banger/bangerd.sock")
    }

    /// The program, not yet started, in the user's home.
    pub(crate) fn banger(&self, args: &[&str]) -> Command {
        // Signals as they are at a terminal: whoever runs the tests may have some ignored, which
        // programs inherit.
        let mut command = Command::new("/usr/bin/env");
        command
            .args(["--default-signal", env!("CARGO_BIN_EXE_banger")])
            .args(args)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .current_dir(self.path("home"));
        command
    }

    /// A shell that finds the program by its name, not yet started, in the user's home.
    pub(crate) fn shell(&self, shell: &str, args: &[&str]) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_banger")).parent().unwrap();
        let mut command = Command::new(shell);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .current_dir(self.path("home"));
        command
    }

    /// Runs the program to its end with an empty input.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        self.run_with_input(args, b"")
    }

    /// Runs the program to its end and tells what a user would have seen.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> String {
        let mut child = self
            .banger(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // Beside reading: an echo of more than the pipes hold would stop both of us. A program
        // that has seen enough closes its end.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        self.transcript(&output)
    }

    /// What a user would have seen, without this run's directories.
    pub(crate) fn transcript(&self, output: &Output) -> String {
        let mut text = String::from_utf8(output.stdout.clone()).unwrap();
        if !output.stderr.is_empty() {
            text.push_str("-- stderr\n");
            text.push_str(std::str::from_utf8(&output.stderr).unwrap());
        }
        text.push_str(&match output.status.code() {
            Some(code) => format!("-- exit {code}"),
            None => format!("-- {}", output.status),
        });
        let own = self.dir.path().to_str().unwrap();
        text.replace(own, "$HOST")
    }

    /// A git repository in the user's home.
    pub(crate) fn repository(&self, name: &str) -> PathBuf {
        let path = self.path("home").join(name);
        git(&self.path("home"), &["init", "-q", name]);
        path
    }
}

pub(crate) fn git(dir: &Path, args: &[&str]) {
    assert!(Command::new("git").current_dir(dir).args(args).status().unwrap().success());
}
