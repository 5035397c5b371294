//! Starting the daemon when there is none, replacing an idle one of an older build, stopping it.
//!
//! ```text
//! usable? ──yes──▶ use it
//!    │ no: absent, going, or older and idle
//!    ▼
//! lock start.lock ─▶ usable now? ──yes──▶ use it   (the command before us has started it)
//!                     ▲  │ older and idle ─▶ stop it, wait for its end ┐
//!                     │  └ absent, going ──────────────────────────────┴▶ start
//!                     │                                                    │ "ready" ─▶ use it
//!                     └── it found another daemon at work (`conflict`) ◀───┘
//! ```
//!
//! That a daemon accepts a connection does not say that it is there: one that was killed does so
//! until the kernel has taken it apart. So it is asked, and one that goes away instead of
//! answering is none. The daemon that is started then waits for the end of the one before it.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use banger_proto::api::DaemonStatus;
use banger_proto::{API_VERSION, Code, Problem, build as own};
use bytes::Bytes;
use hyper::Method;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::connect::{ensure_runtime_dir, paths, probe};
use super::{Client, Presence, STOP_DEADLINE, Versioned};
use crate::environment::Environment;
use crate::errors::CliError;
use crate::role;
use crate::sys::watch_readable;

/// How long a daemon may take to become ready: it recovers VMs before it listens.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// What a starting daemon writes when it listens.
const READY: &str = "ready";

/// Longest line a starting daemon may write.
const MAX_READY_LINE: u64 = 64 << 10;

/// A daemon of this build, started if there was none.
pub(crate) async fn ensure(
    environment: &Environment,
    build: fn() -> String,
) -> Result<Client, CliError> {
    let paths = paths(environment)?;
    ensure_runtime_dir(&paths.runtime_dir, environment.uid)?;
    if paths.is_serviced() {
        return match timeout(START_DEADLINE, await_service(environment, build)).await {
            Ok(found) => found,
            Err(_) => Err(CliError::failure("the daemon does not answer").hint(JOURNAL_HINT)),
        };
    }
    // What is wrong with one that runs is told below, if it still is: another command may be
    // replacing it.
    if let Ok(Found::Usable(client)) = look(environment, build).await {
        return Ok(client);
    }
    let _lock = lock(&paths.runtime_dir.join("start.lock")).await?;
    let hint = || format!("its log is `{}`", paths.daemon_log().display());
    match timeout(START_DEADLINE, start(environment, build)).await {
        Ok(started) => started.map_err(|error| error.hint(hint())),
        Err(_) => Err(CliError::failure("the daemon did not become ready in time").hint(hint())),
    }
}

/// What the daemon of a service says where nobody else hears it.
const JOURNAL_HINT: &str = "what the service says: `journalctl -u bangerd.service`";

/// The daemon where the service manager listens for it: who connects has it started, so that one of
/// an older build need only end.
async fn await_service(
    environment: &Environment,
    build: fn() -> String,
) -> Result<Client, CliError> {
    let socket = paths(environment)?.daemon_socket();
    loop {
        // The service manager keeps what is asked until a daemon is there to answer it, or gives up
        // and closes its socket. So one that is lost was answered by a daemon that has ended since.
        match look(environment, build).await? {
            Found::Usable(client) => return Ok(client),
            Found::Replaceable(client) => match stop(&client).await {
                Err(error) if !error.is_lost() => return Err(error),
                _ => {}
            },
            Found::Nobody => match probe(socket.clone(), environment.uid).await? {
                Presence::Running(_) => {}
                Presence::Absent => {
                    return Err(CliError::failure("the service of banger does not run")
                        .hint("sudo systemctl restart bangerd.socket bangerd.service")
                        .hint(JOURNAL_HINT));
                }
            },
        }
    }
}

/// What is found at the socket.
#[derive(Debug)]
enum Found {
    /// A daemon to work with.
    Usable(Client),
    /// One of an older build, whose going nobody would notice.
    Replaceable(Client),
    /// None, or one that is going.
    Nobody,
}

