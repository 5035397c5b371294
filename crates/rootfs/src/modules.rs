//! Which kernel modules a guest needs to boot, and in which order they load.
//!
//! What a module needs stands in the module itself (its `.modinfo` section), so that packages
//! that were unpacked and never installed, which have no `modules.dep` yet, are enough.
//!
//! Not responsible for where modules come from; that is a [`ModuleSource`]. Nor for those that
//! programs ask for when the guest runs; that is [`crate::modules_image`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};

use crate::cpio::CpioWriter;
use crate::decompress::{Compression, DecompressError};
use crate::modinfo::ModInfo;

/// Largest module that is taken, in bytes. The largest of a distribution has some 10 MB.
const MAX_MODULE: usize = 64 << 20;

/// Name of the list of what is built in, in a directory of modules.
pub(crate) const MODULES_BUILTIN: &str = "modules.builtin";
/// Endings of modules' files.
const SUFFIXES: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// A module that a guest may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its name, with underscores only.
    pub name: &'static str,
    /// The option of the kernel's configuration that makes it, without `CONFIG_`.
    pub option: &'static str,
}

/// What a guest needs from a kernel to boot and to be spoken to, in the order of need: disks,
/// file systems, the guest link, the network, the return of memory.
pub const WANTED: [Wanted; 12] = [
    Wanted { name: "virtio_mmio", option: "VIRTIO_MMIO" },
    Wanted { name: "virtio_pci", option: "VIRTIO_PCI" },
    Wanted { name: "virtio_blk", option: "VIRTIO_BLK" },
    Wanted { name: "ext4", option: "EXT4_FS" },
    Wanted { name: "overlay", option: "OVERLAY_FS" },
    Wanted { name: "virtio_console", option: "VIRTIO_CONSOLE" },
    Wanted { name: "rng_core", option: "HW_RANDOM" },
    Wanted { name: "virtio_rng", option: "HW_RANDOM_VIRTIO" },
    Wanted { name: "virtio_net", option: "VIRTIO_NET" },
    Wanted { name: "vsock", option: "VSOCKETS" },
    Wanted { name: "vmw_vsock_virtio_transport", option: "VIRTIO_VSOCKETS" },
    Wanted { name: "virtio_balloon", option: "VIRTIO_BALLOON" },
];

/// Why modules cannot be taken along.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A module that is neither built in nor there.
    #[error("the kernel lacks `{name}`{}", needed_by(.by.as_deref()))]
    Missing {
        /// Name of the module.
        name: String,
        /// The module that needs it; absent when the guest does.
        by: Option<String>,
    },
    /// A module that cannot be read.
    #[error("cannot read the module `{name}`")]
    Read {
        /// Name of the module.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A module that cannot be decompressed.
    #[error("cannot read the module `{name}`")]
    Decompress {
        /// Name of the module.
        name: String,
        /// Why.
        #[source]
        source: DecompressError,
    },
    /// A file that is no module.
    #[error("`{name}` is no kernel module of this machine")]
    NotModule {
        /// Name of the module.
        name: String,
    },
}

fn needed_by(by: Option<&str>) -> String {
    by.map(|by| format!(", which `{by}` needs")).unwrap_or_default()
}

/// Where modules come from. Names have underscores only.
pub trait ModuleSource {
    /// Whether the kernel has `name` without any module.
    fn is_builtin(&self, name: &str) -> bool;

    /// The file of the module `name`, possibly compressed; `None` when it is not there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// All modules by name: their files' paths below the directory of modules.
    fn paths(&self) -> BTreeMap<String, String>;

    /// The file `file` that lies in the directory of modules itself; `None` when it is not there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    fn beside(&mut self, file: &str) -> io::Result<Option<Vec<u8>>>;
}

/// A module to take along.
#[derive(Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores only.
    pub name: String,
    /// The file, not compressed.
    pub contents: Vec<u8>,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.name)
            .field("bytes", &self.contents.len())
            .finish()
    }
}

