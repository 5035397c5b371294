//! The process's surroundings, read once at the start and handed down as values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use banger_proto::paths::{PathsError, system_runtime_dir};
use banger_proto::{Paths, env};
use jiff::Timestamp;

use crate::errors::CliError;

/// Variable by which a shell asks for completion; a contract of `clap_complete`, not of banger.
pub(crate) const COMPLETE: &str = "COMPLETE";

/// What the process was started with.
#[derive(Debug)]
pub(crate) struct Environment {
    /// The command line, the program's name first.
    pub(crate) args: Vec<OsString>,
    /// Directories of this user's banger.
    pub(crate) paths: Result<Paths, PathsError>,
    /// Working directory.
    pub(crate) cwd: io::Result<PathBuf>,
    /// This program's file, also after it was replaced.
    pub(crate) exe: io::Result<PathBuf>,
    /// The user, as the kernel numbers them.
    pub(crate) uid: u32,
    /// Who called `sudo`, if somebody did.
    pub(crate) sudo_uid: Option<String>,
    /// Whether `NO_COLOR` is set to anything.
    pub(crate) no_color: bool,
    /// Terminal type.
    pub(crate) term: Option<String>,
    /// Whether a shell asks for completion.
    pub(crate) completing: bool,
    /// Where releases are, instead of what is built in.
    pub(crate) releases: Option<String>,
    /// The file of the key that they are signed with, instead of what is built in.
    pub(crate) release_key: Option<PathBuf>,
    /// When the process started, for ages.
    pub(crate) now: Timestamp,
}

impl Environment {
    /// The working directory, for what is named relative to it.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub(crate) fn require_cwd(&self) -> Result<&Path, CliError> {
        let cwd = self.cwd.as_deref();
        cwd.map_err(|error| CliError::failure("cannot tell the working directory").because(error))
    }

    /// Reads it all.
    pub(crate) fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let uid = rustix::process::getuid().as_raw();
        Self {
            args: std::env::args_os().collect(),
            paths: Paths::from_env(text, uid, is_serviced(uid)),
            cwd: std::env::current_dir(),
            exe: std::env::current_exe(),
            uid,
            sudo_uid: text(env::SUDO_UID),
            no_color: std::env::var_os(env::NO_COLOR).is_some_and(|value| !value.is_empty()),
            term: text(env::TERM),
            completing: text(COMPLETE).is_some_and(|value| value != "0"),
            releases: text(env::BANGER_RELEASES),
            release_key: text(env::BANGER_RELEASE_KEY).map(PathBuf::from),
            now: Timestamp::now(),
        }
    }

    /// Says why this cannot be done, unless root does it.
    ///
    /// # Errors
    /// When somebody else does.
    pub(crate) fn require_root(&self, command: &str) -> Result<(), CliError> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(CliError::failure("only root changes services of the system")
            .hint(format!("sudo {command}")))
    }

    /// Whether the terminal can move its cursor.
    pub(crate) fn can_animate(&self) -> bool {
        self.term.as_deref().is_some_and(|term| term != "dumb")
    }
}

/// All variables that are text, for a program that stands for another one.
pub(crate) fn variables() -> BTreeMap<String, String> {
    let text = |variable: OsString| variable.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// Whether the daemon of this user is a service of the system.
fn is_serviced(uid: u32) -> bool {
    std::fs::symlink_metadata(system_runtime_dir(uid))
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == uid)
}
