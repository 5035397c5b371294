//! Which Firecracker a program is: asked once, and again when the file has changed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::exec::{HostEnv, Version, ask_version};
use crate::file_stamp::FileStamp;

/// What it says before its version.
pub(crate) const BEFORE_VERSION: &str = "Firecracker v";

/// The version of the program that was asked last.
#[derive(Debug, Default)]
pub(in crate::hypervisor) struct KnownVersion {
    last: Mutex<Option<(PathBuf, FileStamp, Version)>>,
}

impl KnownVersion {
    /// That of `program`; `None` when it does not tell.
    pub(super) async fn of(&self, program: &Path, env: &HostEnv) -> Option<Version> {
        let before = FileStamp::observe(program).ok()?;
        if let Some((path, stamp, version)) = &*self.lock()
            && path == program
            && *stamp == before
        {
            return Some(*version);
        }
        let (_, version) = ask_version(env, program, BEFORE_VERSION).await.ok()??;
        if before.is_settled(SystemTime::now()) {
            *self.lock() = Some((program.to_owned(), before, version));
        }
        Some(version)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(PathBuf, FileStamp, Version)>> {
        // Nobody panics while holding it.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
