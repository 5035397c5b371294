//! The VMM as the supervisor's child: starting it, what it writes, its end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command as StdCommand, Stdio};
use std::time::Duration;

use banger_proto::jail::REPORT_FD;
use banger_proto::supervisor::{CONTROL_FD, LINK_FD, LaunchSpec, MEMORY_FD, VmmExit};
use rustix::io::{DupFlags, dup3, fcntl_dupfd_cloexec};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::stdio::stdin;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::jailed::{self, Jailed, ReportPipe};
use super::memory::GuestMemory;
use super::recorder::Recorder;
use super::sys;

/// Bytes of standard error that are kept.
const STDERR_TAIL: usize = 1 << 10;
/// Bytes of console read at once.
const CONSOLE_CHUNK: usize = 4 << 10;
/// How long the pipes of a VMM that is gone are read on, in case something inherited them.
const DRAIN_DEADLINE: Duration = Duration::from_millis(500);

/// Sockets for the VMM, connected, at the numbers that its command line names.
#[derive(Debug)]
pub(super) struct PassedSockets {
    /// This side of the guest link.
    pub(super) link: StdUnixStream,
    /// This side of the control connection.
    pub(super) control: StdUnixStream,
    /// The VMM's sides.
    pub(super) passed: Vec<OwnedFd>,
    /// The place of the guest's memory, if that is passed.
    memory: Option<OwnedFd>,
    /// Where the helper says who the VMM is, if it starts it.
    pub(super) report: ReportPipe,
}

impl PassedSockets {
    /// Makes the pairs. To be called before the runtime has opened descriptors of its own, which
    /// could take the numbers.
    ///
    /// # Errors
    /// When descriptors cannot be had or a number is taken.
    pub(super) fn make() -> io::Result<Self> {
        // All numbers first: what is opened takes the lowest that are free.
        let reserved = (reserve(REPORT_FD)?, reserve(LINK_FD)?, reserve(CONTROL_FD)?);
        let (report, mut link_passed, mut control_passed) = reserved;
        let memory = Some(reserve(MEMORY_FD)?);
        let (link, link_vmm) = StdUnixStream::pair()?;
        let (control, control_vmm) = StdUnixStream::pair()?;
        link.set_nonblocking(true)?;
        control.set_nonblocking(true)?;
        dup3(&link_vmm, &mut link_passed, DupFlags::CLOEXEC)?;
        dup3(&control_vmm, &mut control_passed, DupFlags::CLOEXEC)?;
        let passed = vec![link_passed, control_passed];
        Ok(Self { link, control, passed, memory, report: ReportPipe::make(report)? })
    }

    /// Passes the guest's memory, too.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn pass_memory(&mut self, memory: &GuestMemory) -> io::Result<()> {
        if let Some(mut place) = self.memory.take() {
            dup3(memory, &mut place, DupFlags::CLOEXEC)?;
            self.passed.push(place);
        }
        Ok(())
    }
}

/// Something at this number, to be replaced.
fn reserve(number: i32) -> io::Result<OwnedFd> {
    let placed = fcntl_dupfd_cloexec(stdin(), number)?;
    if std::os::fd::AsRawFd::as_raw_fd(&placed) == number {
        Ok(placed)
    } else {
        Err(io::Error::other(format!("descriptor {number} is taken")))
    }
}

/// A VMM that was started.
#[derive(Debug)]
pub(super) struct Vmm {
    processes: Processes,
    /// The VMM.
    pub(super) pid: Pid,
    console: JoinHandle<()>,
    stderr: JoinHandle<Vec<u8>>,
    killed: bool,
}

/// Who is waited for and killed.
#[derive(Debug)]
enum Processes {
    /// What was started is the VMM, or has ended before there was one.
    Child(Child),
    /// What was started has made them.
    Jailed(Jailed),
}

