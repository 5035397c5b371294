//! The processes of a VMM in a jail: who they are, as the helper tells that was started to make them
//! ([`banger_proto::jail`]), their end, and ending them.

use std::io::{self, BufRead, BufReader, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use banger_proto::jail::{JailReport, Wall};
use rustix::io::{DupFlags, dup3};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal,
    waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::sys::wait_on;

/// Where the helper reports.
#[derive(Debug)]
pub(super) struct ReportPipe {
    /// What it says.
    pub(super) heard: PipeReader,
    /// Its end, at the number that it knows.
    pub(super) passed: OwnedFd,
}

impl ReportPipe {
    /// Makes it, with the helper's end in place of `passed`.
    ///
    /// # Errors
    /// When descriptors cannot be had.
    pub(super) fn make(mut passed: OwnedFd) -> io::Result<Self> {
        let (heard, said) = io::pipe()?;
        dup3(&said, &mut passed, DupFlags::CLOEXEC)?;
        Ok(Self { heard, passed })
    }
}

/// What was told until the VMM's program began, or the helper gave up.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The processes, if there are any.
    pub(super) started: Option<Started>,
    /// What of the jail the host does not let be, and why.
    pub(super) missing: Vec<(Wall, String)>,
}

/// Numbers of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Started {
    /// The VMM.
    pub(super) vmm: u32,
    /// The first of its namespace.
    pub(super) init: Option<u32>,
}

/// Waits until all is told. It takes milliseconds, and the daemon ends a supervisor whose helper hangs.
///
/// # Errors
/// When something else is told.
pub(super) fn listen(pipe: impl io::Read) -> io::Result<Told> {
    let mut told = Told::default();
    for line in BufReader::new(pipe).lines() {
        match serde_json::from_str(&line?)? {
            JailReport::Started { vmm, init } => told.started = Some(Started { vmm, init }),
            JailReport::Without { wall, reason } => told.missing.push((wall, reason)),
        }
    }
    Ok(told)
}

/// The processes. Both are this process's children, which nobody else waits for.
#[derive(Debug)]
pub(super) struct Jailed {
    vmm: Process,
    /// Until it has ended.
    init: Option<Process>,
    /// How the VMM ended, once it has.
    status: Option<ExitStatus>,
}

impl Jailed {
    /// Takes them over.
    ///
    /// # Errors
    /// When the kernel gives no handle on them.
    pub(super) fn take(started: Started) -> io::Result<Self> {
        let init = started.init.map(Process::open).transpose()?;
        Ok(Self { vmm: Process::open(started.vmm)?, init, status: None })
    }

    /// Kills all in the namespace. An error means that they are gone already.
    pub(super) fn kill(&self) {
        for process in self.init.iter().chain([&self.vmm]) {
            let _ = process.kill();
        }
    }

    /// Waits for the VMM's end, and ends the other. Cancel-safe.
    ///
    /// # Errors
    /// When the kernel cannot say how it ended.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = match self.status {
            Some(status) => status,
            None => *self.status.insert(self.vmm.ended().await?),
        };
        // It can end only now: the kernel keeps the first until nobody is left to be waited for.
        if let Some(init) = &self.init {
            let _ = init.kill();
            init.ended().await?;
            self.init = None;
        }
        Ok(status)
    }
}

/// A child of this process.
#[derive(Debug)]
struct Process(AsyncFd<OwnedFd>);

impl Process {
    fn open(number: u32) -> io::Result<Self> {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other(format!("{number} is no process id")))?;
        wait_on(pidfd_open(pid, PidfdFlags::NONBLOCK)?, Interest::READABLE).map(Self)
    }

    fn kill(&self) -> rustix::io::Result<()> {
        pidfd_send_signal(self.0.get_ref(), Signal::KILL)
    }

    async fn ended(&self) -> io::Result<ExitStatus> {
        self.0.readable().await?.retain_ready();
        let status = waitid(WaitId::PidFd(self.0.get_ref().as_fd()), WaitIdOptions::EXITED)?;
        Ok(exit_status(status.as_ref()))
    }
}

/// The same in the words of the standard library, which has the kernel's older ones.
fn exit_status(status: Option<&WaitIdStatus>) -> ExitStatus {
    const CORE_DUMPED: i32 = 0x80;
    let code = status.and_then(|status| status.exit_status()).map(|code| (code & 0xff) << 8);
    let signal = status.and_then(|status| {
        let dumped = if status.dumped() { CORE_DUMPED } else { 0 };
        Some(status.terminating_signal()? | dumped)
    });
    ExitStatus::from_raw(code.or(signal).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_there_is_and_what_is_missed() {
        let told = listen(
            &b"{\"started\":{\"vmm\":7,\"init\":6}}\n\
               {\"without\":{\"wall\":\"landlock\",\"reason\":\"none\"}}\n"[..],
        )
        .unwrap();
        assert_eq!(told.started, Some(Started { vmm: 7, init: Some(6) }));
        assert_eq!(told.missing, [(Wall::Landlock, "none".to_owned())]);
        assert_eq!(listen(&b""[..]).unwrap().started, None);
        listen(&b"{}\n"[..]).unwrap_err();
    }

    #[tokio::test]
    #[expect(clippy::zombie_processes, reason = "what is tested waits for them")]
    async fn the_first_ends_after_the_vmm_has() {
        for (script, code, signal) in [("exit 3", Some(3), None), ("kill -6 $$", None, Some(6))] {
            let start = |words: &[&str]| {
                let child = std::process::Command::new("sh").args(words).spawn().unwrap();
                child.id()
            };
            let init = start(&["-c", "exec sleep 1000"]);
            let vmm = start(&["-c", script]);
            let mut jailed = Jailed::take(Started { vmm, init: Some(init) }).unwrap();
            for _ in 0..2 {
                let status = jailed.ended().await.unwrap();
                assert_eq!((status.code(), status.signal()), (code, signal));
            }
            assert!(!std::path::Path::new(&format!("/proc/{init}")).exists());
        }
    }
}
