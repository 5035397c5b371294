//! The modules that programs in a guest may ask for, as one read-only ext4 that is a layer of the
//! guest's root: there `modprobe`, and the kernel by it, find them in `/lib/modules/VERSION`.
//!
//! ```text
//! usr/lib/modules/VERSION/kernel/…          the modules, not compressed
//! usr/lib/modules/VERSION/modules.dep …     the lists that they are found by
//! lib/modules/VERSION ─▶ usr/lib/…          for roots whose /lib is not a link to usr/lib
//! ```
//!
//! Taken is what a machine without hardware has a use for: everything but drivers, and those drivers
//! that are file systems', networks' and virtual machines' ([`TAKEN`]), with what they need.
//!
//! What a guest needs to boot is not found here but in the initramfs ([`crate::modules`]).

mod lists;
mod trie;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::kernel_facts::is_version;
use crate::layers::{ImageError, Layer, write_image};
use crate::modinfo::ModInfo;
use crate::modules::{MODULES_BUILTIN, ModuleSource, ModulesError, parse_builtin, read_module};
use crate::tree::Limits;
use lists::{Listed, render_lists};

/// What is taken of a distribution's modules: paths begin with one of these.
const TAKEN: [&str; 23] = [
    "kernel/arch/",
    "kernel/block/",
    "kernel/crypto/",
    "kernel/fs/",
    "kernel/lib/",
    "kernel/mm/",
    "kernel/net/",
    "kernel/security/",
    "kernel/virt/",
    "kernel/drivers/block/",
    "kernel/drivers/char/",
    "kernel/drivers/dax/",
    "kernel/drivers/md/",
    "kernel/drivers/net/bonding/",
    "kernel/drivers/net/ipvlan/",
    "kernel/drivers/net/team/",
    "kernel/drivers/net/vxlan/",
    "kernel/drivers/net/wireguard/",
    "kernel/drivers/nvdimm/",
    "kernel/drivers/vhost/",
    "kernel/drivers/virtio/",
    // What somebody added to the distribution's.
    "extra/",
    "updates/",
];
/// Directories of which what lies in them is taken, but not what lies deeper: in this one are the
/// devices that are only software.
const TAKEN_FLAT: &str = "kernel/drivers/net/";
/// Files of the directory of modules that are taken as they are.
const BUILTIN_MODINFO: &str = "modules.builtin.modinfo";
const ORDER: &str = "modules.order";
/// Most modules that are taken. Distributions have some 5,000 altogether.
const MAX_MODULES: usize = 20_000;
/// Most modules that one may need. Real ones need up to 40.
const MAX_NEEDS: usize = 256;

