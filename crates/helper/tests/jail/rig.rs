//! What the tests are made of: a host with things that are none of a VMM's business, and a probe, which is a
//! process in the jail that does what it is told.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};

use banger_proto::jail::{JAIL_FILE, JailReport, JailSpec, VMM_DIR, Wall};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use serde_json::{Value, json};

pub(crate) const HELPER: &str = env!("CARGO_BIN_EXE_banger-helper");
const PYTHON: &str = "/usr/bin/python3";
/// Moves what the test gave as output to where reports go, and shows the program's output on the other.
/// Files are private from birth, as supervisors have it.
const LAUNCH: &str = "umask 177; exec 7>&1 1>&2; exec \"$@\"";

/// A host with a VM, and others' things beside it.
pub(crate) struct Host {
    dir: tempfile::TempDir,
    pub(crate) spec: JailSpec,
}

impl Host {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        for name in ["home", "vms/one", "vms/other", "run/one/vmm", "run/other"] {
            std::fs::create_dir_all(at(name)).expect("a directory");
        }
        for (name, mode) in [
            ("home/.netrc", 0o600),
            ("shadow", 0o600),
            ("vms/one/disk", 0o600),
            ("vms/other/disk", 0o600),
            ("run/one/vmm.conf", 0o600),
            ("run/one/launch.json", 0o600),
            ("run/other/vmm.conf", 0o600),
            ("base", 0o644),
        ] {
            std::fs::write(at(name), name).expect("a file");
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).expect("a mode");
        }
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect();
        let spec = JailSpec {
            directory: None,
            execute: paths(&["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/bin"]),
            read: vec!["/etc/ld.so.cache".into(), at("base"), at("run/one/vmm.conf"), at("gone")],
            write: vec![at("vms/one/disk"), at("run/one").join(VMM_DIR)],
            devices: paths(&["/dev/null", "/dev/urandom"]),
            offline: true,
        };
        Self { dir, spec }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path as text, for the probe.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes the description; the words that follow the helper's own name.
    pub(crate) fn words(&self, entrance: &[String], program: &[&str]) -> Vec<String> {
        let file = self.path(JAIL_FILE);
        std::fs::write(&file, serde_json::to_vec(&self.spec).expect("JSON")).expect("a file");
        let role = ["run".to_owned(), "--jail".to_owned(), file.display().to_string()];
        let program = program.iter().map(ToString::to_string);
        role.into_iter().chain(entrance.to_vec()).chain(["--".to_owned()]).chain(program).collect()
    }

    pub(crate) fn probe(&self) -> Probe {
        self.start(&[], &[], &probe_words())
    }

    /// Starts a program in the jail by these words in front of the helper.
    pub(crate) fn start(&self, before: &[&str], entrance: &[String], program: &[&str]) -> Probe {
        let (read, write) = std::io::pipe().expect("a pipe");
        let mut command = Command::new("sh");
        command.args(["-c", LAUNCH, "sh"]).args(before).arg(HELPER);
        command.args(self.words(entrance, program)).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(write).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the helper");
        // Its end of the pipe would stay open.
        drop(command);
        let Told { started, missing } = listen(read);
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stderr.take().expect("a pipe"));
        let (vmm, init) = started.unwrap_or((child.id(), None));
        Probe { starter: child, vmm, init, missing, to, from }
    }
}

pub(crate) fn probe_words() -> [&'static str; 4] {
    [PYTHON, "-I", "-c", include_str!("probe.py")]
}

/// What is told until the program begins.
struct Told {
    /// The VMM and the first process of its namespace.
    started: Option<(u32, Option<u32>)>,
    missing: Vec<(Wall, String)>,
}

fn listen(pipe: PipeReader) -> Told {
    let (mut started, mut missing) = (None, Vec::new());
    for line in BufReader::new(pipe).lines() {
        match serde_json::from_str(&line.expect("a line")).expect("a report") {
            JailReport::Started { vmm, init } => started = Some((vmm, init)),
            JailReport::Without { wall, reason } => missing.push((wall, reason)),
        }
    }
    Told { started, missing }
}

/// A child that ends with its value.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The descriptors that whatever this process starts has, those that it gives it aside.
pub(crate) fn inherited() -> Value {
    let look = "import json, os\n\
                print(json.dumps([fd for fd in range(64) if os.path.lexists(f'/proc/self/fd/{fd}')]))";
    let output = Command::new(PYTHON).args(["-c", look]).output().expect("the descriptors");
    serde_json::from_slice(&output.stdout).expect("a list")
}

/// A process in the jail. All of it ends with the value.
pub(crate) struct Probe {
    starter: Child,
    pub(crate) vmm: u32,
    pub(crate) init: Option<u32>,
    pub(crate) missing: Vec<(Wall, String)>,
    to: ChildStdin,
    from: BufReader<ChildStderr>,
}

impl Probe {
    pub(crate) fn ask(&mut self, words: &Value) -> Value {
        writeln!(self.to, "{words}").expect("the probe lives");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{words}: {error}: {line:?}"))
    }

    /// The result of what must succeed.
    pub(crate) fn does(&mut self, words: Value) -> Value {
        let mut answer = self.ask(&words);
        assert!(answer["error"].is_null(), "{words}: {answer}");
        answer["ok"].take()
    }

    /// The error of what must fail.
    pub(crate) fn fails(&mut self, words: Value) -> String {
        let answer = self.ask(&words);
        answer["error"].as_str().unwrap_or_else(|| panic!("{words}: {answer}")).to_owned()
    }

    /// Has it do what ends it.
    pub(crate) fn ends(&mut self, words: &Value) -> WaitStatus {
        writeln!(self.to, "{words}").expect("the probe lives");
        self.ended()
    }

    /// How the VMM ended.
    pub(crate) fn ended(&mut self) -> WaitStatus {
        let status = wait(self.vmm);
        // Done with.
        self.vmm = 0;
        status
    }

    /// Everything that is written from now on.
    pub(crate) fn rest(&mut self) -> String {
        let mut text = String::new();
        self.from.read_to_string(&mut text).expect("text");
        text
    }

    pub(crate) fn own(&mut self) -> Value {
        self.does(json!(["own"]))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let starter = self.starter.id();
        for process in [Some(self.vmm), self.init].into_iter().flatten() {
            if process != 0 && process != starter {
                let _ = kill_process(pid(process), Signal::KILL);
                let _ = waitpid(Some(pid(process)), WaitOptions::empty());
            }
        }
        let _ = self.starter.kill();
        let _ = self.starter.wait();
    }
}

pub(crate) fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a process id")).expect("a process id")
}

pub(crate) fn wait(process: u32) -> WaitStatus {
    waitpid(Some(pid(process)), WaitOptions::empty()).expect("a child").expect("its end").1
}

/// A line of `/proc/PID/status`.
pub(crate) fn status(text: &Value, name: &str) -> String {
    let text = text.as_str().expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("{name} in {text}")).trim().to_owned()
}

/// What is in a directory and below, with what is in the files.
pub(crate) fn tree(dir: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.push((path.clone(), path.is_file().then(|| std::fs::read(&path).expect("a file"))));
    }
    found.sort();
    found
}
