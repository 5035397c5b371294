//! Why a kernel cannot be found, used or had.

use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::{Code, Problem};
use banger_rootfs::bundle::BundleError;
use banger_rootfs::cpio::CpioError;
use banger_rootfs::deb::DebError;
use banger_rootfs::decompress::DecompressError;
use banger_rootfs::kernel_package::PackageError;
use banger_rootfs::modules_image::ModulesImageError;
use banger_rootfs::vmlinux::VmlinuxError;

use crate::artifact::Lost;
use crate::artifact::mmdebstrap::PackagingError;
use crate::catalog::CatalogError;
use crate::disk::NoSpace;
use crate::fetcher::FetchError;

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
    /// It can be had, or nobody knows it, but it is not here.
    #[error("kernel `{name}` is not here")]
    NotHere {
        /// The name that was asked for.
        name: String,
    },
    /// It is here and cannot run VMs of this host.
    #[error("kernel `{name}` cannot run a VM here: it lacks {}", .lacking.join(", "))]
    Unfit {
        /// The kernel.
        name: String,
        /// What it lacks.
        lacking: Vec<String>,
    },
    /// The kernel that a VM was made with is not there any more.
    #[error("the kernel that this VM was made with is gone: `{path}`")]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// A name that no kernel can have.
    #[error("`{0}` cannot be the name of a kernel")]
    Name(String),
    /// The name is taken.
    #[error("a kernel named `{0}` exists already")]
    Exists(String),
    /// VMs use it.
    #[error("kernel `{name}` is used by VM{} {}", if .vms.len() == 1 { "" } else { "s" }, .vms.join(", "))]
    InUse {
        /// The kernel.
        name: String,
        /// Names of the VMs.
        vms: Vec<String>,
    },
    /// A directory placed by hand with other files than a kernel's.
    #[error("kernel `{name}` was placed by hand, and `{file}` in `{path}` is no part of it")]
    Foreign {
        /// The kernel.
        name: String,
        /// Its directory.
        path: PathBuf,
        /// The other file.
        file: String,
    },
    /// The catalog in the program is broken.
    #[error("cannot read the catalog of kernels")]
    Catalog(#[from] CatalogError),
    /// A manifest is broken.
    #[error("cannot read the manifest `{path}`")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest holds something that no kernel has.
    #[error("the manifest `{path}` has an impossible `{field}`")]
    ManifestField {
        /// The file.
        path: PathBuf,
        /// Which field.
        field: &'static str,
    },
    /// What was to be imported cannot be.
    #[error("cannot import `{path}`")]
    Import {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ImportError,
    },
    /// A bundle cannot be used.
    #[error("cannot get kernel `{name}`")]
    Bundle {
        /// The kernel.
        name: String,
        /// Why.
        #[source]
        source: BundleError,
    },
    /// A bundle does not come over the network.
    #[error("cannot get kernel `{name}`")]
    Fetch {
        /// The kernel.
        name: String,
        /// Why.
        #[source]
        source: Box<FetchError>,
    },
    /// Nobody waits for the work any more.
    #[error("the work on kernel `{name}` was cancelled")]
    Cancelled {
        /// The kernel.
        name: String,
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
        source: ModulesImageError,
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

/// Why a file is not imported as a kernel.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is none of the forms a kernel comes in.
    #[error(
        "it is neither a kernel (ELF `vmlinux`, `bzImage`) nor a package (`.deb`) nor a bundle"
    )]
    Form,
    /// It is larger than any kernel.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// What it may have.
        limit: u64,
    },
    /// The kernel in it cannot be extracted.
    #[error("it holds no usable kernel")]
    Vmlinux(#[source] VmlinuxError),
    /// It does not tell its version.
    #[error("nothing in it tells the kernel's version")]
    Version,
    /// The package cannot be unpacked.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// The package does not hold one kernel.
    #[error("it holds {0} kernels, expected one")]
    Kernels(usize),
    /// The unpacked package cannot be read.
    #[error(transparent)]
    Package(PackageError),
    /// The modules cannot be taken.
    #[error("its modules cannot be used")]
    Modules(#[source] ModulesImageError),
    /// There is no module in the directory.
    #[error("there are no modules in `{0}`")]
    NoModules(PathBuf),
    /// The file with the configuration is none.
    #[error("`{0}` is no kernel configuration")]
    Config(PathBuf),
    /// The file with modules is none.
    #[error("`{path}` is no file of modules")]
    Cpio {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CpioError,
    },
    /// The archive does not say in which order its modules load.
    #[error("`{0}` has no `modules/load.list`")]
    NoLoadList(PathBuf),
    /// A bundle comes as a whole.
    #[error("a bundle brings its own modules and manifest: neither can be given beside it")]
    Whole,
}

impl From<PackageError> for ImportError {
    fn from(error: PackageError) -> Self {
        match error {
            // The archive is one that the user never saw.
            PackageError::Kernels { count, .. } => Self::Kernels(count),
            error => Self::Package(error),
        }
    }
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
        KernelError::NotHere { name } => Problem::from_error(Code::NotFound, error).hint(format!(
            "Get it: `banger kernel pull {name}`. All there are: `banger kernel list`."
        )),
        KernelError::Unfit { name, .. } => Problem::from_error(Code::OperationFailed, error)
            .hint("Use another kernel: `banger kernel list`, then `--kernel NAME`.")
            .hint(format!("What it was built with: `banger kernel show {name}`.")),
        KernelError::Gone { .. } => Problem::from_error(Code::OperationFailed, error)
            .hint("Delete the VM, and make it anew."),
        KernelError::Name(_) => Problem::from_error(Code::BadRequest, error).hint(
            "Names have lower-case letters, digits and `.-_`, and begin with a letter or digit.",
        ),
        KernelError::Exists(_) => Problem::from_error(Code::AlreadyExists, error)
            .hint("Replace it with `--force`; VMs keep the one they use."),
        KernelError::InUse { vms, .. } => Problem::from_error(Code::Conflict, error)
            .hint(format!("Delete what uses it: `banger vm delete {}`.", vms.join(" "))),
        KernelError::Foreign { path, .. } => Problem::from_error(Code::Conflict, error)
            .hint(format!("Move the file away, or remove `{}` by hand.", path.display())),
        KernelError::Import { source: ImportError::Kernels(0), .. } => {
            Problem::from_error(Code::BadRequest, error).hint(
                "A package like `linux-image-amd64` only names the one with the kernel, \
                 `linux-image-VERSION`: import that.",
            )
        }
        KernelError::Import { source: ImportError::Form, .. } => Problem::from_error(
            Code::BadRequest,
            error,
        )
        .hint(
            "A kernel's build leaves `vmlinux` at the top of its tree and `arch/x86/boot/bzImage`; \
                 a distribution's is `/boot/vmlinuz-VERSION`.",
        ),
        KernelError::Import {
            source: ImportError::Vmlinux(VmlinuxError::Decompress(DecompressError::Unsupported(_))),
            ..
        } => Problem::from_error(Code::BadRequest, error)
            .hint("Import the `vmlinux` of its build, which is not compressed."),
        KernelError::Import { .. } => Problem::from_error(Code::BadRequest, error),
        KernelError::Cancelled { .. } => Problem::from_error(Code::Cancelled, error),
        KernelError::Fetch { source, .. } => Problem::from_error(Code::OperationFailed, error)
            .hints(Problem::from(&**source).hints)
            .hint("Or download it by other means, then `banger kernel import NAME FILE`."),
        KernelError::Space { source, .. } => {
            Problem::from_error(Code::OperationFailed, error).hints(source.hints())
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
