//! A started command's process: waiting for its end, signalling its group, reaping it.
//!
//! The end is noticed through a pidfd while the process stays a zombie; it is reaped when the
//! value is dropped. So its number, which is also its group's, cannot be given to a stranger
//! while anybody here may still signal the group.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use banger_proto::guest::ExecExit;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::Interest;

use crate::sys::{self, Watched};

/// A child of the agent, leader of its own session and process group.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    pid: Pid,
    pidfd: Watched,
    ended: AtomicBool,
}

impl Child {
    /// Takes over a process that was just started.
    pub(super) fn new(mut process: std::process::Child) -> io::Result<Self> {
        let pid = Pid::from_child(&process);
        let watch = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(|fd| sys::watch(Arc::new(fd), Interest::READABLE));
        match watch {
            Ok(pidfd) => Ok(Self { process, pid, pidfd, ended: AtomicBool::new(false) }),
            Err(error) => {
                // Nobody could ever tell its end.
                let _ = process.kill();
                let _ = process.wait();
                Err(error)
            }
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for its end. May be asked again.
    pub(crate) async fn exited(&self) -> io::Result<ExecExit> {
        loop {
            let mut guard = self.pidfd.readable().await?;
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options)? {
                Some(status) => {
                    self.ended.store(true, Ordering::Relaxed);
                    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
                    return Ok(ExecExit {
                        code: status.exit_status().map(byte),
                        signal: status.terminating_signal().map(byte),
                    });
                }
                None => guard.clear_ready(),
            }
        }
    }

    /// Ends its coming before others.
    pub(super) fn calm(&self) {
        sys::calm(self.pid);
    }

    /// Sends a signal to the process alone. One that has ended already is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = rustix::process::kill_process(self.pid, signal);
    }

    /// Sends a signal to the whole process group. One that has ended already is no error.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let _ = rustix::process::kill_process_group(self.pid, signal);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Relaxed) {
            let _ = self.process.wait();
        } else {
            // Dropped in the middle, with the runtime: what still runs has no owner. It is not
            // waited for, since a process can take long to die; process 1 inherits it.
            self.signal_group(Signal::KILL);
            let _ = self.process.try_wait();
        }
    }
}
