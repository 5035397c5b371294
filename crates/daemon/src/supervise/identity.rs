//! Telling a process from a later one with the same number, and what it uses.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;

use super::sys::wait_on;

/// A process: its number and when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// Clock ticks between the host's boot and its start.
    pub start: u64,
}

impl ProcessIdentity {
    /// The process that has this number now; `None` when there is none.
    #[must_use]
    pub fn observe(pid: u32) -> Option<Self> {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, start: parse_start_time(&stat)? })
    }

    /// Whether it runs. One that has ended and whose parent has not noticed yet does not.
    #[must_use]
    pub fn is_running(self) -> bool {
        // Anybody may read this file of any process. What else could tell, its namespaces or its
        // program, is not shown of those that protect themselves, as pasta does.
        fs_err::read_to_string(format!("/proc/{}/stat", self.pid)).is_ok_and(|stat| {
            parse_start_time(&stat) == Some(self.start)
                && !matches!(parse_state(&stat), Some("Z" | "X"))
        })
    }

    /// What the process has used so far; `None` when it is gone.
    #[must_use]
    pub fn usage(self) -> Option<ProcessUse> {
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // One text for both, so that it is this process's use.
        let (ticks, pages) =
            parse_use(&stat).filter(|_| parse_start_time(&stat) == Some(self.start))?;
        Some(ProcessUse {
            cpu_ms: ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second(),
            rss: pages.saturating_mul(rustix::param::page_size() as u64),
        })
    }

    /// Waits until the process is gone; at once if it is already.
    ///
    /// # Errors
    /// When the kernel gives no handle on it.
    pub(crate) async fn gone(self) -> io::Result<()> {
        match self.open()? {
            Some(handle) => wait_for_end(handle).await,
            None => Ok(()),
        }
    }

    /// Kills the process, if it still is this one, and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel refuses a handle on it or the signal.
    pub(crate) async fn end(self) -> io::Result<()> {
        let Some(handle) = self.open()? else { return Ok(()) };
        match pidfd_send_signal(&handle, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => wait_for_end(handle).await,
            Err(error) => Err(error.into()),
        }
    }

    /// A handle on the process, if it still is this one.
    fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let handle = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(handle) => handle,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Looked at after the handle was taken: what the handle names can no longer change.
        Ok((Self::observe(self.pid) == Some(self)).then_some(handle))
    }
}

async fn wait_for_end(handle: OwnedFd) -> io::Result<()> {
    wait_on(handle, Interest::READABLE)?.readable().await?.retain_ready();
    Ok(())
}

/// What a process has used, all its threads together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUse {
    /// Processor time since it started, in milliseconds, in the kernel's and its own code.
    pub cpu_ms: u64,
    /// Bytes it has in RAM.
    pub rss: u64,
}

/// Clock ticks of processor time (fields 14 and 15) and pages in RAM (field 24), counted like
/// [`parse_start_time`].
fn parse_use(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some((number(14)?.checked_add(number(15)?)?, number(24)?))
}

/// State (field 3), counted like [`parse_start_time`]: `Z` and `X` are those of one that has ended.
fn parse_state(stat: &str) -> Option<&str> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().next()
}

/// Start time (field 22) in the text of `/proc/PID/stat`, in clock ticks after boot.
///
/// Field 2 is the program's name in parentheses, which may itself hold spaces and parentheses;
/// counting starts behind the last of them.
fn parse_start_time(stat: &str) -> Option<u64> {
    const FIELDS_BETWEEN_NAME_AND_START: usize = 19;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(FIELDS_BETWEEN_NAME_AND_START)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_move_the_fields() {
        let stat = "7 (a) R 1 (b) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 424242 9 9";
        assert_eq!(parse_start_time(stat), Some(424_242));
        assert_eq!(parse_start_time("7 (a"), None);
        assert_eq!(parse_start_time("7 (a) R 1"), None);
    }

    #[test]
    fn use_is_that_of_this_process() {
        let stat = "7 (a) R 1 (b) S 1 7 7 0 -1 4194304 1 2 3 4 50 6 7 8 20 0 1 0 424242 9 99 1";
        assert_eq!(parse_use(stat), Some((56, 99)));
        assert_eq!(parse_use("7 (a) R 1"), None);

        let own = ProcessIdentity::observe(std::process::id()).unwrap();
        assert!(own.usage().unwrap().rss > 0);
        assert_eq!(ProcessIdentity { start: own.start + 1, ..own }.usage(), None);
    }

    #[tokio::test]
    async fn ends_only_the_process_that_was_meant() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let identity = ProcessIdentity::observe(child.id()).unwrap();
        let reused = ProcessIdentity { start: identity.start + 1, ..identity };
        reused.end().await.unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        assert!(identity.is_running() && !reused.is_running());

        identity.end().await.unwrap();
        // Its parent has not asked for it: it is seen, and does not run.
        assert_eq!(ProcessIdentity::observe(identity.pid), Some(identity));
        assert!(!identity.is_running());
        identity.gone().await.unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        identity.end().await.unwrap();
    }
}
