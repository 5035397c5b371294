//! A kernel out of what a user has: an ELF `vmlinux`, a bzImage, a package or a bundle.
//!
//! ```text
//! ELF, bzImage ─▶ vmlinux ─┬─ version: the kernel's banner
//! .deb ─▶ tar ─▶ vmlinuz ──┤  options: --config, else the package's, else what the kernel carries
//!                          └─ modules: --modules, else the package's
//! .tar.zst ─▶ all of it
//! ```

use std::io::Read;
use std::path::{Path, PathBuf};

use banger_proto::api::ModulesFrom;
use banger_rootfs::cpio::list_files;
use banger_rootfs::deb::{is_deb, unpack_deb};
use banger_rootfs::decompress::Compression;
use banger_rootfs::kernel_facts::{find_config, find_version};
use banger_rootfs::kernel_package::KernelPackage;
use banger_rootfs::modules_dir::ModulesDir;
use banger_rootfs::vmlinux::{extract_vmlinux, is_kernel};

use super::KernelError;
use super::error::ImportError;
use super::features::{Features, parse_config};
use super::manifest::Manifest;
use super::parts::{ModulesPart, Parts, take_modules};

/// Largest kernel, configuration or file of modules that is read, in bytes.
const MAX_FILE: u64 = 512 << 20;
/// Bytes that tell the form of a file.
const START: u64 = 1024;
/// The directory of modules in the archive of them, and the list in it.
const LOAD_LIST: &[u8] = b"modules/load.list";

/// What is imported.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    /// Name of the new kernel.
    pub(crate) name: String,
    /// The file.
    pub(crate) file: PathBuf,
    /// Where its modules are.
    pub(crate) modules: ModulesFrom,
    /// Its configuration, where it is in a file of its own.
    pub(crate) config: Option<PathBuf>,
    /// One line about it.
    pub(crate) description: Option<String>,
    /// Whether it replaces one of that name.
    pub(crate) force: bool,
}

/// The forms a kernel comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `vmlinux` or bzImage.
    Kernel,
    /// A Debian package.
    Deb,
    /// A bundle.
    Bundle,
}

/// The form of `file`, by its first bytes.
///
/// # Errors
/// When it cannot be read, or is something else.
pub(super) fn observe_form(file: &Path) -> Result<Form, KernelError> {
    let mut start = Vec::new();
    fs_err::File::open(file)?.take(START).read_to_end(&mut start)?;
    if is_kernel(&start) {
        Ok(Form::Kernel)
    } else if is_deb(&start) {
        Ok(Form::Deb)
    } else if Compression::of(&start) == Some(Compression::Zstd) {
        Ok(Form::Bundle)
    } else {
        Err(failed(file)(ImportError::Form))
    }
}

/// The parts of the kernel in the file `vmlinux` or bzImage that `import` names, made in the directory
/// `work`.
///
/// # Errors
/// When it is no kernel, or what was given beside it cannot be used.
pub(super) fn take_kernel(import: &Import, work: &Path) -> Result<Parts, KernelError> {
    let failed = failed(&import.file);
    let vmlinux = extract_vmlinux(&load(&import.file)?)
        .map_err(|source| failed(ImportError::Vmlinux(source)))?;
    let version = find_version(&vmlinux).ok_or_else(|| failed(ImportError::Version))?;
    let features = given_features(import)?.or_else(|| carried_features(&vmlinux));
    let features = features.unwrap_or_default();
    let modules = given_modules(import, &version, &features, work)?.unwrap_or_default();
    Ok(assemble(import, vmlinux, version, features, modules))
}

/// The parts of the kernel in the package that `import` names, made in the directory `work`; `tar` is
/// a new file in it to unpack to.
///
/// # Errors
/// When it holds no kernel, or what was given beside it cannot be used.
pub(super) fn take_deb(import: &Import, tar: &Path, work: &Path) -> Result<Parts, KernelError> {
    let failed = failed(&import.file);
    unpack_deb(&import.file, tar).map_err(|source| failed(source.into()))?;
    let mut package = KernelPackage::open(tar).map_err(|source| failed(source.into()))?;
    let packed = package.kernel().map_err(|source| failed(source.into()))?;
    let vmlinux =
        extract_vmlinux(&packed).map_err(|source| failed(ImportError::Vmlinux(source)))?;
    let config = package.config().map_err(|source| failed(source.into()))?;
    let features = given_features(import)?
        .or_else(|| config.as_deref().and_then(parse_config))
        .or_else(|| carried_features(&vmlinux))
        .unwrap_or_default();
    let version = package.version().to_owned();
    let modules = match given_modules(import, &version, &features, work)? {
        Some(modules) => modules,
        None => take_modules(&mut package, &version, &features, work)
            .map_err(|source| failed(ImportError::Modules(source)))?,
    };
    Ok(assemble(import, vmlinux, version, features, modules))
}

