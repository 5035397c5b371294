//! What is left of namespaces that nobody is in: after a daemon that was killed, or a runtime directory
//! that was removed.
//!
//! ```text
//!  process            is left when
//!  holder             no record names its namespace, and nobody but itself and its way out is in it
//!  pasta              it is the way out of such a namespace, or ours and not the one that is noted
//!  file (`network.json`, `uplink.log`, …)     what it is about is gone
//! ```
//!
//! Holders of another runtime directory that is there are that one's daemon's to find: whether somebody
//! is in their namespaces is not told to everybody at every moment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use banger_proto::env;

use super::UserOptions;
use super::record::{FILE, NEW_FILE, Namespace, observe_inode};
use super::uplink::{LOG_FILE, PASTA, PID_FILE};
use crate::supervise::identity::ProcessIdentity;

/// Something of a network that nobody is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLeftover {
    /// The file, or the process as `/proc/PID`.
    pub path: PathBuf,
    process: Option<ProcessIdentity>,
}

impl NetworkLeftover {
    /// A file.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        Self { path, process: None }
    }

    fn process(process: ProcessIdentity) -> Self {
        Self { path: format!("/proc/{}", process.pid).into(), process: Some(process) }
    }

    /// Takes it away. Whoever calls has just looked that it still is a leftover.
    pub(super) async fn remove(&self) -> io::Result<()> {
        match self.process {
            Some(process) => process.end().await,
            None => match fs_err::tokio::remove_file(&self.path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }
}

/// A process of this user.
#[derive(Debug, Clone)]
struct Seen {
    process: ProcessIdentity,
    netns: Option<u64>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Holder,
    /// The file that it noted its id in, and the process by which it found the namespace.
    Pasta {
        pid_file: Option<PathBuf>,
        door: Option<u32>,
    },
    Other,
}

/// What is left; `recorded` is the namespace that is noted, if it is still there. Nothing of the network
/// is started or ended meanwhile.
///
/// # Errors
/// When processes or the runtime directory cannot be looked at.
pub(super) fn observe(
    options: &UserOptions,
    recorded: Option<&Namespace>,
) -> io::Result<Vec<NetworkLeftover>> {
    let seen = observe_processes(options)?;
    let mut left: Vec<_> = find_processes(&seen, &options.runtime_dir, recorded)
        .into_iter()
        .map(NetworkLeftover::process)
        .collect();
    let passing = [NEW_FILE, PID_FILE];
    let lasting = if recorded.is_none() { &[FILE, LOG_FILE][..] } else { &[] };
    let files = passing.iter().chain(lasting).map(|name| options.runtime_dir.join(name));
    left.extend(files.filter(|path| path.exists()).map(NetworkLeftover::file));
    Ok(left)
}

/// The processes that are left, ways out first.
fn find_processes(
    seen: &[Seen],
    runtime_dir: &Path,
    recorded: Option<&Namespace>,
) -> Vec<ProcessIdentity> {
    let mut inhabited: BTreeMap<u64, bool> = BTreeMap::new();
    for seen in seen {
        if let Some(netns) = seen.netns {
            *inhabited.entry(netns).or_default() |= seen.kind == Kind::Other;
        }
    }
    let is_left = |seen: &&Seen| {
        let known = recorded.map(|namespace| namespace.netns_inode);
        seen.kind == Kind::Holder
            && seen.netns.is_some_and(|netns| Some(netns) != known && !inhabited[&netns])
    };
    let holders: Vec<_> = seen.iter().filter(is_left).map(|seen| seen.process).collect();
    let ours = runtime_dir.join(PID_FILE);
    let noted = recorded.and_then(|namespace| namespace.uplink);
    let ways_out = seen.iter().filter(|seen| match &seen.kind {
        Kind::Pasta { door, .. } if holders.iter().any(|holder| Some(holder.pid) == *door) => true,
        Kind::Pasta { pid_file, .. } => {
            pid_file.as_ref() == Some(&ours)
                && noted.is_none_or(|noted| noted.identity() != seen.process)
        }
        _ => false,
    });
    ways_out.map(|seen| seen.process).chain(holders.iter().copied()).collect()
}

fn observe_processes(options: &UserOptions) -> io::Result<Vec<Seen>> {
    let user = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Those that end meanwhile are none.
        found.extend(observe_process(pid, &entry.path(), user, options));
    }
    Ok(found)
}

fn observe_process(pid: u32, dir: &Path, user: u32, options: &UserOptions) -> Option<Seen> {
    let UserOptions { helper, runtime_dir, .. } = options;
    let process = ProcessIdentity::observe(pid)?;
    // The directory itself is root's where the process may not be looked into.
    let status = fs_err::read_to_string(dir.join("status")).ok()?;
    if parse_user(&status)? != user {
        return None;
    }
    let words = fs_err::read(dir.join("cmdline")).ok()?;
    let kind = match parse_kind(&words, helper) {
        Kind::Holder if !is_ours_to_find(&dir.join("environ"), runtime_dir) => Kind::Other,
        // Until it is told to stay, it ends with whoever started it.
        Kind::Holder if fs_err::read_link(dir.join("fd/0")).ok()? != Path::new("/dev/null") => {
            Kind::Other
        }
        kind => kind,
    };
    let netns = observe_inode(pid, "net");
    // The number may have been used again while its files were read.
    (ProcessIdentity::observe(pid) == Some(process)).then_some(Seen { process, netns, kind })
}

/// Whether the environment at `environ` says that a holder is of `runtime_dir`, or of one that is gone.
fn is_ours_to_find(environ: &Path, runtime_dir: &Path) -> bool {
    let Ok(environ) = fs_err::read(environ) else { return false };
    let name = format!("{}=", env::XDG_RUNTIME_DIR);
    let value = environ.split(|byte| *byte == 0).find_map(|set| set.strip_prefix(name.as_bytes()));
    let Some(value) = value.map(|value| Path::new(OsStr::from_bytes(value))) else { return true };
    runtime_dir.parent() == Some(value) || !value.exists()
}

