//! The files of a VM: what lies in its state directory, and their removal.
//!
//! Only files that banger made are removed, one by one; a directory into which somebody put a
//! file of their own stays.

use std::io;
use std::path::{Path, PathBuf};

use banger_proto::{Paths, VmId};

use crate::hypervisor::SAVES;
use crate::snapshot::{SNAPSHOTS, Shelf};
use crate::ssh::HOST_KEY;
use crate::supervise::{METRICS_LOG, SUPERVISOR_LOG};
use crate::workspace::home::SCRATCH;

const DISK: &str = "writable.ext4";
const CONSOLE: &str = "console.log";
/// A directory that is all banger's.
const WORKSPACE: &str = "workspace";
/// Everything banger and its supervisor write there.
const OURS: &[&str] = &[
    DISK,
    "writable.new",
    CONSOLE,
    "console.log.1",
    SUPERVISOR_LOG,
    "supervisor.log.1",
    METRICS_LOG,
    "metrics.log.1",
    HOST_KEY,
];

/// The writable disk.
pub(crate) fn disk(paths: &Paths, vm: &VmId) -> PathBuf {
    paths.vm_state_dir(vm).join(DISK)
}

/// What is known of the workspace that was brought in.
pub(crate) fn workspace(paths: &Paths, vm: &VmId) -> PathBuf {
    paths.vm_state_dir(vm).join(WORKSPACE)
}

/// The console log.
pub(crate) fn console_log(paths: &Paths, vm: &VmId) -> PathBuf {
    paths.vm_state_dir(vm).join(CONSOLE)
}

/// Makes the state directory, for this user only.
pub(crate) fn ensure_state_dir(paths: &Paths, vm: &VmId) -> io::Result<()> {
    crate::private::ensure_dir(&paths.vm_state_dir(vm))
}

/// Removes the VM's disk, logs and state directory. Done twice, it is done once.
pub(crate) fn remove_state_dir(paths: &Paths, vm: &VmId) -> io::Result<()> {
    let dir = paths.vm_state_dir(vm);
    let removed: Vec<_> = OURS.iter().map(|name| remove_file(&dir.join(name))).collect();
    let workspace = remove_dir_all(&dir.join(WORKSPACE));
    let saves = remove_dir_all(&dir.join(SAVES));
    let unfinished = remove_dir_all(&dir.join(WORKSPACE).with_extension("new"));
    let snapshots = remove_dir_all(&dir.join(SNAPSHOTS));
    let emptied = remove_dir_if_empty(&dir);
    removed.into_iter().chain([workspace, saves, unfinished, snapshots, emptied]).collect()
}

/// Removes what requests about the VM's workspace and its snapshots made for themselves and a kill left
/// there. Not while there may be such requests.
pub(crate) fn remove_scratch(paths: &Paths, vm: &VmId) -> io::Result<()> {
    let swept = Shelf::of(paths, vm).sweep();
    let workspace = workspace(paths, vm);
    let entries = match fs_err::read_dir(&workspace) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return swept,
        entries => entries?,
    };
    let removed: Vec<_> = entries
        .map(|entry| {
            let entry = entry?;
            let is_scratch = entry.file_name().to_string_lossy().starts_with(SCRATCH);
            if is_scratch { remove_dir_all(&entry.path()) } else { Ok(()) }
        })
        .collect();
    removed.into_iter().chain([swept]).collect()
}

/// Removes a directory unless something is in it.
pub(crate) fn remove_dir_if_empty(dir: &Path) -> io::Result<()> {
    match fs_err::remove_dir(dir) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// The VMs that have a directory under `dir`; entries that are no ids are not ours.
pub(crate) fn observe_vm_dirs(dir: &Path) -> io::Result<Vec<VmId>> {
    let entries = match fs_err::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    names
        .filter_map(|name| match name {
            Ok(name) => name.to_str()?.parse().ok().map(Ok),
            Err(error) => Some(Err(error)),
        })
        .collect()
}

fn remove_dir_all(path: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_goes_and_the_record_stays() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().to_str().unwrap().to_owned();
        let paths =
            Paths::from_env(|name| (name == "HOME").then(|| home.clone()), 0, false).unwrap();
        let vm: VmId = "0123456789ab".parse().unwrap();
        remove_scratch(&paths, &vm).unwrap();
        let workspace = workspace(&paths, &vm);
        for directory in ["current/objects", "home-a1b2c3/objects/aa", "home-", "new-a1b2c3"] {
            fs_err::create_dir_all(workspace.join(directory)).unwrap();
        }
        remove_scratch(&paths, &vm).unwrap();
        let left = fs_err::read_dir(&workspace).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["current", "new-a1b2c3"]);
    }

    #[test]
    fn a_users_file_keeps_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().to_str().unwrap().to_owned();
        let paths =
            Paths::from_env(|name| (name == "HOME").then(|| home.clone()), 0, false).unwrap();
        let vm: VmId = "0123456789ab".parse().unwrap();
        ensure_state_dir(&paths, &vm).unwrap();
        let dir = paths.vm_state_dir(&vm);
        for name in OURS {
            fs_err::write(dir.join(name), "").unwrap();
        }
        fs_err::create_dir_all(workspace(&paths, &vm).join("current/objects")).unwrap();
        fs_err::write(dir.join("notes.txt"), "mine").unwrap();
        fs_err::write(dir.parent().unwrap().join("README"), "").unwrap();
        assert_eq!(observe_vm_dirs(dir.parent().unwrap()).unwrap(), std::slice::from_ref(&vm));
        remove_state_dir(&paths, &vm).unwrap();
        assert!(!disk(&paths, &vm).exists() && !workspace(&paths, &vm).exists());
        assert!(dir.join("notes.txt").exists());
        fs_err::remove_file(dir.join("notes.txt")).unwrap();
        remove_state_dir(&paths, &vm).unwrap();
        remove_state_dir(&paths, &vm).unwrap();
        assert!(!dir.exists());
    }
}
