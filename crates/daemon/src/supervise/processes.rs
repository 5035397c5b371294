//! Finding supervisors by looking at this host's processes: for those whose directory was taken
//! away from under them, which nobody reaches any more.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::SUPERVISOR_ROLE;
use super::identity::ProcessIdentity;

/// A supervisor's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Supervisor {
    /// The process. The kernel ends its VMM with it.
    pub(crate) process: ProcessIdentity,
    /// What it was started with, there or not.
    pub(crate) launch_file: PathBuf,
    /// Its own log, which tells whose it is; absent when the kernel does not tell.
    pub(crate) log: Option<PathBuf>,
}

/// The supervisors of this user.
///
/// # Errors
/// When the processes cannot be listed.
pub(crate) fn observe_supervisors() -> io::Result<Vec<Supervisor>> {
    let owner = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Those that end meanwhile are none.
        if entry.metadata().is_ok_and(|metadata| metadata.uid() == owner) {
            found.extend(observe(pid, &entry.path()));
        }
    }
    Ok(found)
}

fn observe(pid: u32, dir: &Path) -> Option<Supervisor> {
    let process = ProcessIdentity::observe(pid)?;
    let words = fs_err::read(dir.join("cmdline")).ok()?;
    let mut words = words.split(|byte| *byte == 0);
    if words.next()? != SUPERVISOR_ROLE.as_bytes() {
        return None;
    }
    let launch_file = Path::new(std::ffi::OsStr::from_bytes(words.next()?)).to_owned();
    let log = fs_err::read_link(dir.join("fd/1")).ok();
    // The number may have been used again while its files were read.
    (ProcessIdentity::observe(pid) == Some(process)).then_some(Supervisor {
        process,
        launch_file,
        log,
    })
}