/// The effective user in the text of `/proc/PID/status`.
fn parse_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What a process with these words, each ended by a zero byte, is.
fn parse_kind(words: &[u8], helper: &Path) -> Kind {
    let words: Vec<&OsStr> = words.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
    let program = words.first().and_then(|word| Path::new(word).file_name());
    let after = |flag: &str| {
        let at = words.iter().position(|word| *word == flag)?;
        words.get(at + 1).copied()
    };
    match program {
        Some(program)
            if Some(program) == helper.file_name() && words.get(1) == Some(&OsStr::new("hold")) =>
        {
            Kind::Holder
        }
        Some(program) if program == PASTA => Kind::Pasta {
            pid_file: after("--pid").map(PathBuf::from),
            door: after("--netns").and_then(|path| {
                path.to_str()?.strip_prefix("/proc/")?.strip_suffix("/ns/net")?.parse().ok()
            }),
        },
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::BridgeName;

    use super::super::record::Noted;
    use super::*;

    const HELPER: &str = "/usr/lib/banger/banger-helper";

    fn process(pid: u32) -> ProcessIdentity {
        ProcessIdentity { pid, start: 1 }
    }

    fn seen(pid: u32, netns: u64, words: &[&str]) -> Seen {
        let words: Vec<u8> =
            words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
        let kind = parse_kind(&words, Path::new(HELPER));
        Seen { process: process(pid), netns: Some(netns), kind }
    }

    fn pasta<'a>(pid_file: &'a str, door: &'a str) -> [&'a str; 6] {
        ["/usr/bin/pasta", "--pid", pid_file, "--netns", door, "--quiet"]
    }

    #[test]
    fn only_what_nobody_needs_is_left() {
        let (ours, others) = ("/run/a/uplink.pid", "/run/b/uplink.pid");
        let all = [
            seen(1, 10, &["sh"]),
            // The namespace that is noted, with its way out.
            seen(2, 20, &[HELPER, "hold"]),
            seen(3, 10, &pasta(ours, "/proc/2/ns/net")),
            // Ours, of a namespace before that.
            seen(4, 10, &pasta(ours, "/proc/99/ns/net")),
            // Nobody's, with its way out; and somebody's, who runs a VM there.
            seen(5, 50, &["/elsewhere/banger-helper", "hold"]),
            seen(6, 10, &pasta(others, "/proc/5/ns/net")),
            seen(7, 70, &[HELPER, "hold"]),
            seen(8, 70, &["qemu-system-x86_64"]),
            seen(9, 10, &pasta(others, "/proc/7/ns/net")),
            // No holders.
            seen(11, 110, &[HELPER, "serve"]),
            seen(12, 120, &["hold", "hold"]),
        ];
        let recorded = Namespace {
            holder: Noted::from(process(2)),
            userns_inode: 0,
            netns_inode: 20,
            uplink: Some(Noted::from(process(3))),
            bridge: BridgeName::default(),
        };
        let left = |recorded| {
            let left = find_processes(&all, Path::new("/run/a"), recorded);
            left.into_iter().map(|process| process.pid).collect::<Vec<_>>()
        };
        assert_eq!(left(Some(&recorded)), [4, 6, 5]);
        assert_eq!(left(None), [3, 4, 6, 2, 5]);
    }

    #[test]
    fn holders_of_others_are_theirs_to_find() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, others) = (dir.path().join("ours"), dir.path().join("others"));
        fs_err::create_dir_all(&others).unwrap();
        let environ = dir.path().join("environ");
        let is_ours = |value: Option<&Path>| {
            let set = value.map(|value| format!("XDG_RUNTIME_DIR={}\0", value.display()));
            fs_err::write(&environ, format!("A=b\0{}", set.unwrap_or_default())).unwrap();
            is_ours_to_find(&environ, &ours.join("banger"))
        };
        assert!(is_ours(Some(&ours)) && is_ours(None) && !is_ours(Some(&others)));
        fs_err::remove_dir(&others).unwrap();
        assert!(is_ours(Some(&others)), "nobody else ever looks for those");
        assert!(!is_ours_to_find(&dir.path().join("none"), &ours));
    }

    #[test]
    fn the_user_of_a_process() {
        assert_eq!(parse_user("Name:\tx\nUid:\t1000\t1001\t1000\t1000\nGid:\t0\n"), Some(1001));
        assert_eq!(parse_user("Name:\tUid:\n"), None);
    }

    #[tokio::test]
    async fn files_about_nothing_are_left() {
        let dir = tempfile::tempdir().unwrap();
        let options = UserOptions {
            helper: HELPER.into(),
            runtime_dir: dir.path().to_owned(),
            env: crate::exec::HostEnv::from_env(|_| None),
            bridge: BridgeName::default(),
        };
        let network = super::super::UserNamespace::new(options);
        for name in ["network.json", "uplink.pid", "daemon.sock"] {
            fs_err::write(dir.path().join(name), "damaged").unwrap();
        }
        let mut files = network.observe_leftovers().await.unwrap();
        // Other processes of this machine are not this test's.
        files.retain(|left| left.process.is_none());
        let names: Vec<_> = files.iter().map(|left| left.path.file_name().unwrap()).collect();
        assert_eq!(names, ["uplink.pid", "network.json"]);
        for file in &files {
            network.remove_leftover(file).await.unwrap();
            network.remove_leftover(file).await.unwrap();
        }
        assert!(dir.path().join("daemon.sock").exists());
        assert!(!dir.path().join("network.json").exists());
    }
}
