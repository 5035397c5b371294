//! Files and directories that only this user may open, from their first moment on.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes an empty file of mode 0600, or tightens the one that is there.
pub(crate) fn ensure_file(path: &Path) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let file = fs_err::OpenOptions::from_options(options).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Makes a directory of mode 0700 and, with the same mode, what is missing above it. One that is
/// there stays as it is.
pub(crate) fn ensure_dir(path: &Path) -> io::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot make directory `{}`: {error}", path.display()))
    })
}