impl Vmm {
    /// Starts the VMM in `dir`; it inherits `passed` under the same numbers.
    ///
    /// It gets an empty environment: what the user's holds is no business of a program that
    /// guests try to break.
    ///
    /// # Errors
    /// When the program cannot be started; the error names it.
    pub(super) fn start(
        spec: &LaunchSpec,
        dir: &Path,
        mut passed: Vec<OwnedFd>,
        report: ReportPipe,
        recorder: &Recorder,
    ) -> io::Result<Self> {
        let [program, arguments @ ..] = &*spec.vmm else {
            return Err(io::Error::other("the launch file names no program"));
        };
        let mut command = StdCommand::new(program);
        command
            .args(arguments)
            .env_clear()
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let heard = spec.jailed.then(|| {
            passed.push(report.passed);
            report.heard
        });
        sys::bind_child(&mut command, passed);
        let mut child = Command::from(command).spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start `{program}`: {error}"))
        })?;
        let (Some(pid), Some(stdout), Some(stderr)) = (
            child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)),
            child.stdout.take(),
            child.stderr.take(),
        ) else {
            return Err(io::Error::other(format!("`{program}` was started without pipes")));
        };
        let told = heard.map(jailed::listen).transpose()?.unwrap_or_default();
        for (wall, reason) in told.missing {
            recorder.log(format_args!("the VMM is without {}: {reason}", wall.as_str()));
        }
        let beside = told.started.filter(|started| Some(started.vmm) != child.id());
        let (processes, pid) = match beside {
            // What was started is done with; the runtime reaps it.
            Some(started) => {
                let number = i32::try_from(started.vmm).ok().and_then(Pid::from_raw);
                (Processes::Jailed(Jailed::take(started)?), number.unwrap_or(pid))
            }
            None => (Processes::Child(child), pid),
        };
        let recorder = recorder.clone();
        Ok(Self {
            processes,
            pid,
            console: tokio::spawn(copy_console(stdout, recorder)),
            stderr: tokio::spawn(keep_tail(stderr)),
            killed: false,
        })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills it and everything it may have started.
    pub(super) fn kill(&mut self) {
        self.killed = true;
        match &self.processes {
            // The child leads its own group and is not reaped yet, so the number is its own. An
            // error means that it is gone already.
            Processes::Child(_) => {
                let _ = kill_process_group(self.pid, Signal::KILL);
            }
            Processes::Jailed(jailed) => jailed.kill(),
        }
    }

    /// Waits for its end. Cancel-safe.
    ///
    /// # Errors
    /// When the kernel cannot say how it ended.
    pub(super) async fn ended(&mut self) -> io::Result<std::process::ExitStatus> {
        match &mut self.processes {
            Processes::Child(child) => child.wait().await,
            Processes::Jailed(jailed) => jailed.ended().await,
        }
    }

    /// Reads what it has left in its pipes and tells how it ended.
    pub(super) async fn into_exit(self, status: io::Result<std::process::ExitStatus>) -> VmmExit {
        let drained = async {
            let (_, stderr) = tokio::join!(self.console, self.stderr);
            stderr.unwrap_or_default()
        };
        let stderr = tokio::time::timeout(DRAIN_DEADLINE, drained).await.unwrap_or_default();
        let status = status.ok();
        VmmExit {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            killed: self.killed,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

async fn copy_console(mut console: impl AsyncRead + Unpin, recorder: Recorder) {
    let mut buffer = vec![0; CONSOLE_CHUNK];
    while let Ok(n @ 1..) = console.read(&mut buffer).await {
        recorder.console(&buffer[..n]);
    }
}

async fn keep_tail(mut stderr: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut tail = Vec::with_capacity(2 * STDERR_TAIL);
    let mut buffer = [0; STDERR_TAIL];
    while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
        tail.extend_from_slice(&buffer[..n]);
        tail.drain(..tail.len().saturating_sub(STDERR_TAIL));
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_tail_of_stderr_is_kept() {
        let text: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
        assert_eq!(keep_tail(&text[..]).await, text[10_000 - STDERR_TAIL..]);
        assert_eq!(keep_tail(&b"short"[..]).await, b"short");
    }
}
