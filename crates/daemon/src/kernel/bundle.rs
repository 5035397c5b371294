//! Packing a kernel for publishing: what an import would make of it, in a bundle.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use banger_proto::Problem;
use banger_proto::api::ModulesFrom;
use banger_rootfs::bundle::write_bundle;
use banger_rootfs::digest::render_hex;
use tempfile::{NamedTempFile, TempDir};

use super::KernelError;
use super::error::ImportError;
use super::import::{Form, Import, observe_form, take_deb, take_kernel};
use super::index::{LOADABLE, MANIFEST, MODULES, VMLINUX};
use super::manifest::Manifest;
use super::parts::write_parts;

/// A kernel to pack.
#[derive(Debug, Clone)]
pub struct BundleRequest {
    /// An ELF `vmlinux`, a bzImage or a Debian package.
    pub kernel: PathBuf,
    /// Its modules: a directory or a `modules.cpio`; absent for the package's.
    pub modules: Option<PathBuf>,
    /// Its configuration; absent for the package's, or what the kernel carries.
    pub config: Option<PathBuf>,
    /// Distribution that its source comes from.
    pub distro: String,
    /// One line about it.
    pub description: String,
}

/// Packs a kernel as the bundle `out`; its SHA-256, hexadecimal, and its length in bytes. The bundle
/// is there whole or not at all.
///
/// # Errors
/// When the kernel cannot be taken, or `out` cannot be written.
pub fn make_bundle(request: BundleRequest, out: &Path) -> Result<(String, u64), Problem> {
    Ok(pack(request, out)?)
}

fn pack(request: BundleRequest, out: &Path) -> Result<(String, u64), KernelError> {
    let beside = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let work = TempDir::new_in(beside)?;
    let modules = request.modules.map(|path| path.display().to_string());
    let import = Import {
        name: String::new(),
        file: request.kernel,
        modules: modules.map_or(ModulesFrom::Package, ModulesFrom::Path),
        config: request.config,
        description: Some(request.description),
        force: false,
    };
    let mut parts = match observe_form(&import.file)? {
        Form::Kernel => take_kernel(&import, work.path())?,
        Form::Deb => take_deb(&import, &work.path().join("package.tar"), work.path())?,
        Form::Bundle => {
            return Err(KernelError::Import { path: import.file, source: ImportError::Whole });
        }
    };
    parts.manifest.distro = request.distro;
    let kernel = work.path().join("kernel");
    write_parts(&parts, &kernel)?;
    let files = [MANIFEST, VMLINUX, MODULES, LOADABLE].map(|name| (name, kernel.join(name)));
    Manifest::parse(&fs_err::read(&files[0].1)?, &files[0].1)?;
    let members: Vec<(&str, &Path)> = files
        .iter()
        .filter(|(_, path)| path.exists())
        .map(|(name, path)| (*name, path.as_path()))
        .collect();
    let mut file = NamedTempFile::new_in(beside)?;
    let written = write_bundle(&members, &mut file)
        .map_err(|source| KernelError::Bundle { name: parts.manifest.version, source })?;
    // It is made to be read by everybody; temporary files are not.
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(out).map_err(|error| io::Error::other(format!("{}: {error}", out.display())))?;
    Ok((render_hex(&written.sha256), written.size))
}
