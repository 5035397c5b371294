//! Who uses a directory of images or kernels. It may be shared by daemons with state directories of
//! their own, whose VMs only they know: each leaves its mark in `.users`, and while there is another's,
//! nothing is removed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use banger_rootfs::digest::{render_hex, sha256};

use super::save_atomically;
use crate::private;

/// Name of the directory of marks.
const USERS: &str = ".users";
/// Digits of the digest that a mark is named by.
const MARK_DIGITS: usize = 16;

/// Leaves in `directory` the mark of the daemon with this state directory. Whoever calls keeps others
/// from changing what is there.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn mark_user(directory: &Path, state_dir: &Path) -> io::Result<()> {
    let marks = directory.join(USERS);
    private::ensure_dir(&marks)?;
    let text = state_dir.as_os_str().as_bytes();
    let name = render_hex(&sha256(&mut &*text)?);
    let mark = marks.join(&name[..MARK_DIGITS]);
    if mark.is_file() { Ok(()) } else { save_atomically(&mark, text) }
}

/// State directories other than `own` whose VMs may use what is in `directory`. The marks of those that
/// are gone are removed.
///
/// # Errors
/// When the marks cannot be read.
pub(crate) fn observe_other_users(directory: &Path, own: &Path) -> io::Result<Vec<PathBuf>> {
    let mut others = Vec::new();
    let marks = match fs_err::read_dir(directory.join(USERS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(others),
        marks => marks?,
    };
    for mark in marks {
        let mark = mark?.path();
        let state_dir = PathBuf::from(OsStr::from_bytes(&fs_err::read(&mark)?));
        match fs_err::symlink_metadata(&state_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs_err::remove_file(&mark)?,
            _ if state_dir == own => {}
            _ => others.push(state_dir),
        }
    }
    Ok(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_count_while_they_are_there() {
        let place = tempfile::tempdir().unwrap();
        let [own, other, gone] = ["own", "other", "gone"].map(|name| place.path().join(name));
        fs_err::create_dir(&other).unwrap();
        let directory = place.path().join("kernels");
        assert_eq!(observe_other_users(&directory, &own).unwrap(), [""; 0].map(PathBuf::from));
        fs_err::create_dir(&directory).unwrap();
        for state_dir in [&own, &other, &gone, &other] {
            mark_user(&directory, state_dir).unwrap();
        }
        let marks = || fs_err::read_dir(directory.join(USERS)).unwrap().count();
        assert_eq!(marks(), 3);
        assert_eq!(observe_other_users(&directory, &own).unwrap(), [other]);
        // Nor is there a state directory of its own yet; another daemon would remove the mark.
        assert_eq!(marks(), 1);
    }
}