/// Looks for a daemon and asks what it is.
///
/// # Errors
/// When it can be neither used nor replaced: it speaks another version of the interface and is
/// at work or newer.
async fn look(environment: &Environment, build: fn() -> String) -> Result<Found, CliError> {
    let socket = paths(environment)?.daemon_socket();
    let Presence::Running(client) = probe(socket, environment.uid).await? else {
        return Ok(Found::Nobody);
    };
    let status = match client.status().await {
        Ok(status) => status,
        Err(error) if error.is_lost() => return Ok(Found::Nobody),
        Err(error) => return Err(error),
    };
    if replaceable(&status, own::current().version, build) {
        return Ok(Found::Replaceable(client));
    }
    check_version(&status).map(|()| Found::Usable(client))
}

/// Whether the daemon is of an older build and nobody would notice its going.
fn replaceable(status: &DaemonStatus, own_version: &str, build: fn() -> String) -> bool {
    let older = version_numbers(&status.version) <= version_numbers(own_version);
    older && status.busy == 0 && status.build != build()
}

fn version_numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

fn check_version(status: &DaemonStatus) -> Result<(), CliError> {
    if status.api_version == API_VERSION {
        return Ok(());
    }
    let problem = Problem::new(
        Code::BadVersion,
        format!(
            "the running daemon ({}) speaks version {} of the interface, this program version \
             {API_VERSION}",
            status.version, status.api_version
        ),
    );
    Err(CliError::from(problem).hint(if status.api_version > API_VERSION {
        "this program is the older one: use the banger that was installed last"
    } else {
        "the daemon is at work: try again later, or run `banger daemon stop` (VMs keep running)"
    }))
}

/// Asks the daemon to end and waits until it has. VMs keep running.
pub(crate) async fn stop(client: &Client) -> Result<DaemonStatus, CliError> {
    let status = client.status().await?;
    // Opened while the daemon is known to live, so that it cannot be another process's.
    let process = i32::try_from(status.pid)
        .ok()
        .and_then(Pid::from_raw)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok())
        .and_then(|fd| watch_readable(fd).ok());
    client.send(Method::POST, "/v1/daemon/stop", Bytes::from_static(b"{}"), Versioned::No).await?;
    if let Some(process) = process {
        timeout(STOP_DEADLINE, process.readable())
            .await
            .map_err(|_| {
                CliError::failure(format!("the daemon (pid {}) has not ended yet", status.pid))
                    .hint(format!(
                        "it first finishes what it is asked for: {} requests",
                        status.busy
                    ))
                    .hint(format!("its log is `{}`", status.log))
            })?
            .map_err(|error| CliError::failure("cannot wait for the daemon's end").because(&error))?
            .retain_ready();
    }
    Ok(status)
}

/// Starts a daemon until there is one, whoever started it.
async fn start(environment: &Environment, build: fn() -> String) -> Result<Client, CliError> {
    let program = environment.exe.as_ref().map_err(|error| {
        CliError::failure("cannot tell where this program is, to start the daemon").because(error)
    })?;
    loop {
        match look(environment, build).await? {
            Found::Usable(client) => return Ok(client),
            Found::Replaceable(client) => match stop(&client).await {
                Err(error) if !error.is_lost() => return Err(error),
                _ => {}
            },
            Found::Nobody => {}
        }
        match launch(program).await {
            Ok(()) => break,
            // Another one answered it, which is just as good, unless it is gone by now.
            Err(error) if *error.code() == Code::Conflict => {}
            Err(error) => return Err(error),
        }
    }
    match probe(paths(environment)?.daemon_socket(), environment.uid).await? {
        Presence::Running(client) => Ok(client),
        Presence::Absent => {
            let message = "the daemon says it is ready, but nobody answers at its socket";
            Err(CliError::failure(message))
        }
    }
}

