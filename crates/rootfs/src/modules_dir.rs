//! A directory of kernel modules (`/lib/modules/VERSION`) as a source of modules.
//!
//! Links are not followed: `build` and `source` lead to whole source trees, and what a link elsewhere
//! leads to nobody meant to take along.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::modules::{MODULES_BUILTIN, ModuleSource, index_modules, parse_builtin};

/// Directories in each other that are looked through.
const MAX_DEPTH: usize = 32;
/// Largest module that is read, in bytes as it lies there.
const MAX_FILE: u64 = 256 << 20;

/// The modules of a directory.
#[derive(Debug)]
pub struct ModulesDir {
    directory: PathBuf,
    /// By name, the path in the directory and the whole path.
    modules: BTreeMap<String, (String, PathBuf)>,
    builtin: BTreeSet<String>,
}

impl ModulesDir {
    /// Looks through `directory` and what is in it.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let builtin = match fs_err::read_to_string(directory.join(MODULES_BUILTIN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            list => parse_builtin(&list?),
        };
        let mut files = Vec::new();
        let mut left = vec![(directory.to_owned(), 0)];
        while let Some((inner, depth)) = left.pop() {
            for entry in fs_err::read_dir(inner)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() && depth < MAX_DEPTH {
                    left.push((entry.path(), depth + 1));
                } else if kind.is_file()
                    && let path = entry.path()
                    && let Some(inside) = path.strip_prefix(directory).ok().and_then(Path::to_str)
                {
                    files.push((inside.to_owned(), path));
                }
            }
        }
        let modules = index_modules(files.into_iter());
        Ok(Self { directory: directory.to_owned(), modules, builtin })
    }

    /// Whether there is no module at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }
}

impl ModuleSource for ModulesDir {
    fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(name)
    }

    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.modules.get(name).map(|(_, path)| read_file(path)).transpose()
    }

    fn paths(&self) -> BTreeMap<String, String> {
        self.modules.iter().map(|(name, (path, _))| (name.clone(), path.clone())).collect()
    }

    fn beside(&mut self, file: &str) -> io::Result<Option<Vec<u8>>> {
        match read_file(&self.directory.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            contents => contents.map(Some),
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    fs_err::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("`{}` is too large", path.display())));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_at_any_depth_and_links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let drivers = place.path().join("kernel/drivers/block");
        fs_err::create_dir_all(&drivers).unwrap();
        fs_err::write(drivers.join("virtio-blk.ko.xz"), "blk").unwrap();
        fs_err::write(drivers.join("README"), "").unwrap();
        fs_err::write(place.path().join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
        fs_err::os::unix::fs::symlink(place.path(), place.path().join("build")).unwrap();
        fs_err::os::unix::fs::symlink("/etc/passwd", drivers.join("secret.ko")).unwrap();
        let mut source = ModulesDir::open(place.path()).unwrap();
        assert_eq!(source.read("virtio_blk").unwrap().as_deref(), Some(&b"blk"[..]));
        assert_eq!(source.read("secret").unwrap(), None);
        assert!(source.is_builtin("ext4") && !source.is_empty());

        fs_err::remove_dir_all(place.path().join("kernel")).unwrap();
        assert!(ModulesDir::open(place.path()).unwrap().is_empty());
        assert!(ModulesDir::open(&place.path().join("nowhere")).is_err());
    }
}
