//! The daemon's directories: made private, and trusted only if they are.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use banger_proto::Paths;
use banger_proto::paths::system_runtime_dir;

use crate::private;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be made or looked at; the error names it.
    #[error("cannot prepare a directory")]
    Io(#[source] std::io::Error),
    /// Something else has its name.
    #[error("`{0}` is not a directory")]
    NotDirectory(PathBuf),
    /// It is somebody else's.
    #[error("directory `{path}` belongs to user {owner}, not to {uid}")]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        uid: u32,
    },
    /// Others could have put something into it.
    #[error("directory `{path}` has mode {mode:04o}; where everybody may write it must be 0700")]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl DirectoryError {
    /// The way out.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Io(_) => "make it yours and writable, or point the XDG variables of \
                            banger's directories elsewhere"
                .to_owned(),
            Self::NotDirectory(path) | Self::Owner { path, .. } => {
                format!("move it away, and a directory of yours is made: {}", path.display())
            }
            Self::Mode { path, .. } => format!("chmod 700 {}", path.display()),
        }
    }
}

/// Whether the daemon of user `uid` is a service of the system.
pub(super) fn is_serviced(uid: u32) -> bool {
    fs_err::symlink_metadata(system_runtime_dir(uid))
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == uid)
}

/// Makes the directories that every start needs.
///
/// # Errors
/// When one cannot be made or trusted.
pub(super) fn ensure_all(paths: &Paths, uid: u32) -> Result<(), DirectoryError> {
    for dir in [&paths.state_dir, &paths.data_dir, &paths.cache_dir] {
        private::ensure_dir(dir).map_err(DirectoryError::Io)?;
    }
    ensure_runtime_dir(&paths.runtime_dir, uid)
}

/// Makes the directory of sockets, or checks the one that is there: it has to be a real
/// directory of this user. Too open a mode is tightened, except below a directory that everybody
/// may write to (`/tmp`): there somebody else may have prepared it, so it is refused.
///
/// # Errors
/// When it cannot be made or trusted.
pub fn ensure_runtime_dir(dir: &Path, uid: u32) -> Result<(), DirectoryError> {
    private::ensure_dir(dir).or_else(|error| {
        // Something of that name is there; the check below says what.
        if fs_err::symlink_metadata(dir).is_ok() { Ok(()) } else { Err(DirectoryError::Io(error)) }
    })?;
    let metadata = fs_err::symlink_metadata(dir).map_err(DirectoryError::Io)?;
    if !metadata.is_dir() {
        return Err(DirectoryError::NotDirectory(dir.to_owned()));
    }
    if metadata.uid() != uid {
        let owner = metadata.uid();
        return Err(DirectoryError::Owner { path: dir.to_owned(), owner, uid });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if is_writable_by_all(dir.parent()) {
        return Err(DirectoryError::Mode { path: dir.to_owned(), mode });
    }
    fs_err::set_permissions(dir, Permissions::from_mode(0o700)).map_err(DirectoryError::Io)
}

fn is_writable_by_all(dir: Option<&Path>) -> bool {
    dir.and_then(|dir| fs_err::metadata(dir).ok())
        .is_none_or(|metadata| metadata.permissions().mode() & 0o002 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn private_from_birth_and_tightened_later() {
        let uid = rustix::process::getuid().as_raw();
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("banger");
        ensure_runtime_dir(&dir, uid).unwrap();
        assert_eq!(mode(&dir), 0o700);
        fs_err::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        ensure_runtime_dir(&dir, uid).unwrap();
        assert_eq!(mode(&dir), 0o700);
    }

    #[test]
    fn nothing_prepared_by_others_is_trusted() {
        let uid = rustix::process::getuid().as_raw();
        let root = tempfile::tempdir().unwrap();
        fs_err::set_permissions(root.path(), Permissions::from_mode(0o1777)).unwrap();
        let open = root.path().join("open");
        fs_err::create_dir(&open).unwrap();
        fs_err::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            ensure_runtime_dir(&open, uid),
            Err(DirectoryError::Mode { mode: 0o755, .. })
        ));
        fs_err::set_permissions(&open, Permissions::from_mode(0o700)).unwrap();
        ensure_runtime_dir(&open, uid).unwrap();
        let owner = ensure_runtime_dir(&open, uid + 1);
        assert!(matches!(owner, Err(DirectoryError::Owner { .. })));
        let link = root.path().join("link");
        fs_err::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(matches!(ensure_runtime_dir(&link, uid), Err(DirectoryError::NotDirectory(_))));
        let file = root.path().join("file");
        fs_err::write(&file, "").unwrap();
        assert!(matches!(ensure_runtime_dir(&file, uid), Err(DirectoryError::NotDirectory(_))));
    }
}
