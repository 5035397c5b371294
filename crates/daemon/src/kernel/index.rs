//! The kernels that are here.
//!
//! ```text
//! <kernels>/generic ─▶ .versions/generic-0123456789ab     a name is a link to a version
//! <kernels>/.versions/generic-0123456789ab/               a version never changes
//!     vmlinux   manifest.json   modules.cpio   modules.ext4
//! <kernels>/mine/                                         placed by hand, used as it is
//! ```
//!
//! A version is called by its content, and VMs keep the one they were made with. What has a name
//! anew, or no name any more, is removed by [`collect`](super::collect).

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use banger_proto::ByteSize;
use banger_proto::image_name::is_plain_name;
use banger_rootfs::digest::{render_hex, sha256};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::KernelError;
use super::manifest::Manifest;

/// The ELF kernel.
pub(crate) const VMLINUX: &str = "vmlinux";
/// The part of the initramfs with its modules.
pub(crate) const MODULES: &str = "modules.cpio";
/// The modules that programs in a guest may ask for, as a layer of its root.
pub(crate) const LOADABLE: &str = "modules.ext4";
/// What is written about it.
pub(crate) const MANIFEST: &str = "manifest.json";
/// All files of a kernel.
const FILES: [&str; 4] = [VMLINUX, MODULES, LOADABLE, MANIFEST];
/// Directory of the versions.
pub(super) const VERSIONS: &str = ".versions";
/// Held by whoever changes what is here.
const LOCK: &str = ".lock";
/// Digits of the content's digest in a version's name.
const SHORT_DIGEST: usize = 12;

/// A kernel's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Local {
    /// Where they are: a version, or a directory placed by hand.
    pub(crate) directory: PathBuf,
    /// What is written about it.
    pub(crate) manifest: Manifest,
    /// Whether it comes with modules to boot with.
    pub(crate) modules: bool,
    /// Whether it comes with modules that programs in a guest may ask for.
    pub(crate) loadable: bool,
    /// Bytes of its files.
    pub(crate) size: ByteSize,
    /// Whether somebody placed it by hand.
    pub(crate) placed: bool,
}

/// Keeps others, also other daemons, from changing what is here until it is dropped.
pub(super) struct Locked {
    _file: File,
}

/// Waits for the lock.
///
/// # Errors
/// When the file system refuses.
pub(super) fn lock(kernels: &Path) -> io::Result<Locked> {
    fs_err::create_dir_all(kernels)?;
    let path = kernels.join(LOCK);
    let file = fs_err::File::options().write(true).create(true).truncate(false).open(path)?;
    let file = file.into_file();
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(Locked { _file: file })
}

/// All kernels by name.
///
/// # Errors
/// When the directory or a manifest cannot be read.
pub(crate) fn load_all(kernels: &Path) -> Result<BTreeMap<String, Local>, KernelError> {
    let mut found = BTreeMap::new();
    let entries = match fs_err::read_dir(kernels) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if let Some(name) = name.to_str()
            && let Some(local) = load(kernels, name)?
        {
            found.insert(name.to_owned(), local);
        }
    }
    Ok(found)
}

/// The kernel `name`; `None` when there is none, or not all of it.
///
/// # Errors
/// When its manifest cannot be read.
pub(crate) fn load(kernels: &Path, name: &str) -> Result<Option<Local>, KernelError> {
    if !is_plain_name(name) {
        return Ok(None);
    }
    match read_pointer(kernels, name)? {
        Some(directory) => load_directory(&directory, false),
        None => load_directory(&kernels.join(name), true),
    }
}

/// The kernel in `directory`, as a VM remembers it.
///
/// # Errors
/// When its manifest cannot be read.
pub(crate) fn load_directory(directory: &Path, placed: bool) -> Result<Option<Local>, KernelError> {
    let path = directory.join(MANIFEST);
    let text = match fs_err::read(&path) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        text => text?,
    };
    let manifest = Manifest::parse(&text, &path)?;
    let size = |file: &str| fs_err::metadata(directory.join(file)).ok().map(|data| data.size());
    let (vmlinux, modules, loadable) = (size(VMLINUX), size(MODULES), size(LOADABLE));
    Ok(vmlinux.map(|vmlinux| Local {
        manifest,
        modules: modules.is_some(),
        loadable: loadable.is_some(),
        size: ByteSize::from_bytes(vmlinux + modules.unwrap_or(0) + loadable.unwrap_or(0)),
        directory: directory.to_owned(),
        placed,
    }))
}

