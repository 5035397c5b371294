//! Starting a supervisor with its VMM.
//!
//! The launch channel ([`banger_proto::supervisor`]) ties the supervisor to this start until the
//! VM is in its new owner's hands: however the start ends before that, by an error, by its
//! future being dropped or by the daemon's death, the channel closes and the supervisor ends the
//! VMM and itself.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use banger_proto::ByteSize;
use banger_proto::jail::{JAIL_FILE, VMM_DIR};
use banger_proto::supervisor::{
    KEEP, LAUNCH_FILE, LaunchReport, LaunchSpec, Metrics, SAVED_STATE, SavedState,
};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::handle::{SupervisedVm, describe_exit};
use super::{Content, Invocation, RuntimeFile, Supervision, jail, leftovers};
use crate::hypervisor::{Found, HypervisorError, VmmSpec};
use crate::step::{Step, Walk};
use crate::supervise::files::remove_if_there;
use crate::supervise::lines::LineReader;
use crate::supervise::{METRICS_LOG, SUPERVISOR_LOG, SUPERVISOR_ROLE};

/// Bytes of console in one file; with the rotated one twice as many are kept.
const CONSOLE_LIMIT: u64 = 8 << 20;
/// Bytes of memory that a VMM may have of its own: QEMU keeps up to 1 GiB of translated code, and both
/// keep files that they have read or written.
const VMM_MEMORY: u64 = 3 << 29;
/// How long a supervisor may take to report. Longer than it lets its VMM take (30 s).
const REPORT_DEADLINE: Duration = Duration::from_secs(45);
/// How long a supervisor that gives up may take to be gone.
const END_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes in a report at most: paths, and 1 KiB of stderr as JSON.
const REPORT_LIMIT: usize = 64 << 10;

/// Starts the VM and returns it once its VMM answers.
pub(super) async fn launch(
    supervision: &Supervision,
    spec: &VmmSpec,
    invocation: Invocation,
    walk: &Walk,
) -> Result<SupervisedVm, HypervisorError> {
    let vm = &spec.vm;
    let dir = supervision.paths.vm_runtime_dir(vm);
    let failed = |what: String| move |error: io::Error| HypervisorError::because(what, error);
    if let Found::Alive(_) = leftovers::adopt(&dir, vm).await? {
        return Err(HypervisorError::new(format!("VM `{vm}` already runs")));
    }
    let mut invocation = invocation;
    let mut files = std::mem::take(&mut invocation.files);
    let jail = supervision.helper.as_ref().map(|_| {
        let program = invocation.command.first().map_or_else(PathBuf::new, PathBuf::from);
        jail::describe(spec, &program, &dir, &files)
    });
    let launch = launch_spec(supervision, spec, invocation)?;
    let launch_file = dir.join(LAUNCH_FILE);
    let jail = jail.map(|jail| serde_json::to_vec(&jail)).transpose();
    let file = |name: &str, content| RuntimeFile {
        name: name.to_owned(),
        content: Content::Bytes(content),
    };
    jail.and_then(|jail| {
        files.extend(jail.map(|content| file(JAIL_FILE, content)));
        serde_json::to_vec(&launch)
    })
    .map_err(io::Error::from)
    .and_then(|content| {
        make_private(&dir.join(VMM_DIR))?;
        make_private(&jail::saves(spec))?;
        // Last: whoever finds it finds the others.
        files.push(file(LAUNCH_FILE, content));
        files.iter().try_for_each(|file| write_file(&dir, file))
    })
    .map_err(failed(format!("cannot prepare the start of VM `{vm}`")))?;

    let (mut child, channel) = start_supervisor(&supervision.program, &launch_file)
        .map_err(failed(format!("cannot start the supervisor of VM `{vm}`")))?;
    walk.enter(Step::Report).await;
    let (reader, mut keep) = channel.into_split();
    let mut reports = LineReader::new(reader, REPORT_LIMIT);
    let report = tokio::time::timeout(REPORT_DEADLINE, reports.next_line()).await;
    let trouble = match report.map(|line| line.map(|line| line.map(|line| parse_report(&line)))) {
        Ok(Ok(Some(Ok(LaunchReport::Running(_))))) => {
            // Watched before it is kept: from here on nothing can get lost.
            match SupervisedVm::connect(&dir, vm).await {
                Ok(handle) => {
                    walk.enter(Step::Keep).await;
                    match keep.write_all(KEEP).await {
                        Ok(()) => return Ok(handle),
                        Err(error) => HypervisorError::because(supervisor_ended(vm), error),
                    }
                }
                Err(error) => HypervisorError::because(supervisor_ended(vm), error),
            }
        }
        Ok(Ok(Some(Ok(LaunchReport::Ended(exit))))) => HypervisorError::new(format!(
            "VMM of VM `{vm}` ended while starting: {}",
            describe_exit(&exit)
        )),
        Ok(Ok(Some(Ok(LaunchReport::Failed(reason))))) => {
            HypervisorError::new(format!("VMM of VM `{vm}` did not start: {reason}"))
        }
        Ok(Ok(Some(Err(error)))) => HypervisorError::because(
            format!("supervisor of VM `{vm}` reported something unknown"),
            error,
        ),
        Ok(Ok(None)) => HypervisorError::new(supervisor_ended(vm)),
        Ok(Err(error)) => HypervisorError::because(supervisor_ended(vm), error),
        Err(_) => HypervisorError::new(format!(
            "supervisor of VM `{vm}` did not report within {} s",
            REPORT_DEADLINE.as_secs()
        )),
    };
    drop((reports, keep));
    end(&mut child).await;
    Err(trouble)
}