/// Why there is no file system of modules.
#[derive(Debug, thiserror::Error)]
pub enum ModulesImageError {
    /// A version that no directory can be called by.
    #[error("`{0}` is no kernel's version")]
    Version(String),
    /// More modules than any kernel has.
    #[error("there are more than {MAX_MODULES} modules")]
    TooMany,
    /// A module.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// A list of the kernel's, or the archive that is made in between.
    #[error("cannot read or write what the modules are made of")]
    Work(#[from] io::Error),
    /// The file system.
    #[error("cannot write the file system of modules")]
    Image(#[source] Box<ImageError>),
}

/// Writes the modules of the kernel `version` out of `source` to `image`, which must be empty, as an
/// ext4; the same modules give the same bytes. In the directory `work` a file of their size is made
/// and removed. How many modules are there to be loaded; of `None` nothing was written.
///
/// # Errors
/// When a module is unreadable or none, or writing fails. A module that lacks one that it needs is
/// no error; it cannot be loaded.
pub fn write_modules_image(
    source: &mut impl ModuleSource,
    version: &str,
    work: &Path,
    image: &File,
) -> Result<Option<usize>, ModulesImageError> {
    if !is_version(version.as_bytes()) {
        return Err(ModulesImageError::Version(version.to_owned()));
    }
    let archive = WorkFile::create(work)?;
    let mut tree = TreeWriter::new(&archive.file, version)?;
    let taken = take_all(source, &mut tree)?;
    if taken.is_empty() {
        return Ok(None);
    }
    let count = write_lists(source, &taken, &mut tree)?;
    tree.finish()?;
    (&archive.file).rewind()?;
    let layer = Layer { name: "modules".to_owned(), ..Layer::of_file(&archive.path) };
    write_image(&[layer], image, Limits::default(), &|_| ControlFlow::Continue(()))
        .map_err(|source| ModulesImageError::Image(Box::new(source)))?;
    Ok(Some(count))
}

/// A module that was taken.
struct Taken {
    path: String,
    info: ModInfo,
}

/// Takes what is wanted and all that needs.
fn take_all(
    source: &mut impl ModuleSource,
    tree: &mut TreeWriter<'_>,
) -> Result<BTreeMap<String, Taken>, ModulesImageError> {
    let paths: BTreeMap<String, String> =
        source.paths().into_iter().filter(|(_, path)| is_plain(path)).collect();
    let mut left: Vec<String> =
        paths.iter().filter(|(_, path)| is_taken(path)).map(|(name, _)| name.clone()).collect();
    left.reverse();
    let mut taken = BTreeMap::new();
    while let Some(name) = left.pop() {
        let Some(path) = paths.get(&name).filter(|_| !taken.contains_key(&name)) else { continue };
        let Some((contents, info)) = read_module(source, &name)? else { continue };
        if taken.len() == MAX_MODULES {
            return Err(ModulesImageError::TooMany);
        }
        // Not compressed: not every modprobe can decompress.
        let path = path.rfind(".ko").map_or(path.as_str(), |at| &path[..at + 3]).to_owned();
        tree.file(&path, &contents)?;
        left.extend(info.depends.iter().cloned().chain(info.before()));
        taken.insert(name, Taken { path, info });
    }
    Ok(taken)
}

fn is_taken(path: &str) -> bool {
    let flat = path.strip_prefix(TAKEN_FLAT).is_some_and(|file| !file.contains('/'));
    flat || TAKEN.iter().any(|begin| path.starts_with(begin))
}

/// Whether a path can stand in the lists, whose words are separated by blanks and colons.
fn is_plain(path: &str) -> bool {
    path.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+,=@".contains(c))
}

/// Writes the lists; how many modules can be loaded.
fn write_lists(
    source: &mut impl ModuleSource,
    taken: &BTreeMap<String, Taken>,
    tree: &mut TreeWriter<'_>,
) -> Result<usize, ModulesImageError> {
    let order = source.beside(ORDER)?.unwrap_or_default();
    let builtin_list = source.beside(MODULES_BUILTIN)?.unwrap_or_default();
    let builtin = parse_builtin(&String::from_utf8_lossy(&builtin_list));
    let builtin_modinfo = source.beside(BUILTIN_MODINFO)?.unwrap_or_default();
    let order_text = String::from_utf8_lossy(&order);
    let places: BTreeMap<&str, usize> = order_text.lines().zip(0..).collect();
    let mut modules: Vec<Listed<'_>> = taken
        .iter()
        .filter_map(|(name, module)| {
            let needs = load_order(taken, &builtin, name)?;
            Some(Listed { name, path: &module.path, info: &module.info, needs })
        })
        .collect();
    modules.sort_by_key(|module| {
        (places.get(module.path).copied().unwrap_or(usize::MAX), module.path)
    });
    for (name, contents) in
        [(ORDER, &order), (MODULES_BUILTIN, &builtin_list), (BUILTIN_MODINFO, &builtin_modinfo)]
    {
        tree.file(name, contents)?;
    }
    for (name, contents) in render_lists(&modules, &builtin, &builtin_modinfo) {
        tree.file(name, &contents)?;
    }
    Ok(modules.len())
}

/// Files of what the module `name` needs, in the order in which they load; `None` when one is not
/// there, or they are more than any module needs.
fn load_order<'a>(
    taken: &'a BTreeMap<String, Taken>,
    builtin: &BTreeSet<String>,
    name: &'a str,
) -> Option<Vec<&'a str>> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::from([name]);
    let mut open = vec![(taken.get(name)?, 0)];
    while let Some((module, next)) = open.last_mut() {
        let Some(needed) = module.info.depends.get(*next) else {
            order.push(module.path.as_str());
            open.pop();
            continue;
        };
        *next += 1;
        if builtin.contains(needed) || !seen.insert(needed) {
            continue;
        }
        if seen.len() > MAX_NEEDS {
            return None;
        }
        open.push((taken.get(needed)?, 0));
    }
    // The module itself.
    order.pop();
    Some(order)
}

/// The archive that the file system is made of, in a directory of somebody's. Removed when dropped.
struct WorkFile {
    file: File,
    path: PathBuf,
}

impl WorkFile {
    fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join("modules.tar");
        let file = fs_err::File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { file: file.into_file(), path })
    }
}

impl Drop for WorkFile {
    fn drop(&mut self) {
        let _ = fs_err::remove_file(&self.path);
    }
}

/// Writes files to the directory of modules of one kernel. All belong to root and have no time.
struct TreeWriter<'a> {
    tar: tar::Builder<io::BufWriter<&'a File>>,
    directory: String,
}

impl<'a> TreeWriter<'a> {
    fn new(file: &'a File, version: &str) -> io::Result<Self> {
        let mut tar = tar::Builder::new(io::BufWriter::new(file));
        let directory = format!("usr/lib/modules/{version}");
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        let target = format!("../../{directory}");
        tar.append_link(&mut header, format!("lib/modules/{version}"), target)?;
        Ok(Self { tar, directory })
    }

    fn file(&mut self, path: &str, contents: &[u8]) -> io::Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644, contents.len() as u64);
        self.tar.append_data(&mut header, format!("{}/{path}", self.directory), contents)
    }

    fn finish(self) -> io::Result<()> {
        self.tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(())
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests;
