//! The role that keeps the namespaces there: a process that does nothing, so that everything else can die
//! and come back. Until it is told to stay ([`KEEP`]), it ends with whoever started it. It needs nothing,
//! so it has nothing: no capabilities, no descriptors, no terminal.

use std::io::{self, Read, Write};

use banger_proto::helper::{Held, HolderReport, KEEP};
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{DumpableBehavior, getpid, set_dumpable_behavior, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::namespace::{self, Entrance, NamespaceError};
use crate::{privileges, sys};

/// Why nothing is held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// There are no namespaces.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// Something on the way to sleep.
    #[error("cannot {0}")]
    Settle(&'static str, #[source] io::Error),
}

/// Makes or enters the namespaces, says so, and sleeps until it is killed.
///
/// # Errors
///
/// It holds nothing; that has been said on standard output, too.
pub fn hold(entrance: Option<&Entrance>) -> Result<(), HoldError> {
    let settled = settle(entrance);
    let report = match &settled {
        Ok(held) => HolderReport::Holds(*held),
        Err(error) => {
            HolderReport::Failed { failed: error.to_string(), causes: crate::causes(error) }
        }
    };
    let word = serde_json::to_string(&report);
    let word = word.map_err(|error| HoldError::Settle("write the answer", error.into()))?;
    // Whoever has gone meanwhile will find the process by other means, or kill it.
    let _ = writeln!(io::stdout(), "{word}");
    settled?;
    close_output().map_err(|error| HoldError::Settle("close the output", error))?;
    if !is_kept() {
        return Ok(());
    }
    let _ = close_everything();
    loop {
        nix::unistd::pause();
    }
}

fn settle(entrance: Option<&Entrance>) -> Result<Held, HoldError> {
    let failed = |what| move |error: io::Error| HoldError::Settle(what, error);
    match entrance {
        Some(entrance) => namespace::enter(entrance)?,
        None => namespace::create()?,
    }
    // One that leads a group of processes already cannot; its terminal's signals do not reach it either.
    let _ = setsid();
    let mut ignored = SigSet::empty();
    // Blocked is as good as ignored for one that never lets them through again.
    ignored.add(Signal::SIGHUP);
    ignored.add(Signal::SIGPIPE);
    ignored.thread_block().map_err(|errno| HoldError::Settle("block signals", errno.into()))?;
    privileges::give_up_all()
        .map_err(|errno| HoldError::Settle("give up capabilities", errno.into()))?;
    // The kernel shows `/proc/PID/ns` of no other process to the user.
    set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(|errno| HoldError::Settle("stay visible", errno.into()))?;
    // A folder that somebody wants to unmount is not held.
    std::env::set_current_dir("/").map_err(failed("leave the folder"))?;
    let (userns_inode, netns_inode) =
        namespace::observe_inodes().map_err(failed("look at the namespaces"))?;
    let stat = fs_err::read_to_string("/proc/self/stat").map_err(failed("look at itself"))?;
    let start_time = parse_start_time(&stat)
        .ok_or_else(|| HoldError::Settle("look at itself", io::ErrorKind::InvalidData.into()))?;
    let pid = getpid().as_raw_nonzero().get().unsigned_abs();
    Ok(Held { pid, start_time, userns_inode, netns_inode })
}

/// The end of the answer.
fn close_output() -> io::Result<()> {
    Ok(dup2_stdout(fs_err::OpenOptions::new().write(true).open("/dev/null")?)?)
}

/// Whether whoever started it has noted that, and so will find it again.
fn is_kept() -> bool {
    let mut word = [0; KEEP.len()];
    io::stdin().read_exact(&mut word).is_ok() && word == *KEEP
}

/// Nothing that the process was started with stays open because of it.
fn close_everything() -> io::Result<()> {
    let null = fs_err::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    // The next call closes it with the rest.
    let (file, _) = null.into_parts();
    std::mem::forget(file);
    sys::close_from(3)
}

/// Field 22 of `/proc/PID/stat`. The second, the name, may have spaces and parentheses in it.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_start() {
        let fields = "S 1 2 3 0 -1 4194560 91 0 0 0 0 0 0 0 20 0 1 0 8412345 2527232 200 184";
        assert_eq!(parse_start_time(&format!("42 (a) b) {fields}")), Some(8_412_345));
        assert_eq!(parse_start_time("42 (a"), None);
        assert_eq!(parse_start_time("42 (a) S 1"), None);
    }
}