/// Takes the lock that lets one command at a time start a daemon; it goes with the file.
async fn lock(path: &Path) -> Result<File, CliError> {
    let failed = |error: &dyn std::error::Error| {
        CliError::failure(format!("cannot lock `{}`", path.display())).because(error)
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed(&error))?;
    let in_turn = format!("which one that is: fuser -v {}", path.display());
    let locked = tokio::task::spawn_blocking(move || {
        flock(&file, FlockOperation::LockExclusive).map(|()| file)
    });
    match timeout(START_DEADLINE, locked).await {
        Ok(Ok(locked)) => locked.map_err(|error| failed(&error)),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(CliError::failure("another command is starting the daemon and does not end")
            .hint(in_turn)),
    }
}

/// Starts `program` as the daemon and waits for its word.
async fn launch(program: &Path) -> Result<(), CliError> {
    let failed = |error: &dyn std::error::Error| {
        CliError::failure(format!("cannot start the daemon `{}`", program.display())).because(error)
    };
    // The pipe is the child's standard output: the one descriptor that can be handed down
    // without touching the child between fork and exec.
    let (ready, theirs) = std::io::pipe().map_err(|error| failed(&error))?;
    let mut child = Command::new(program)
        .arg0(role::DAEMON)
        .args(["--ready-fd", "1"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(theirs)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error))?;
    let ready = tokio::net::unix::pipe::Receiver::from_owned_fd(OwnedFd::from(ready))
        .map_err(|error| failed(&error))?;
    let mut line = String::new();
    let mut ready = BufReader::new(ready.take(MAX_READY_LINE));
    ready.read_line(&mut line).await.map_err(|error| failed(&error))?;
    match line.trim_end() {
        READY => Ok(()),
        "" => Err(ended(&mut child).await),
        line => Err(serde_json::from_str::<Problem>(line).map_or_else(
            |_| CliError::failure("the daemon did not start").because(&Said(line.to_owned())),
            CliError::from,
        )),
    }
}

/// Why a daemon closed its pipe without a word.
async fn ended(child: &mut Child) -> CliError {
    let error = CliError::failure("the daemon ended while it was starting");
    match child.wait().await {
        Ok(status) => error.because(&Said(status.to_string())),
        Err(failed) => error.because(&failed),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn status(version: &str, build: &str, busy: u32) -> DaemonStatus {
        DaemonStatus {
            version: version.into(),
            api_version: API_VERSION,
            build: build.into(),
            pid: 1,
            started_at: String::new(),
            log: String::new(),
            state_dir: String::new(),
            vms: 0,
            vms_running: 0,
            busy,
            dns: Default::default(),
            network: Default::default(),
        }
    }

    #[test]
    fn only_an_older_idle_daemon_is_replaced() {
        let own = || "mine".to_owned();
        assert!(replaceable(&status("0.9.0", "old", 0), "0.10.0", own));
        assert!(!replaceable(&status("0.9.0", "old", 1), "0.10.0", own));
        assert!(!replaceable(&status("0.10.0", "mine", 0), "0.10.0", own));
        assert!(!replaceable(&status("0.11.0", "new", 0), "0.10.0", own));
    }

    /// A program that stands in for the daemon.
    fn daemon(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemons").join(name)
    }

    #[tokio::test]
    async fn waits_for_the_daemons_word() {
        launch(&daemon("ready")).await.unwrap();
        let refused = launch(&daemon("refuses")).await.unwrap_err();
        assert_eq!(*refused.code(), Code::Conflict);
        let dead = format!("{:?}", launch(&daemon("dies")).await.unwrap_err());
        assert!(dead.contains("the daemon ended while it was starting"), "{dead}");
        assert!(dead.contains("exit status: 3"), "{dead}");
        assert!(launch(&daemon("none")).await.is_err());
    }

    #[test]
    fn other_versions_say_who_is_older() {
        let newer = DaemonStatus { api_version: API_VERSION + 1, ..status("9.0.0", "x", 0) };
        let refused = check_version(&newer).unwrap_err();
        assert_eq!(*refused.code(), Code::BadVersion);
        let told = format!("{refused:?}");
        assert!(told.contains("of the interface, this program version"), "{told}");
        assert!(told.contains("this program is the older one"), "{told}");
    }
}
