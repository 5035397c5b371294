//! Finding what a home's VMs left: processes by their environment or arguments, and files.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// A process that belongs to a home.
pub(crate) struct Process {
    pid: i32,
    /// Its pid and arguments.
    pub(crate) line: String,
}

/// Processes whose arguments or environment name `home`, this one excluded.
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
        .filter(|(_, proc)| names_home(&proc.join("cmdline")) || names_home(&proc.join("environ")))
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
