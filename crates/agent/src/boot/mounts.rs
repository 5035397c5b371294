//! Mounting, with errors that say what and where.

use std::ffi::CString;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags};

use super::BootError;

/// A mount of a file system.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mount<'a> {
    /// Type of the file system.
    pub(super) kind: &'a str,
    /// Device, or any word for file systems without one.
    pub(super) source: &'a str,
    /// Directory; made if it is missing.
    pub(super) target: &'a str,
    pub(super) flags: MountFlags,
    /// Options of the file system itself, comma-separated.
    pub(super) options: &'a str,
}

impl Mount<'_> {
    /// Mounts it.
    pub(super) fn mount(&self) -> Result<(), BootError> {
        let failed =
            |source| failed(format!("{} `{}`", self.kind, self.source), self.target, source);
        std::fs::create_dir_all(self.target).map_err(failed)?;
        let options = CString::new(self.options).map_err(|error| failed(error.into()))?;
        rustix::mount::mount(self.source, self.target, self.kind, self.flags, options.as_c_str())
            .map_err(|errno| failed(errno.into()))
    }
}

/// Shows the directory `source` at `target` too; with everything mounted below it if `deep`.
pub(super) fn bind(source: &Path, target: &Path, deep: bool) -> Result<(), BootError> {
    let bound = if deep {
        rustix::mount::mount_bind_recursive(source, target)
    } else {
        rustix::mount::mount_bind(source, target)
    };
    bound.map_err(|errno| {
        let what = format!("`{}`", source.display());
        failed(what, &target.display().to_string(), errno.into())
    })
}

/// Takes the mount at `target` and all below it out of sight. What is in use goes on existing
/// until it is not.
pub(super) fn detach(target: &Path) -> Result<(), BootError> {
    rustix::mount::unmount(target, UnmountFlags::DETACH)
        .map_err(|errno| failed("nothing".into(), &target.display().to_string(), errno.into()))
}

fn failed(what: String, target: &str, source: io::Error) -> BootError {
    BootError::Mount { what, target: target.to_owned(), source }
}
