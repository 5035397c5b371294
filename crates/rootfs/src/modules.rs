//! Which kernel modules to take along, and in which order they load.
//!
//! What a module needs stands in the module itself (its `.modinfo` section), so that packages
//! that were unpacked and never installed, which have no `modules.dep` yet, are enough.
//!
//! Not responsible for where modules come from; that is a [`ModuleSource`].

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};

use object::LittleEndian;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};

use crate::cpio::CpioWriter;
use crate::decompress::{Compression, DecompressError};

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
/// file systems, the guest link, the network.
pub const WANTED: [Wanted; 11] = [
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
    let file = source
        .read(name)
        .map_err(|source| ModulesError::Read { name: name.to_owned(), source })?
        .ok_or_else(|| ModulesError::Missing {
            name: name.to_owned(),
            by: by.map(str::to_owned),
        })?;
    let contents = match Compression::of(&file) {
        Some(compression) => compression
            .decompress(&file, MAX_MODULE)
            .map_err(|source| ModulesError::Decompress { name: name.to_owned(), source })?,
        None => file,
    };
    let needs =
        parse_needs(&contents).ok_or_else(|| ModulesError::NotModule { name: name.to_owned() })?;
    for needed in &needs.depends {
        take(source, needed, Some(name), seen, taken)?;
    }
    for helpful in &needs.before {
        match take(source, helpful, Some(name), seen, taken) {
            // Modules only ask for these; an alias or nothing at all is common.
            Err(ModulesError::Missing { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    taken.push(Module { name: name.to_owned(), contents });
    Ok(())
}

/// What a module says it needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    /// Modules whose symbols it uses.
    depends: Vec<String>,
    /// Modules it would like to be loaded before it.
    before: Vec<String>,
}

/// Reads a module's `.modinfo`: `key=value` texts, each ended by a NUL.
fn parse_needs(module: &[u8]) -> Option<Needs> {
    let header = FileHeader64::<LittleEndian>::parse(module).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, module).ok()?;
    let (_, section) = sections.section_by_name(endian, b".modinfo")?;
    let mut needs = Needs::default();
    for text in section.data(endian, module).ok()?.split(|&byte| byte == 0) {
        let Some((key, value)) = str::from_utf8(text).ok().and_then(|text| text.split_once('='))
        else {
            continue;
        };
        match key {
            "depends" => {
                let names = value.split(',').filter(|name| !name.is_empty());
                needs.depends.extend(names.map(normalise));
            }
            "softdep" => {
                // `pre: a b post: c`
                let names = value.split_whitespace().skip_while(|word| *word != "pre:").skip(1);
                needs.before.extend(names.take_while(|word| *word != "post:").map(normalise));
            }
            _ => {}
        }
    }
    Some(needs)
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
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A relocatable ELF file with nothing but a `.modinfo`.
    fn module(modinfo: &str) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let data_at = 64_u64;
        let names_at = data_at + modinfo.len() as u64;
        let sections_at = (names_at + names.len() as u64).next_multiple_of(8);
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([1, 0, 62, 0, 1, 0, 0, 0]);
        file.extend([0; 16]);
        file.extend(sections_at.to_le_bytes());
        file.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        file.extend(modinfo.as_bytes());
        file.extend(names);
        file.resize(usize::try_from(sections_at).unwrap(), 0);
        file.extend([0; 64]);
        let sections = [(1_u32, 1_u32, data_at, modinfo.len()), (10, 3, names_at, names.len())];
        for (name, kind, at, len) in sections {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend([0; 16]);
            file.extend(at.to_le_bytes());
            file.extend((len as u64).to_le_bytes());
            file.extend([0; 8]);
            file.extend(1_u64.to_le_bytes());
            file.extend([0; 8]);
        }
        file
    }

    #[derive(Default)]
    struct Source {
        builtin: Vec<&'static str>,
        files: BTreeMap<&'static str, Vec<u8>>,
    }

    impl ModuleSource for Source {
        fn is_builtin(&self, name: &str) -> bool {
            self.builtin.contains(&name)
        }

        fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
            Ok(self.files.get(name).cloned())
        }
    }

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let mut source = Source { builtin: vec!["ext4"], files: BTreeMap::new() };
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
