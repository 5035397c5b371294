//! The role that becomes a VMM inside the namespaces: it enters, gives up everything that being inside
//! would give a program, and executes it. Process id, descriptors and environment stay.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{getppid, parent_process_death_signal, set_parent_process_death_signal};

use crate::namespace::{self, Entrance, NamespaceError};
use crate::privileges::give_up_all;

/// Why the program was not executed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The namespaces.
    #[error("cannot get to where the network is")]
    Namespace(#[from] NamespaceError),
    /// Capabilities.
    #[error("cannot give up capabilities")]
    Privileges(#[source] io::Error),
    /// The signal that comes when the parent dies.
    #[error("cannot stay bound to the process that started this one")]
    Bind(#[source] io::Error),
    /// It has died already.
    #[error("the process that started this one has ended")]
    Orphan,
    /// The program.
    #[error("cannot execute `{}`", .0.display())]
    Execute(OsString, #[source] io::Error),
}

/// Becomes the program. Returns only when it cannot.
///
/// # Errors
///
/// Nothing was executed.
pub fn run(
    entrance: &Entrance,
    program: &OsStr,
    arguments: &[OsString],
) -> Result<Infallible, RunError> {
    let bind = |errno: rustix::io::Errno| RunError::Bind(errno.into());
    let parent = getppid();
    let signal = parent_process_death_signal().map_err(bind)?;
    namespace::enter(entrance)?;
    give_up_all().map_err(|errno| RunError::Privileges(errno.into()))?;
    if signal.is_some() {
        // The kernel forgets it where capabilities change hands.
        set_parent_process_death_signal(signal).map_err(bind)?;
        if getppid() != parent {
            return Err(RunError::Orphan);
        }
    }
    let error = Command::new(program).args(arguments).exec();
    Err(RunError::Execute(program.to_owned(), error))
}
