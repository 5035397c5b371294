//! Finding kernel, configuration and modules in the tar of an unpacked kernel package.
//!
//! The layout is the one all large distributions share: `boot/vmlinuz-VERSION`,
//! `boot/config-VERSION` and `lib/modules/VERSION/`, the latter possibly under `usr/`. Nothing
//! is unpacked: the archive is indexed once, and single files are read from where they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::modules::{MODULES_BUILTIN, ModuleSource, index_modules, parse_builtin};

/// Largest kernel, configuration or module that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// Why a package cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The archive cannot be read.
    #[error("cannot read `{archive}`")]
    Read {
        /// Its path.
        archive: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no kernel in it, or more than one.
    #[error("`{archive}` holds {count} kernels, expected one")]
    Kernels {
        /// Its path.
        archive: PathBuf,
        /// How many there are.
        count: usize,
    },
}

/// Where a file lies in the archive.
#[derive(Debug, Clone, Copy)]
struct Extent {
    offset: u64,
    size: u64,
}

/// An indexed package.
#[derive(Debug)]
pub struct KernelPackage {
    archive: PathBuf,
    file: fs_err::File,
    version: String,
    kernel: Extent,
    files: BTreeMap<String, Extent>,
    /// By name, the path below the directory of modules and where it lies.
    modules: BTreeMap<String, (String, Extent)>,
    builtin: BTreeSet<String>,
}

impl KernelPackage {
    /// Indexes the tar file at `archive`.
    ///
    /// # Errors
    /// When it cannot be read or does not hold exactly one kernel.
    pub fn open(archive: &Path) -> Result<Self, PackageError> {
        let read = |source| PackageError::Read { archive: archive.to_owned(), source };
        let files = index(archive).map_err(read)?;
        let kernels: Vec<(&str, Extent)> = files
            .iter()
            .filter_map(|(name, extent)| Some((name.strip_prefix("boot/vmlinuz-")?, *extent)))
            .collect();
        let [(version, kernel)] = kernels[..] else {
            return Err(PackageError::Kernels {
                archive: archive.to_owned(),
                count: kernels.len(),
            });
        };
        let version = version.to_owned();
        let prefix = format!("lib/modules/{version}/");
        let modules =
            index_modules(files.iter().filter_map(|(name, extent)| {
                Some((name.strip_prefix(&prefix)?.to_owned(), *extent))
            }));
        let file = fs_err::File::open(archive).map_err(read)?;
        let mut package = Self {
            archive: archive.to_owned(),
            file,
            version,
            kernel,
            files,
            modules,
            builtin: BTreeSet::new(),
        };
        // A kernel that was built without modules has no such list.
        let list = package.text(&format!("{prefix}{MODULES_BUILTIN}"))?;
        package.builtin = parse_builtin(&list.unwrap_or_default());
        Ok(package)
    }

    /// The kernel's version, as `uname -r` gives it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The kernel as it is packaged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn kernel(&mut self) -> Result<Vec<u8>, PackageError> {
        self.bytes(self.kernel)
            .map_err(|source| PackageError::Read { archive: self.archive.clone(), source })
    }

    /// The kernel's configuration, lines of `CONFIG_NAME=value`; `None` when it is not packaged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn config(&mut self) -> Result<Option<String>, PackageError> {
        self.text(&format!("boot/config-{}", self.version))
    }

    /// Whether there are modules in it.
    #[must_use]
    pub fn has_modules(&self) -> bool {
        !self.modules.is_empty()
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, PackageError> {
        let Some(extent) = self.files.get(name).copied() else { return Ok(None) };
        let bytes = self
            .bytes(extent)
            .map_err(|source| PackageError::Read { archive: self.archive.clone(), source })?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn bytes(&mut self, extent: Extent) -> io::Result<Vec<u8>> {
        if extent.size > MAX_FILE {
            return Err(io::Error::other(format!("a file of {} bytes is too large", extent.size)));
        }
        self.file.seek(SeekFrom::Start(extent.offset))?;
        let mut bytes = Vec::new();
        (&mut self.file).take(extent.size).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).ok() == Some(extent.size) {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

impl ModuleSource for KernelPackage {
    fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(name)
    }

    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let extent = self.modules.get(name).map(|(_, extent)| *extent);
        extent.map(|extent| self.bytes(extent)).transpose()
    }

    fn paths(&self) -> BTreeMap<String, String> {
        self.modules.iter().map(|(name, (path, _))| (name.clone(), path.clone())).collect()
    }

    fn beside(&mut self, file: &str) -> io::Result<Option<Vec<u8>>> {
        let extent = self.files.get(&format!("lib/modules/{}/{file}", self.version)).copied();
        extent.map(|extent| self.bytes(extent)).transpose()
    }
}

/// Regular files by their name without `./` and `usr/`.
fn index(archive: &Path) -> io::Result<BTreeMap<String, Extent>> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(fs_err::File::open(archive)?);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path_bytes();
        let name = String::from_utf8_lossy(&name);
        let name = name.trim_start_matches("./").trim_start_matches('/');
        let name = name
            .strip_prefix("usr/lib/modules/")
            .map_or_else(|| name.to_owned(), |rest| format!("lib/modules/{rest}"));
        files.insert(name, Extent { offset: entry.raw_file_position(), size: entry.size() });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(files: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("package.tar");
        let mut builder = tar::Builder::new(fs_err::File::create(&path).unwrap());
        for (name, contents) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, format!("./{name}"), *contents).unwrap();
        }
        builder.finish().unwrap();
        (place, path)
    }

    #[test]
    fn finds_what_a_kernel_is_made_of() {
        let (_place, path) = package(&[
            ("boot/vmlinuz-6.1.0-1", b"kernel"),
            ("boot/config-6.1.0-1", b"CONFIG_EXT4_FS=y\n"),
            ("usr/lib/modules/6.1.0-1/kernel/net/virtio-net.ko.xz", b"net"),
            ("usr/lib/modules/6.1.0-1/modules.builtin", b"kernel/fs/ext4/ext4.ko\n"),
            ("usr/share/doc/x", b""),
        ]);
        let mut package = KernelPackage::open(&path).unwrap();
        assert_eq!(package.version(), "6.1.0-1");
        assert_eq!(package.kernel().unwrap(), b"kernel");
        assert_eq!(package.config().unwrap().as_deref(), Some("CONFIG_EXT4_FS=y\n"));
        assert!(package.has_modules());
        assert_eq!(package.read("virtio_net").unwrap().unwrap(), b"net");
        assert!(package.read("virtio_blk").unwrap().is_none());
        assert!(package.is_builtin("ext4"));
    }

    #[test]
    fn a_kernel_without_modules_and_configuration_is_a_kernel() {
        let (_place, path) = package(&[("boot/vmlinuz-1", b"")]);
        let mut package = KernelPackage::open(&path).unwrap();
        assert_eq!(package.config().unwrap(), None);
        assert!(!package.has_modules() && !package.is_builtin("ext4"));
    }

    #[test]
    fn wants_exactly_one_kernel() {
        let (_place, path) = package(&[("boot/vmlinuz-1", b""), ("boot/vmlinuz-2", b"")]);
        let error = KernelPackage::open(&path).unwrap_err().to_string();
        assert!(error.ends_with("holds 2 kernels, expected one"), "{error}");
    }
}
