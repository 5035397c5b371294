//! The line in the user's own `~/.ssh/config` by which every program that uses ssh knows VMs.
//!
//! It stands at the very top, since below a `Host` it would belong to that host, between two
//! lines by which it is found again. Everything else in the file is the user's, byte for byte.

use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const BEGIN: &str = "# >>> banger: `banger ssh-config --uninstall` takes this away >>>";
const END: &str = "# <<< banger <<<";

/// The line itself, for a client's configuration at `config`.
#[must_use]
pub fn render_line(config: &Path) -> String {
    format!("Include \"{}\"", config.display())
}

/// The text with the line for `config` at its top, and only there.
#[must_use]
pub fn install(text: &[u8], config: &Path) -> Vec<u8> {
    let mut after = format!("{BEGIN}\n{}\n{END}\n", render_line(config)).into_bytes();
    after.extend(uninstall(text));
    after
}

/// The text without the line.
#[must_use]
pub fn uninstall(text: &[u8]) -> Vec<u8> {
    let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut after = Vec::new();
    let mut rest = &lines[..];
    while let [line, others @ ..] = rest {
        rest = match rest {
            [begin, include, end, others @ ..] if is_ours(begin, include, end) => others,
            _ => {
                after.extend_from_slice(line);
                others
            }
        };
    }
    after
}

/// Whether three lines are banger's: nothing else is ever taken away, whatever stands around it.
fn is_ours(begin: &[u8], include: &[u8], end: &[u8]) -> bool {
    begin.trim_ascii_end() == BEGIN.as_bytes()
        && include.starts_with(b"Include ")
        && end.trim_ascii_end() == END.as_bytes()
}

/// Whether the text includes `config`, by banger's doing or the user's own.
#[must_use]
pub fn includes(text: &[u8], config: &Path) -> bool {
    let line = render_line(config);
    let bare = line.replace('"', "");
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .any(|found| found == line.as_bytes() || found == bare.as_bytes())
}

/// The user's own configuration, of the user whose home is `home`.
#[must_use]
pub fn path(home: &Path) -> PathBuf {
    home.join(".ssh/config")
}

/// Replaces the file `path` by what `change` makes of it, and says whether that is another. A
/// link stays one, and a mode stays as it is.
///
/// # Errors
/// When the file cannot be read or written, or is a link to nothing.
pub fn change_file(path: &Path, change: impl FnOnce(&[u8]) -> Vec<u8>) -> io::Result<bool> {
    let (target, before) = match fs_err::canonicalize(path) {
        Ok(target) => {
            let text = fs_err::read(&target)?;
            (target, Some(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            (path.to_owned(), None)
        }
        Err(error) => return Err(error),
    };
    let after = change(before.as_deref().unwrap_or_default());
    if after == before.as_deref().unwrap_or_default() {
        return Ok(false);
    }
    replace(&target, &after, before.is_some()).map_err(|error| super::named(&error, &target))?;
    Ok(true)
}

fn replace(target: &Path, contents: &[u8], existed: bool) -> io::Result<()> {
    let dir = target.parent().unwrap_or(Path::new("/"));
    if !existed {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file = tempfile::Builder::new().prefix(".banger-").tempfile_in(dir)?;
    file.write_all(contents)?;
    if existed {
        let permissions = std::fs::metadata(target)?.permissions();
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use proptest::prelude::*;

    use super::*;

    const CONFIG: &str = "/home/u/.config/banger/ssh_config";

    fn installed(text: &[u8]) -> Vec<u8> {
        install(text, Path::new(CONFIG))
    }

    /// Files as people have them, and pieces of what banger writes in the wrong places.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            Just(b"\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"Host *\n  User me\r\n".to_vec()),
            Just(format!("{BEGIN}\n").into_bytes()),
            Just(format!("{END}\r\n").into_bytes()),
            Just(b"Include \"other\"\n".to_vec()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_was_installed_goes_without_a_trace(text in texts()) {
            // What is installed already is what the other test is about.
            prop_assume!(uninstall(&text) == text);
            prop_assert_eq!(uninstall(&installed(&text)), text);
        }

        #[test]
        fn it_is_installed_once(text in texts()) {
            let once = installed(&text);
            prop_assert_eq!(installed(&once), once.clone());
            prop_assert!(includes(&once, Path::new(CONFIG)));
        }
    }

    #[test]
    fn another_place_replaces_the_first() {
        let moved = install(&installed(b"Host a\n"), Path::new("/elsewhere"));
        let text = String::from_utf8(moved).unwrap();
        assert!(text.contains("Include \"/elsewhere\"") && !text.contains(CONFIG), "{text}");
        assert!(text.ends_with("Host a\n"));
    }

    #[test]
    fn a_line_of_the_users_own_counts() {
        let bare = format!("Include {CONFIG}\nHost *\n");
        assert!(includes(bare.as_bytes(), Path::new(CONFIG)));
        assert!(!includes(format!("# Include {CONFIG}\n").as_bytes(), Path::new(CONFIG)));
    }

    #[test]
    fn links_and_modes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs_err::create_dir(at(".ssh")).unwrap();
        fs_err::write(at("dotfiles"), "Host *\n").unwrap();
        fs_err::set_permissions(at("dotfiles"), PermissionsExt::from_mode(0o640)).unwrap();
        symlink("../dotfiles", at(".ssh/config")).unwrap();
        let path = path(dir.path());
        assert!(change_file(&path, installed).unwrap());
        assert!(!change_file(&path, installed).unwrap());
        assert!(at(".ssh/config").is_symlink());
        assert_eq!(at("dotfiles").metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs_err::read_to_string(at("dotfiles")).unwrap().ends_with("Host *\n"));
        assert!(change_file(&path, uninstall).unwrap());
        assert_eq!(fs_err::read(at("dotfiles")).unwrap(), b"Host *\n");
        assert_eq!(fs_err::read_dir(at(".ssh")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_missing_is_made_for_the_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        assert!(!change_file(&path, uninstall).unwrap());
        assert!(!path.exists() && !dir.path().join(".ssh").exists());
        assert!(change_file(&path, installed).unwrap());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&path), mode(&dir.path().join(".ssh"))], [0o600, 0o700]);
    }

    #[test]
    fn a_link_to_nothing_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join(".ssh")).unwrap();
        symlink("nowhere", path(dir.path())).unwrap();
        assert!(change_file(&path(dir.path()), installed).is_err());
    }
}
