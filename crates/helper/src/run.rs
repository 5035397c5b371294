//! The role that becomes a VMM: in the jail that is described, in the namespaces that there are. It gives
//! up everything that being inside would give a program, and executes it. Descriptors and environment stay.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{getppid, parent_process_death_signal, set_parent_process_death_signal};

use crate::jail::{self, JailError, Side};
use crate::namespace::{self, Entrance, NamespaceError};
use crate::privileges::give_up_all;

/// Why the program was not executed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The namespaces.
    #[error("cannot get to where the network is")]
    Namespace(#[from] NamespaceError),
    /// The jail.
    #[error(transparent)]
    Jail(#[from] JailError),
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

/// Where the program is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confines {
    /// In namespaces that there are, with the same process id.
    Namespaces(Entrance),
    /// In a jail, in namespaces that there are or in new ones.
    Jail {
        /// The file with its description ([`banger_proto::jail::JailSpec`]).
        description: PathBuf,
        /// The namespaces that there are.
        entrance: Option<Entrance>,
    },
}

/// Becomes the program, or has another process become it that belongs to the same parent. Returns only where
/// it cannot, and in the process that is not it.
///
/// # Errors
///
/// Nothing was executed.
pub fn run(confines: &Confines, program: &OsStr, arguments: &[OsString]) -> Result<(), RunError> {
    match confines {
        Confines::Namespaces(entrance) => enter_bare(entrance)?,
        Confines::Jail { description, entrance } => {
            match jail::enter(description, entrance.as_ref())? {
                Side::Starter => return Ok(()),
                Side::Vmm => {}
            }
        }
    }
    let error = Command::new(program).args(arguments).exec();
    Err(RunError::Execute(program.to_owned(), error))
}

fn enter_bare(entrance: &Entrance) -> Result<(), RunError> {
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
    Ok(())
}
