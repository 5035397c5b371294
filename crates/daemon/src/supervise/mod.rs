//! The supervisor's program: it owns one VMM, from before its start until after its end, and
//! outlives the daemon that started it. What others see of it is in
//! [`banger_proto::supervisor`].
//!
//! | module | responsible for |
//! |---|---|
//! | `ownership` | the order of things: start, report, serve, end |
//! | `launch_channel` | being kept or abandoned by the daemon |
//! | `scope` | leaving the daemon's service, where it is one |
//! | `vmm` | the child: start, console, stderr, end |
//! | `jailed` | the VMM that a helper has made beside itself |
//! | `link`, `splice` | the guest link's host end and the streams on it |
//! | `guest_port` | the guest link's way by a virtio socket |
//! | `accept` | taking connections on its sockets |
//! | `memory`, `resident` | what is saved of a guest's memory: QEMU's, Firecracker's |
//! | `control`, `state` | the control socket, the state and its file |
//! | `vmm_control` | what the VMM is asked for, whichever it is |
//! | `files` | the runtime directory |
//! | `recorder` | console log and own log |
//! | `identity`, `lines` | processes told apart, bounded lines |
//! | `processes` | finding supervisors among all processes, for the daemon |
//! | `sys` | unsafe calls |
//!
//! One thread does everything but writing logs. It is small on purpose: there is one for every
//! VM that runs.

mod accept;
mod control;
pub(crate) mod files;
mod guest_port;
pub mod identity;
mod jailed;
mod launch_channel;
pub(crate) mod lines;
mod link;
mod memory;
mod ownership;
pub(crate) mod processes;
mod recorder;
mod resident;
mod scope;
mod splice;
mod state;
mod sys;
mod vmm;
mod vmm_control;

pub(crate) use sys::wait_on;

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::ExitCode;

use banger_proto::supervisor::{LaunchReport, LaunchSpec};
use rustix::fs::Mode;
use rustix::process::{setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdout};

use files::RuntimeFiles;
use launch_channel::{LaunchChannel, is_abandoned, take_from_stdin};
use vmm::PassedSockets;

/// Name that tells the executable to be a supervisor, and by which it is known.
pub(crate) const SUPERVISOR_ROLE: &str = "banger-supervisor";

/// Its own log, beside the console log.
pub(crate) const SUPERVISOR_LOG: &str = "supervisor.log";
/// What the VMM counts, likewise.
pub(crate) const METRICS_LOG: &str = "metrics.log";

/// Permissions withheld from everything that is made: files and sockets are 0600 from birth.
const PRIVATE: Mode = Mode::XUSR.union(Mode::RWXG).union(Mode::RWXO);

/// The supervisor's main: owns the VMM that `launch_file` (absolute) describes until it has
/// ended.
///
/// To be called first thing in a process of its own whose standard input is the launch channel:
/// it closes every other descriptor, and the thread that calls it must be the main one.
#[must_use]
pub fn run(launch_file: &Path) -> ExitCode {
    let prepared = detach().and_then(|channel| {
        let failed = |error: &io::Error| LaunchReport::Failed(error.to_string());
        // The sockets come before everything else that opens descriptors.
        let prepared = PassedSockets::make().and_then(|sockets| {
            let (spec, files) = prepare(launch_file, &channel)?;
            Ok((sockets, spec, files))
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut channel = LaunchChannel::new(channel)?;
            match prepared {
                Ok((sockets, spec, files)) => {
                    let owned = ownership::own(&spec, files, sockets, &mut channel).await;
                    if let Err(error) = &owned {
                        channel.report(&failed(error)).await;
                    }
                    owned
                }
                Err(error) => {
                    channel.report(&failed(&error)).await;
                    Err(error)
                }
            }
        })
    });
    match prepared {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Leaves the daemon's session, directory, descriptors and permissions behind.
fn detach() -> io::Result<StdUnixStream> {
    // Fails for a process that leads a group already; then there is no session to leave.
    let _ = setsid();
    umask(PRIVATE);
    sys::close_inherited()?;
    std::env::set_current_dir("/")?;
    take_from_stdin()
}

fn prepare(launch_file: &Path, channel: &StdUnixStream) -> io::Result<(LaunchSpec, RuntimeFiles)> {
    let spec: LaunchSpec = serde_json::from_slice(&fs_err::read(launch_file)?)?;
    // What a panic says goes to the log; nothing else is written to these.
    let log = fs_err::OpenOptions::new().create(true).append(true).open(&spec.log)?;
    dup2_stdout(&log)?;
    dup2_stderr(&log)?;
    let dir = launch_file.parent().unwrap_or(Path::new("/"));
    let files = RuntimeFiles::lock(dir)?;
    // Asked after the launch file was read: while the daemon still waits, the file is ours.
    if is_abandoned(channel) {
        return Err(io::Error::other("nobody keeps the launch"));
    }
    // Before anything is started, which would stay behind.
    if let Some(helper) = &spec.scope_helper {
        scope::enter(helper.as_ref(), &spec.vm, spec.memory_limit).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot leave the daemon's service: {error}"))
        })?;
    }
    Ok((spec, files))
}
