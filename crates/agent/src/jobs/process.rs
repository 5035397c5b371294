//! The process of a job: a child of this agent, or one that an earlier agent started.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use banger_proto::guest::JobState;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tokio::io::Interest;

use crate::exec::Child;
use crate::sys::{self, Watched};

/// Leader of a process group of its own.
#[derive(Debug)]
pub(super) enum Process {
    /// This agent's child.
    Own(Child),
    /// That of an agent that was killed: its end can be seen, but not how it was.
    Adopted {
        /// Its process id.
        pid: Pid,
        /// What tells its end, and that the number is still its.
        pidfd: Watched,
    },
}

impl Process {
    /// The process `pid`, unless it has ended or is another one than was started then: `ticks` as
    /// from [`start_ticks`].
    pub(super) fn adopt(pid: u32, ticks: u64) -> Option<Self> {
        let pid = Pid::from_raw(pid.try_into().ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Only now: the number cannot be given to another while the descriptor is open.
        (start_ticks(pid.as_raw_nonzero().get().unsigned_abs())? == ticks).then_some(())?;
        let pidfd = sys::watch(Arc::new(pidfd), Interest::READABLE).ok()?;
        Some(Self::Adopted { pid, pidfd })
    }

    /// Waits for its end. May be asked again.
    pub(super) async fn ended(&self) -> JobState {
        match self {
            Self::Own(child) => match child.exited().await {
                Ok(exit) => JobState::Exited { code: exit.code, signal: exit.signal },
                Err(_) => JobState::Lost,
            },
            Self::Adopted { pidfd, .. } => {
                // What cannot be waited for any more is as good as ended.
                let _ = pidfd.readable().await;
                JobState::Lost
            }
        }
    }

    /// Sends a signal to the whole process group. One that has ended already is no error.
    pub(super) fn signal_group(&self, signal: Signal) {
        match self {
            Self::Own(child) => child.signal_group(signal),
            Self::Adopted { pid, pidfd } => {
                let mut waiting = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
                let ended: io::Result<_> =
                    poll(&mut waiting, Some(&Timespec::default())).map_err(io::Error::from);
                if matches!(ended, Ok(0)) {
                    let _ = rustix::process::kill_process_group(*pid, signal);
                }
            }
        }
    }
}

/// When the process was started, in clock ticks since the kernel was: what tells two processes of
/// one number apart. None when there is none.
pub(super) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_ticks(&stat)
}

/// Field 22 of proc_pid_stat(5). The name before it may hold anything, spaces and brackets too.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_confuse() {
        let rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_start_ticks(&format!("7 (a) b (c){rest}")), Some(4242));
        assert_eq!(parse_start_ticks("7 (a) S 1"), None);
    }

    #[tokio::test]
    async fn another_process_of_the_number_is_not_adopted() {
        let own = std::process::id();
        let ticks = start_ticks(own).unwrap();
        assert!(Process::adopt(own, ticks).is_some());
        assert!(Process::adopt(own, ticks + 1).is_none());
        assert!(Process::adopt(0, ticks).is_none());
    }
}