/// Takes `wanted` and all they need from `source`, in an order in which they can be loaded.
/// What is built into the kernel is left out.
///
/// # Errors
/// When one is missing, unreadable or no module.
pub fn collect_modules(
    source: &mut impl ModuleSource,
    wanted: &[&str],
) -> Result<Vec<Module>, ModulesError> {
    let mut taken = Vec::new();
    let mut seen = BTreeSet::new();
    for name in wanted {
        take(source, &normalise(name), None, &mut seen, &mut taken)?;
    }
    Ok(taken)
}

/// Like [`collect_modules`], for a kernel of which nobody knows what it was built with: of `wanted`
/// only what is there.
///
/// # Errors
/// When one is there and unreadable or no module, or needs one that is not there.
pub fn collect_available(
    source: &mut impl ModuleSource,
    wanted: &[&str],
) -> Result<Vec<Module>, ModulesError> {
    let mut there = Vec::new();
    for name in wanted {
        let found = source
            .read(&normalise(name))
            .map_err(|source| ModulesError::Read { name: (*name).to_owned(), source })?;
        there.extend(found.map(|_| *name));
    }
    collect_modules(source, &there)
}

fn take(
    source: &mut impl ModuleSource,
    name: &str,
    by: Option<&str>,
    seen: &mut BTreeSet<String>,
    taken: &mut Vec<Module>,
) -> Result<(), ModulesError> {
    // Marked before what it needs is looked at: modules that need each other end here.
    if source.is_builtin(name) || !seen.insert(name.to_owned()) {
        return Ok(());
    }
    let (contents, info) = read_module(source, name)?.ok_or_else(|| ModulesError::Missing {
        name: name.to_owned(),
        by: by.map(str::to_owned),
    })?;
    for needed in &info.depends {
        take(source, needed, Some(name), seen, taken)?;
    }
    for helpful in info.before() {
        match take(source, &helpful, Some(name), seen, taken) {
            // Modules only ask for these; an alias or nothing at all is common.
            Err(ModulesError::Missing { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    taken.push(Module { name: name.to_owned(), contents });
    Ok(())
}

/// The module `name`, decompressed, and what it says about itself; `None` when it is not there.
pub(crate) fn read_module(
    source: &mut impl ModuleSource,
    name: &str,
) -> Result<Option<(Vec<u8>, ModInfo)>, ModulesError> {
    let name = || name.to_owned();
    let file =
        source.read(&name()).map_err(|source| ModulesError::Read { name: name(), source })?;
    let Some(file) = file else { return Ok(None) };
    let contents = match Compression::of(&file) {
        Some(compression) => compression
            .decompress(&file, MAX_MODULE)
            .map_err(|source| ModulesError::Decompress { name: name(), source })?,
        None => file,
    };
    match ModInfo::parse(&contents) {
        Some(info) => Ok(Some((contents, info))),
        None => Err(ModulesError::NotModule { name: name() }),
    }
}

/// The modules among `files`, paths below the directory of modules, by name. Of two for one module
/// that is taken which somebody put beside the kernel's own, as `depmod` does.
pub(crate) fn index_modules<T>(
    files: impl Iterator<Item = (String, T)>,
) -> BTreeMap<String, (String, T)> {
    let mut files: Vec<(String, T)> = files.collect();
    files.sort_by_cached_key(|(path, _)| (!path.starts_with("kernel/"), path.clone()));
    let named = files.into_iter().filter_map(|(path, place)| {
        let name = module_name(path.rsplit('/').next()?)?;
        Some((name, (path, place)))
    });
    named.collect()
}

/// Modules are called with hyphens and underscores alike; the kernel means underscores.
pub(crate) fn normalise(name: &str) -> String {
    name.replace('-', "_")
}

/// Name of the module in a file called `file`; `None` when that is no module's name.
pub(crate) fn module_name(file: &str) -> Option<String> {
    SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix)).map(normalise)
}

/// The modules in the text of a [`MODULES_BUILTIN`], which has a path a line.
pub(crate) fn parse_builtin(list: &str) -> BTreeSet<String> {
    list.lines().filter_map(|line| module_name(line.rsplit('/').next().unwrap_or(line))).collect()
}

/// Writes the part of an initramfs that holds `modules`: `modules/NAME.ko` and
/// `modules/load.list`, which names the files in the order in which they load.
///
/// # Errors
/// When writing fails.
pub fn write_modules_cpio(modules: &[Module], to: impl Write) -> io::Result<()> {
    let mut cpio = CpioWriter::new(to);
    cpio.directory("modules", 0o755)?;
    let mut list = String::new();
    for module in modules {
        let file = format!("{}.ko", module.name);
        cpio.file(&format!("modules/{file}"), 0o644, &module.contents)?;
        list.push_str(&file);
        list.push('\n');
    }
    cpio.file("modules/load.list", 0o644, list.as_bytes())?;
    cpio.finish().map(drop)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::modinfo::tests::module;

    #[derive(Default)]
    pub(crate) struct Source {
        pub(crate) builtin: Vec<&'static str>,
        pub(crate) files: BTreeMap<&'static str, Vec<u8>>,
        pub(crate) beside: BTreeMap<&'static str, &'static str>,
    }

    impl ModuleSource for Source {
        fn is_builtin(&self, name: &str) -> bool {
            self.builtin.contains(&name)
        }

        fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
            let file = self.files.iter().find(|(path, _)| {
                let file = path.rsplit('/').next().unwrap();
                file == name || module_name(file).as_deref() == Some(name)
            });
            Ok(file.map(|(_, contents)| contents.clone()))
        }

        fn paths(&self) -> BTreeMap<String, String> {
            let files = self.files.keys().map(|path| (path.to_string(), ()));
            index_modules(files).into_iter().map(|(name, (path, ()))| (name, path)).collect()
        }

        fn beside(&mut self, file: &str) -> io::Result<Option<Vec<u8>>> {
            Ok(self.beside.get(file).map(|text| text.as_bytes().to_vec()))
        }
    }

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let mut source = Source { builtin: vec!["ext4"], ..Source::default() };
        source.files.insert("virtio", module("depends=virtio_ring\0name=virtio\0"));
        source.files.insert("virtio_ring", module("depends=\0"));
        let blk = module("license=GPL\0depends=virtio,virtio-ring\0");
        source.files.insert("virtio_blk", zstd::encode_all(&blk[..], 1).unwrap());
        source.files.insert("net", module("depends=virtio\0softdep=pre: crc nope post: late\0"));
        source.files.insert("crc", module("depends=\0"));
        let modules = collect_modules(&mut source, &["ext4", "virtio-blk", "net"]).unwrap();
        assert_eq!(names(&modules), ["virtio_ring", "virtio", "virtio_blk", "crc", "net"]);
        assert_eq!(modules[2].contents, blk);
    }

    #[test]
    fn circles_end() {
        let mut source = Source::default();
        source.files.insert("a", module("depends=b\0"));
        source.files.insert("b", module("depends=a\0"));
        assert_eq!(names(&collect_modules(&mut source, &["a"]).unwrap()), ["b", "a"]);
    }

    #[test]
    fn of_an_unknown_kernel_what_is_there_is_taken() {
        let mut source = Source::default();
        source.files.insert("virtio_blk", module("depends=virtio\0"));
        source.files.insert("virtio", module("depends=\0"));
        let modules = collect_available(&mut source, &["ext4", "virtio_blk"]).unwrap();
        assert_eq!(names(&modules), ["virtio", "virtio_blk"]);
        source.files.remove("virtio");
        let error = collect_available(&mut source, &["virtio_blk"]).unwrap_err().to_string();
        assert_eq!(error, "the kernel lacks `virtio`, which `virtio_blk` needs");
    }

    #[test]
    fn missing_ones_are_named() {
        let mut source = Source::default();
        let why = |source: &mut Source, name: &str| {
            collect_modules(source, &[name]).unwrap_err().to_string()
        };
        assert_eq!(why(&mut source, "overlay"), "the kernel lacks `overlay`");
        source.files.insert("a", module("depends=b\0"));
        assert_eq!(why(&mut source, "a"), "the kernel lacks `b`, which `a` needs");
        source.files.insert("c", b"\x7fELF but no more".to_vec());
        assert_eq!(why(&mut source, "c"), "`c` is no kernel module of this machine");
    }
}