fn supervisor_ended(vm: &banger_proto::VmId) -> String {
    format!("supervisor of VM `{vm}` ended while starting; its log is `{SUPERVISOR_LOG}`")
}

fn parse_report(line: &[u8]) -> serde_json::Result<LaunchReport> {
    serde_json::from_slice(line)
}

fn launch_spec(
    supervision: &Supervision,
    spec: &VmmSpec,
    Invocation { command, link, control, metrics, memory, files: _ }: Invocation,
) -> Result<LaunchSpec, HypervisorError> {
    let log = spec.console_log.with_file_name(SUPERVISOR_LOG);
    let text = |path: &Path| super::text(path).map(ToOwned::to_owned);
    let metrics_log = text(&spec.console_log.with_file_name(METRICS_LOG))?;
    let dir = supervision.paths.vm_runtime_dir(&spec.vm);
    let entrance = match &supervision.helper {
        Some(helper) => jail::render_words(spec, &text(helper)?, &text(&dir)?),
        None => spec.card.iter().flat_map(|card| card.entrance.clone()).collect(),
    };
    let saved = spec.saved.as_ref().map(|saved| {
        Ok::<_, HypervisorError>(SavedState {
            state: text(&saved.directory.join(SAVED_STATE))?,
            memory: text(&saved.memory())?,
            tap: spec.card.as_ref().map(|card| card.tap.clone()),
            paused: saved.paused,
        })
    });
    Ok(LaunchSpec {
        vm: spec.vm.clone(),
        vmm: entrance.into_iter().chain(command).collect(),
        jailed: supervision.helper.is_some(),
        link,
        control,
        link_magic: spec.link_magic.to_string(),
        console_log: text(&spec.console_log)?,
        console_limit: CONSOLE_LIMIT,
        log: text(&log)?,
        metrics: metrics.map(|pipe| Metrics { pipe, log: metrics_log }),
        memory_limit: Some(limit_memory(ByteSize::from_mib(spec.memory_mib))),
        scope_helper: supervision.scope_helper.as_deref().map(text).transpose()?,
        memory,
        saved: saved.transpose()?,
    })
}

/// Bytes that VMM and supervisor of a guest with so much memory may have together. Far more than they take:
/// it is for those that have gone astray, not for the host's planning.
fn limit_memory(guest: ByteSize) -> u64 {
    // Page tables and the like of the guest's memory.
    guest.bytes().saturating_add(guest.bytes() / 16).saturating_add(VMM_MEMORY)
}

/// Writes the file, private from birth, in a directory that is private too.
fn write_file(dir: &Path, RuntimeFile { name, content }: &RuntimeFile) -> io::Result<()> {
    make_private(dir)?;
    let new = dir.join(format!("{name}.new"));
    match content {
        Content::Bytes(content) => {
            let mut file = fs_err::OpenOptions::new();
            file.options_mut().mode(0o600);
            let mut file = file.write(true).create(true).truncate(true).open(&new)?;
            io::Write::write_all(&mut file, content)?;
        }
        Content::Link(target) => {
            remove_if_there(&new)?;
            fs_err::os::unix::fs::symlink(target, &new)?;
        }
    }
    fs_err::rename(new, dir.join(name))
}

fn make_private(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot make `{}`: {error}", dir.display()))
    })
}

fn start_supervisor(program: &Path, launch_file: &Path) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(program);
    command
        .arg0(SUPERVISOR_ROLE)
        .arg(launch_file)
        // What it needs stands in the launch file; what the user's environment holds is no
        // business of a program that may run for weeks.
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot start `{}`: {error}", program.display()))
    })?;
    // A child that is dropped lives on, and the runtime reaps it when it ends.
    Ok((child, UnixStream::from_std(ours)?))
}

/// Waits until a supervisor whose channel is closed is gone, and its VMM with it.
async fn end(child: &mut Child) {
    if tokio::time::timeout(END_DEADLINE, child.wait()).await.is_err() {
        // The kernel kills the VMM with it. An error means that it has just ended.
        let _ = child.kill().await;
    }
}
