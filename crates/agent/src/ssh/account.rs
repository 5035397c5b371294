//! Root's account in the image's `/etc/shadow` (shadow(5)): whether a server that asks nobody
//! else takes it for locked.
//!
//! sshd(8) lets nobody in whose password begins with `!`, unless PAM decides in its place. Of that
//! there are two kinds: a password that somebody took out of use, which stays as it is, and no
//! password at all (`!`, `!*`, `!!`, `!locked`), as images have it that mean "by key only". sshd(8)
//! wants that written in another way, and so it is.

use std::io;
use std::path::Path;

use crate::root::RootDir;

const SHADOW: &str = "/etc/shadow";
/// Bytes of it that are looked at. Beyond it something is odd, and it is left alone.
const LIMIT: u64 = 4 << 20;
/// A password that nothing matches, and that locks nothing.
const NONE: &[u8] = b"*";
/// What is behind the `!` of an account that never had a password.
const NEVER: [&[u8]; 4] = [b"", b"*", b"!", b"locked"];

/// Whether a server without PAM refuses root. Where that cannot be told, it does.
pub(super) fn is_locked(root: &RootDir) -> bool {
    match root.read(Path::new(SHADOW), LIMIT) {
        Ok(text) => password(&text).is_some_and(|password| text[password].starts_with(b"!")),
        // An image without the file has its passwords elsewhere, and those lock nothing.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Makes a root without a password one who may come in by key.
///
/// # Errors
/// When the file is there and cannot be read or written.
pub(super) fn unlock(root: &RootDir) -> io::Result<()> {
    match root.edit_file(Path::new(SHADOW), LIMIT, render_unlocked) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        edited => edited,
    }
}

/// The file with root's password written as none; nothing where root has one, or it is so.
fn render_unlocked(text: &[u8]) -> Option<Vec<u8>> {
    let password = password(text)?;
    let locked = text[password.clone()].strip_prefix(b"!")?;
    NEVER.contains(&locked).then(|| [&text[..password.start], NONE, &text[password.end..]].concat())
}

/// Where root's password is.
fn password(text: &[u8]) -> Option<std::ops::Range<usize>> {
    const NAME: &[u8] = b"root:";
    let mut start = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if let Some(rest) = line.strip_prefix(NAME) {
            let length = rest.iter().position(|byte| matches!(byte, b':' | b'\n'));
            let start = start + NAME.len();
            return Some(start..start + length.unwrap_or(rest.len()));
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::root::Root;

    #[test]
    fn no_password_is_no_lock_and_a_password_taken_out_of_use_is() {
        for never in ["!", "!*", "!!", "!locked"] {
            let text = format!("bin:!:1::::::\nroot:{never}:20778:0:99999:7:::\ndev:!:1::::::\n");
            let expected = "bin:!:1::::::\nroot:*:20778:0:99999:7:::\ndev:!:1::::::\n";
            assert_eq!(render_unlocked(text.as_bytes()).unwrap(), expected.as_bytes(), "{never}");
        }
        for other in
            ["root:*:1:", "root::1:", "root:$y$j9T$x:1:", "root:!$y$j9T$x:1:", "roo:!:", ""]
        {
            assert_eq!(render_unlocked(other.as_bytes()), None, "{other}");
        }
        assert_eq!(render_unlocked(b"root:!").unwrap(), b"root:*");
    }

    #[test]
    fn who_may_read_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::Directory(dir.path().into()).open().unwrap();
        unlock(&root).unwrap();
        assert!(!is_locked(&root), "an image without the file");

        let shadow = dir.path().join("etc/shadow");
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(&shadow, "root:!*:20778::::::\n").unwrap();
        std::fs::set_permissions(&shadow, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(is_locked(&root));
        unlock(&root).unwrap();
        assert!(!is_locked(&root));
        assert_eq!(std::fs::read(&shadow).unwrap(), b"root:*:20778::::::\n");
        assert_eq!(shadow.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(dir.path().join("etc")).unwrap().count(), 1);

        std::fs::write(&shadow, "root:!$6$salt$hash:20778::::::\n").unwrap();
        unlock(&root).unwrap();
        assert!(is_locked(&root), "somebody meant it");
    }
}
