//! Finding what a home's VMs left: processes by what names the home in them, and files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// A process that belongs to a home.
pub(crate) struct Process {
    pid: i32,
    /// Its pid and arguments.
    pub(crate) line: String,
}

/// Processes whose arguments, environment or mounts name `home`, this one excluded: a VMM in a jail may know no
/// file of the host's by its name, and sees those that it needs at their places.
pub(crate) fn processes(home: &Path) -> Vec<Process> {
    let needle = home.as_os_str().as_encoded_bytes();
    let own = std::process::id();
    let names_home = |path: &Path| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|part| part == needle))
    };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<i32>().ok()?, entry.path())))
        .filter(|(pid, _)| u32::try_from(*pid).is_ok_and(|pid| pid != own))
        .filter(|(_, proc)| {
            ["cmdline", "environ", "mountinfo"].iter().any(|file| names_home(&proc.join(file)))
        })
        .filter_map(|(pid, proc)| {
            let arguments = fs::read(proc.join("cmdline")).ok()?;
            let text = String::from_utf8_lossy(&arguments).replace('\0', " ");
            // A zombie has no arguments: it is its parent's to reap, and holds nothing.
            (!text.is_empty()).then(|| Process { pid, line: format!("{pid} {text}") })
        })
        .collect()
}

/// Kills the processes of a home.
pub(crate) fn end_processes(home: &Path) {
    for process in processes(home) {
        if let Some(pid) = Pid::from_raw(process.pid) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Kills the process `pid` and waits until it is gone, with everything that it held.
///
/// # Panics
/// When there is none, or it does not go within half a minute.
pub fn kill_and_wait(pid: i32) {
    let process = open_process(pid).expect("a process");
    pidfd_send_signal(&process, Signal::KILL).expect("kill");
    assert!(ends_within(&process, Duration::from_secs(30)), "process {pid} does not end");
}

/// Whether the process `pid` is gone, or goes within `patience`.
#[must_use]
pub fn is_gone_within(pid: i32, patience: Duration) -> bool {
    open_process(pid).is_none_or(|process| ends_within(&process, patience))
}

fn open_process(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

fn ends_within(process: &OwnedFd, patience: Duration) -> bool {
    let patience = Timespec::try_from(patience).expect("seconds");
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&patience)) == Ok(1)
}

/// Every file and directory under `dir`.
pub fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| {
            let mut found = vec![entry.path().display().to_string()];
            found.extend(files(&entry.path()));
            found
        })
        .collect()
}