/// The version that the name `name` leads to; `None` when it is no link, or leads elsewhere.
///
/// # Errors
/// When the file system refuses.
pub(super) fn read_pointer(kernels: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let target = match rustix::fs::readlink(kernels.join(name), Vec::new()) {
        // Nothing there, or no link.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => return Ok(None),
        target => target?,
    };
    let target =
        PathBuf::from(std::ffi::OsString::from(target.into_string().map_err(io::Error::other)?));
    let mut parts = target.components();
    let inside = matches!(parts.next(), Some(Component::Normal(part)) if part == VERSIONS)
        && matches!(parts.next(), Some(Component::Normal(_)))
        && parts.next().is_none();
    Ok(inside.then(|| kernels.join(target)))
}

/// Takes the finished directory `made`, which must be on the file system of `kernels`, in as a
/// version that has the name `name` from now on. Returns where it is.
///
/// # Errors
/// When the file system refuses; then the name leads where it led. When a directory placed by hand
/// has the name, and files of which nobody knows what they are.
pub(super) fn publish(
    kernels: &Path,
    _held: &Locked,
    name: &str,
    made: &Path,
) -> Result<PathBuf, KernelError> {
    let version = format!("{name}-{}", &content_digest(made)?[..SHORT_DIGEST]);
    let versions = kernels.join(VERSIONS);
    fs_err::create_dir_all(&versions)?;
    let target = versions.join(&version);
    // The same content under the same name: VMs may be using it, so it stays.
    if !target.is_dir() {
        for file in FILES {
            let path = made.join(file);
            if path.try_exists()? {
                let file = fs_err::File::open(path)?;
                file.set_permissions(Permissions::from_mode(0o444))?;
                file.sync_all()?;
            }
        }
        fs_err::File::open(made)?.sync_all()?;
        fs_err::rename(made, &target)?;
        fs_err::File::open(&versions)?.sync_all()?;
    }
    point(kernels, name, &Path::new(VERSIONS).join(version))?;
    Ok(target)
}

/// SHA-256 of a kernel's files, hexadecimal.
fn content_digest(directory: &Path) -> io::Result<String> {
    let mut all = String::new();
    for file in FILES {
        let digest = match fs_err::File::open(directory.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => render_hex(&sha256(&mut opened?)?),
        };
        all.push_str(&format!("{file} {digest}\n"));
    }
    Ok(render_hex(&sha256(&mut all.as_bytes())?))
}

/// Lets `name` lead to `target`, from one moment to the next.
fn point(kernels: &Path, name: &str, target: &Path) -> Result<(), KernelError> {
    let (new, link) = (kernels.join(format!(".{name}.new")), kernels.join(name));
    match fs_err::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    fs_err::os::unix::fs::symlink(target, &new)?;
    if fs_err::symlink_metadata(&link).is_ok_and(|data| data.is_dir()) {
        // A directory placed by hand; a link cannot be renamed over it, only change places with it.
        check_placed(name, &link)?;
        renameat_with(CWD, &new, CWD, &link, RenameFlags::EXCHANGE).map_err(io::Error::from)?;
        remove_files(&new)?;
    } else {
        fs_err::rename(&new, &link)?;
    }
    fs_err::File::open(kernels)?.sync_all()?;
    Ok(())
}

/// Nothing but a kernel's files may be in a directory that is going to be removed.
fn check_placed(name: &str, directory: &Path) -> Result<(), KernelError> {
    for entry in fs_err::read_dir(directory)? {
        let file = entry?.file_name();
        if !FILES.iter().any(|known| *known == file) {
            let file = file.to_string_lossy().into_owned();
            return Err(KernelError::Foreign {
                name: name.to_owned(),
                path: directory.into(),
                file,
            });
        }
    }
    Ok(())
}