fn assemble(
    import: &Import,
    vmlinux: Vec<u8>,
    version: String,
    features: Features,
    modules: ModulesPart,
) -> Parts {
    let from = import.file.file_name().unwrap_or(import.file.as_os_str()).to_string_lossy();
    // The name of a file may hold anything; a description is shown on terminals.
    let from: String = from.chars().filter(|c| !c.is_control()).take(100).collect();
    let described = import.description.clone();
    let manifest = Manifest {
        description: described.unwrap_or_else(|| format!("imported from {from}")),
        distro: String::new(),
        arch: "amd64".to_owned(),
        version,
        features,
        modules: modules.names,
        loadable_modules: modules.loadable_count,
    };
    Parts { vmlinux, modules: modules.cpio, loadable: modules.loadable, manifest }
}

fn given_features(import: &Import) -> Result<Option<Features>, KernelError> {
    let Some(config) = &import.config else { return Ok(None) };
    match parse_config(&String::from_utf8_lossy(&load(config)?)) {
        None => Err(failed(&import.file)(ImportError::Config(config.clone()))),
        features => Ok(features),
    }
}

fn carried_features(vmlinux: &[u8]) -> Option<Features> {
    find_config(vmlinux).and_then(|config| parse_config(&config))
}

/// The modules that were given beside the file; `None` for those that are in it.
fn given_modules(
    import: &Import,
    version: &str,
    features: &Features,
    work: &Path,
) -> Result<Option<ModulesPart>, KernelError> {
    let failed = failed(&import.file);
    let path = match &import.modules {
        ModulesFrom::Package => return Ok(None),
        ModulesFrom::None => return Ok(Some(ModulesPart::default())),
        ModulesFrom::Path(path) => Path::new(path),
    };
    if !fs_err::metadata(path)?.is_dir() {
        return given_cpio(path).map(Some).map_err(|error| match error {
            GivenError::File(error) => error,
            GivenError::Import(source) => failed(source),
        });
    }
    let mut source = ModulesDir::open(path)?;
    if source.is_empty() {
        return Err(failed(ImportError::NoModules(path.to_owned())));
    }
    let modules = take_modules(&mut source, version, features, work);
    modules.map(Some).map_err(|source| failed(ImportError::Modules(source)))
}

enum GivenError {
    File(KernelError),
    Import(ImportError),
}

impl From<KernelError> for GivenError {
    fn from(error: KernelError) -> Self {
        Self::File(error)
    }
}

impl From<ImportError> for GivenError {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

/// An archive of modules as it is: the agent loads what its list names.
fn given_cpio(path: &Path) -> Result<ModulesPart, GivenError> {
    let cpio = load(path)?;
    let files =
        list_files(&cpio).map_err(|source| ImportError::Cpio { path: path.to_owned(), source })?;
    let list = files.iter().find(|file| file.name == LOAD_LIST);
    let list = list.ok_or_else(|| ImportError::NoLoadList(path.to_owned()))?;
    let list = String::from_utf8_lossy(list.contents);
    let word = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let names = list.lines().filter_map(|line| line.trim().strip_suffix(".ko")).filter(word);
    let names = names.map(|name| name.replace('-', "_")).collect();
    Ok(ModulesPart { cpio: Some(cpio), names, ..ModulesPart::default() })
}

fn load(path: &Path) -> Result<Vec<u8>, KernelError> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failed(path)(ImportError::TooLarge { limit: MAX_FILE }));
    }
    Ok(bytes)
}

fn failed(path: &Path) -> impl Fn(ImportError) -> KernelError {
    let path = path.to_owned();
    move |source| KernelError::Import { path: path.clone(), source }
}
