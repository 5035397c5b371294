//! The pipe to whoever started the helper: what it is told, and whether it lives.

use std::fs::File;
use std::io::{self, Write};

use banger_proto::jail::{JailReport, REPORT_FD};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::sys::take_inherited;

/// The pipe.
#[derive(Debug)]
pub(super) struct Report(File);

impl Report {
    /// That at [`REPORT_FD`]. To be called once.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(super) fn take() -> io::Result<Self> {
        take_inherited(REPORT_FD).map(Self)
    }

    /// That on a pipe of this process.
    pub(super) fn on(pipe: io::PipeWriter) -> Self {
        Self(std::os::fd::OwnedFd::from(pipe).into())
    }

    /// Says one line.
    ///
    /// # Errors
    ///
    /// Nobody listens.
    pub(super) fn say(&self, report: &JailReport) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        // In one piece: lines of several processes are not mixed.
        (&self.0).write_all(&line)
    }

    /// Has this process end with its parent, which is who listens, from now on.
    ///
    /// Across the border of a process namespace no process sees its parent, so it cannot tell whether that
    /// has been another one all along. The pipe does: files are closed before children are told.
    ///
    /// # Errors
    ///
    /// The parent has ended already.
    pub(super) fn bind(&self) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let mut pipe = [PollFd::new(&self.0, PollFlags::OUT)];
        poll(&mut pipe, Some(&Timespec::default()))?;
        if pipe[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}