/// Removes a directory with a kernel's files, and nothing else.
pub(super) fn remove_files(directory: &Path) -> io::Result<()> {
    for file in FILES {
        match fs_err::remove_file(directory.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs_err::remove_dir(directory)
}

/// Takes the name `name` away; a directory placed by hand goes with it, a version stays for
/// [`collect`](super::collect).
///
/// # Errors
/// When there is no such kernel, the file system refuses, or a directory placed by hand has files
/// of which nobody knows what they are.
pub(super) fn remove(kernels: &Path, _held: &Locked, name: &str) -> Result<(), KernelError> {
    let local =
        load(kernels, name)?.ok_or_else(|| KernelError::NotHere { name: name.to_owned() })?;
    if local.placed {
        check_placed(name, &local.directory)?;
        remove_files(&local.directory)?;
    } else {
        fs_err::remove_file(kernels.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes a kernel's directory.
    pub(crate) fn make(directory: &Path, version: &str) {
        fs_err::create_dir_all(directory).unwrap();
        fs_err::write(directory.join(VMLINUX), "ELF").unwrap();
        let manifest = format!(r#"{{"version":"{version}"}}"#);
        fs_err::write(directory.join(MANIFEST), manifest).unwrap();
    }

    /// Makes and publishes a kernel; where it is.
    pub(crate) fn publish_one(kernels: &Path, name: &str, version: &str) -> PathBuf {
        let made = kernels.join(".work");
        make(&made, version);
        let published = publish(kernels, &lock(kernels).unwrap(), name, &made).unwrap();
        let _ = fs_err::remove_dir_all(made);
        published
    }

    fn version(kernels: &Path, name: &str) -> Option<String> {
        load(kernels, name).unwrap().map(|local| local.manifest.version)
    }

    #[test]
    fn a_directory_placed_by_hand_is_a_kernel() {
        let place = tempfile::tempdir().unwrap();
        make(&place.path().join("own"), "6.12");
        fs_err::create_dir(place.path().join("half")).unwrap();
        fs_err::write(place.path().join("stray"), "").unwrap();
        let all = load_all(place.path()).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["own"]);
        assert_eq!(all["own"].manifest.version, "6.12");
        assert!(all["own"].placed && !all["own"].modules);
        assert_eq!(load(place.path(), "../own").unwrap(), None);
    }

    #[test]
    fn a_name_leads_to_its_newest_version_and_older_ones_stay() {
        let place = tempfile::tempdir().unwrap();
        let kernels = place.path();
        let first = publish_one(kernels, "k", "1");
        let second = publish_one(kernels, "k", "2");
        assert_ne!(first, second);
        assert_eq!(version(kernels, "k").as_deref(), Some("2"));
        let kept = load_directory(&first, false).unwrap().unwrap();
        assert_eq!(kept.manifest.version, "1");
        let mode = fs_err::metadata(first.join(VMLINUX)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o444);
        // What is there already is not touched.
        let inode = fs_err::metadata(second.join(VMLINUX)).unwrap().ino();
        assert_eq!(publish_one(kernels, "k", "2"), second);
        assert_eq!(fs_err::metadata(second.join(VMLINUX)).unwrap().ino(), inode);
        assert_eq!(load_all(kernels).unwrap().len(), 1);
    }

    #[test]
    fn links_that_lead_elsewhere_are_no_kernels() {
        let place = tempfile::tempdir().unwrap();
        let kernels = place.path().join("kernels");
        make(&place.path().join("secret"), "6.12");
        publish_one(&kernels, "k", "1");
        for target in ["../secret", ".versions/../../secret", ".versions", "/etc"] {
            let link = kernels.join("odd");
            fs_err::os::unix::fs::symlink(target, &link).unwrap();
            assert_eq!(read_pointer(&kernels, "odd").unwrap(), None, "{target}");
            fs_err::remove_file(link).unwrap();
        }
    }

    #[test]
    fn a_directory_placed_by_hand_gives_way_unless_it_holds_more() {
        let place = tempfile::tempdir().unwrap();
        let kernels = place.path();
        make(&kernels.join("k"), "hand");
        fs_err::write(kernels.join("k/notes"), "mine").unwrap();
        make(&kernels.join(".work"), "2");
        let held = lock(kernels).unwrap();
        let refused = publish(kernels, &held, "k", &kernels.join(".work")).unwrap_err();
        assert!(matches!(&refused, KernelError::Foreign { file, .. } if file == "notes"));
        assert!(matches!(remove(kernels, &held, "k"), Err(KernelError::Foreign { .. })));
        assert_eq!(version(kernels, "k").as_deref(), Some("hand"));
        drop(held);
        fs_err::remove_file(kernels.join("k/notes")).unwrap();
        publish_one(kernels, "k", "2");
        assert_eq!(version(kernels, "k").as_deref(), Some("2"));
        assert!(!load(kernels, "k").unwrap().unwrap().placed);
    }

    #[test]
    fn what_is_removed_has_no_name() {
        let place = tempfile::tempdir().unwrap();
        let kernels = place.path();
        let directory = publish_one(kernels, "k", "1");
        make(&kernels.join("own"), "2");
        let held = lock(kernels).unwrap();
        for name in ["k", "own"] {
            remove(kernels, &held, name).unwrap();
            assert_eq!(version(kernels, name), None);
            let again = remove(kernels, &held, name);
            assert!(matches!(again, Err(KernelError::NotHere { .. })), "{again:?}");
        }
        assert!(directory.is_dir(), "a VM may use it");
        assert!(!kernels.join("own").exists());
    }
}
