//! Why a kernel cannot be found, used or had.

use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::{Code, Problem};
use banger_rootfs::kernel_package::PackageError;
use banger_rootfs::modules::ModulesError;
use banger_rootfs::vmlinux::VmlinuxError;

use crate::artifact::Lost;
use crate::artifact::mmdebstrap::PackagingError;
use crate::disk::NoSpace;

/// Why a kernel cannot be found, used or had.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Nobody knows it.
    #[error("unknown kernel `{name}`")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// A name like it.
        near: Option<String>,
        /// All names there are.
        known: Vec<String>,
    },
    /// It is here and no VM can run on it.
    #[error("kernel `{name}` cannot run a VM: it lacks {}", .lacking.join(", "))]
    Unfit {
        /// The kernel.
        name: String,
        /// What it lacks.
        lacking: Vec<String>,
    },
    /// The catalog in the program is broken.
    #[error("cannot read the catalog of kernels")]
    Catalog(#[source] serde_json::Error),
    /// The catalog in the program has another form.
    #[error("the catalog of kernels has the unknown version {0}")]
    CatalogVersion(u32),
    /// A manifest is broken.
    #[error("cannot read the manifest `{path}`")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is no room.
    #[error("cannot get kernel `{name}`")]
    Space {
        /// The kernel.
        name: String,
        /// What is needed and what there is.
        #[source]
        source: NoSpace,
    },
    /// The package could not be had.
    #[error("cannot get kernel `{name}`")]
    Packaging {
        /// The kernel.
        name: String,
        /// Why.
        #[source]
        source: PackagingError,
    },
    /// What was had is no kernel package.
    #[error("cannot get kernel `{name}`")]
    Package {
        /// The kernel.
        name: String,
        /// Why.
        #[source]
        source: PackageError,
    },
    /// The package's kernel has an unknown form.
    #[error("cannot get kernel `{name}`")]
    Vmlinux {
        /// The kernel.
        name: String,
        /// Why.
        #[source]
        source: VmlinuxError,
    },
    /// The package's modules cannot be used.
    #[error("cannot get kernel `{name}`")]
    Modules {
        /// The kernel.
        name: String,
        /// Why.
        #[source]
        source: ModulesError,
    },
    /// A file operation failed; the text says which.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// Work in the background vanished.
    #[error("cannot get kernel `{name}`")]
    Lost {
        /// The kernel.
        name: String,
        /// How.
        #[source]
        source: Lost,
    },
    /// The same failure for everybody who waited for one piece of work.
    #[error(transparent)]
    Shared(Arc<KernelError>),
}

impl From<KernelError> for Problem {
    fn from(error: KernelError) -> Self {
        render_problem(&error)
    }
}

fn render_problem(error: &KernelError) -> Problem {
    match error {
        KernelError::Shared(error) => render_problem(error),
        KernelError::Unknown { near, known, .. } => {
            let problem = Problem::from_error(Code::NotFound, error);
            let problem = match near {
                Some(near) => problem.hint(format!("Did you mean `{near}`?")),
                None => problem,
            };
            problem.hint(format!("Known kernels: {}.", known.join(", ")))
        }
        KernelError::Packaging { source, .. } => {
            let problem = Problem::from_error(Code::OperationFailed, error);
            match source.hint() {
                Some(hint) => problem.hint(hint),
                None => problem,
            }
        }
        _ => Problem::from_error(Code::OperationFailed, error),
    }
}
