//! VMMs as their supervisors have them: the same for every kind of VMM.
//!
//! | module | responsible for |
//! |---|---|
//! | `jail` | what of the host's files a VMM finds |
//! | `launch` | starting a supervisor, so that a start given up half-way leaves nothing |
//! | `handle` | a VM that runs, through its supervisor's sockets |
//! | `leftovers` | what an earlier life of the daemon left: adopting and cleaning |

mod handle;
mod jail;
mod launch;
mod leftovers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_proto::supervisor::{LinkTransport, VmmControl};
use banger_proto::{Paths, VmId};

pub(super) use self::jail::script_firmware;
use super::{Found, HypervisorError, RunningVm, VmmSpec};
use crate::step::Walk;

/// What supervisors are started with.
#[derive(Debug, Clone)]
pub struct Supervision {
    /// Where VMs are.
    pub paths: Paths,
    /// The supervisor's program.
    pub program: PathBuf,
    /// The program that makes jails for VMMs; where there is none, they are started without one.
    pub helper: Option<PathBuf>,
    /// Socket of the helper that gives each supervisor a scope of its own, where the daemon is a
    /// service of the system.
    pub scope_helper: Option<PathBuf>,
}

/// How a VMM is started, spoken to and controlled.
#[derive(Debug)]
pub(super) struct Invocation {
    /// Program and arguments.
    pub(super) command: Vec<String>,
    /// Where the guest link is.
    pub(super) link: LinkTransport,
    /// How it is controlled.
    pub(super) control: VmmControl,
    /// Name of the pipe in the VM's runtime directory to which it writes its metrics.
    pub(super) metrics: Option<String>,
    /// Bytes of its guest's memory, if it finds that in a file.
    pub(super) memory: Option<u64>,
    /// What it reads.
    pub(super) files: Vec<RuntimeFile>,
}

/// A path in what is JSON, or a command line.
///
/// # Errors
/// When it is no text.
pub(super) fn text(path: &Path) -> Result<&str, HypervisorError> {
    path.to_str()
        .ok_or_else(|| HypervisorError::new(format!("path `{}` is not UTF-8", path.display())))
}

/// A file in a VM's runtime directory, this user's alone.
#[derive(Debug)]
pub(super) struct RuntimeFile {
    /// Its name.
    pub(super) name: String,
    /// What is in it.
    pub(super) content: Content,
}

/// What a file in a VM's runtime directory is.
#[derive(Debug)]
pub(super) enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A symbolic link to this.
    Link(PathBuf),
}

impl Supervision {
    /// Starts a supervisor with the VMM of `spec`; returns once that answers.
    ///
    /// # Errors
    /// When it does not. Nothing is left then.
    pub(super) async fn launch(
        &self,
        spec: &VmmSpec,
        invocation: Invocation,
        walk: &Walk,
    ) -> Result<Arc<dyn RunningVm>, HypervisorError> {
        Ok(Arc::new(launch::launch(self, spec, invocation, walk).await?))
    }

    /// Looks for the VM's supervisor.
    ///
    /// # Errors
    /// When nobody can tell whether there is one.
    pub(super) async fn adopt(&self, vm: &VmId) -> Result<Found, HypervisorError> {
        leftovers::adopt(&self.paths.vm_runtime_dir(vm), vm).await
    }

    /// Removes the runtime directory of a VM that does not run.
    ///
    /// # Errors
    /// When it runs, or the directory cannot be removed.
    pub(super) async fn clean(&self, vm: &VmId) -> Result<(), HypervisorError> {
        leftovers::clean(&self.paths.vm_runtime_dir(vm), vm).await
    }
}
