//! A program that has this process's terminal for a while, as if it had been started by the shell.
//!
//! ```text
//!   shell ── job ──┬─ banger: waits ◀── stopped, ended
//!                  └─ program      ◀── keys: Ctrl-C, Ctrl-Z; and HUP, TERM from banger
//! ```
//!
//! The two are one job. What is typed reaches the program, and what ends a process by its number
//! is passed on. A program that stops (`~^Z` of ssh) stops banger, which is what the shell waits
//! for, and goes on with it.

use std::io;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, waitpid};
use tokio::signal::unix::{SignalKind, signal};

use crate::signals::{self, Signals};

/// Runs the program to its end; its exit code, or 128 and the number of the signal that ended it.
///
/// Stopping works on the main thread only, so the runtime has to be there.
///
/// # Errors
/// When it cannot be started, or not be waited for.
pub(crate) async fn run(mut program: Command, signals: &mut Signals) -> io::Result<u8> {
    let mut changes = signal(SignalKind::child())?;
    let pid = Pid::from_child(&program.spawn()?);
    loop {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        if let Some((_, status)) = waitpid(Some(pid), options)? {
            if let Some(code) = exit_code(status) {
                return Ok(code);
            }
            // Goes on from here when the shell continues the job.
            kill_process(getpid(), Signal::STOP)?;
            kill_process(pid, Signal::CONT)?;
            continue;
        }
        tokio::select! {
            _ = changes.recv() => {}
            number = signals.next() => pass_on(pid, number),
        }
    }
}

fn exit_code(status: WaitStatus) -> Option<u8> {
    let signalled = || status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or_else(signalled)?;
    Some(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Those that a terminal sends have reached the program already.
fn pass_on(pid: Pid, number: signals::Number) {
    for signal in [Signal::HUP, Signal::TERM] {
        if signal.as_raw() == i32::from(number) {
            // One that has ended meanwhile is waited for next.
            let _ = kill_process(pid, signal);
        }
    }
}
