//! Writing files as root: only into directories that nobody else can write to, whole or not at all,
//! and so that it can be taken back.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::errors::CliError;

/// Permissions that let others change something.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Who may have made what root is to rely on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust<'a> {
    /// Whose everything must be.
    pub(super) uid: u32,
    /// The directory above which nothing is looked at.
    pub(super) top: &'a Path,
}

impl Trust<'_> {
    /// What belongs to root, all the way from the top of the host.
    pub(super) fn root() -> Self {
        Self { uid: 0, top: Path::new("/") }
    }

    /// Why somebody else could change or replace `path`, a fragment; none when nobody could.
    pub(super) fn find_doubt(self, path: &Path) -> Option<String> {
        for place in path.ancestors() {
            let shown = place.display();
            let metadata = match std::fs::symlink_metadata(place) {
                Ok(metadata) => metadata,
                Err(error) => return Some(format!("`{shown}` cannot be looked at: {error}")),
            };
            if metadata.is_symlink() {
                return Some(format!("`{shown}` is a symbolic link"));
            }
            if metadata.uid() != self.uid {
                return Some(format!("`{shown}` belongs to user {}", metadata.uid()));
            }
            if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
                return Some(format!("others may write `{shown}`"));
            }
            if place == self.top {
                break;
            }
        }
        None
    }
}

/// What was changed, in order.
#[derive(Debug, Default)]
pub(super) struct Changes {
    done: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Made(PathBuf),
    Wrote { path: PathBuf, before: Option<Before> },
}

#[derive(Debug)]
struct Before {
    content: Vec<u8>,
    mode: u32,
}

impl Changes {
    /// Makes the directories of `dir` that are missing, readable for everybody. Which those were is
    /// added to `made`, outermost first.
    ///
    /// # Errors
    /// When one cannot be made, or somebody else could change what is there.
    pub(super) fn make_directories(
        &mut self,
        dir: &Path,
        trust: Trust<'_>,
        made: &mut Vec<PathBuf>,
    ) -> Result<(), CliError> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
        for dir in missing.into_iter().rev() {
            std::fs::create_dir(dir).map_err(|error| cannot("make", dir, &error))?;
            self.done.push(Change::Made(dir.to_owned()));
            made.push(dir.to_owned());
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(dir, open).map_err(|error| cannot("make", dir, &error))?;
        }
        match trust.find_doubt(dir) {
            None => Ok(()),
            Some(doubt) => Err(CliError::failure(format!(
                "refused to write into `{}`: {doubt}",
                dir.display()
            ))),
        }
    }

    /// Puts `content` at `path` with `mode`, in a directory that was made or checked. A link of that
    /// name is replaced, not followed.
    ///
    /// # Errors
    /// When it cannot be written; what was there is still there then.
    pub(super) fn write(&mut self, path: &Path, content: &[u8], mode: u32) -> Result<(), CliError> {
        let failed = |error: io::Error| cannot("write", path, &error);
        let before = match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => Some(Before {
                content: std::fs::read(path).map_err(failed)?,
                mode: metadata.mode() & 0o7777,
            }),
            _ => None,
        };
        replace(path, content, mode).map_err(failed)?;
        self.done.push(Change::Wrote { path: path.to_owned(), before });
        Ok(())
    }

    /// Takes everything back, last first; what could not be is told.
    pub(super) fn undo(self) -> Vec<CliError> {
        let undone = self.done.into_iter().rev().map(|change| match change {
            Change::Made(dir) => {
                std::fs::remove_dir(&dir).map_err(|error| cannot("remove", &dir, &error))
            }
            Change::Wrote { path, before: None } => {
                std::fs::remove_file(&path).map_err(|error| cannot("remove", &path, &error))
            }
            Change::Wrote { path, before: Some(before) } => {
                replace(&path, &before.content, before.mode)
                    .map_err(|error| cannot("restore", &path, &error))
            }
        });
        undone.filter_map(Result::err).collect()
    }
}

/// Writes beside it and renames: whoever looks sees one of the two whole.
fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".banger-new");
    let new = path.with_file_name(name);
    // What a killed one left.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&new, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&new)))
}

/// Removes a file; one that is gone is.
///
/// # Errors
/// When it stays.
pub(super) fn remove(path: &Path) -> Result<(), CliError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(cannot("remove", path, &error))
        }
        _ => Ok(()),
    }
}

/// Removes a directory that is empty; one that is not, or is gone, is nobody's business.
pub(super) fn remove_if_empty(dir: &Path) {
    let _ = std::fs::remove_dir(dir);
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> CliError {
    CliError::failure(format!("cannot {what} `{}`", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_others_could_change_is_not_relied_on() {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o755);
        let uid = rustix::process::getuid().as_raw();
        let trust = Trust { uid, top: dir.path() };
        let bin = dir.path().join("lib/bin");
        std::fs::create_dir_all(&bin).unwrap();
        chmod(&bin, 0o755);
        chmod(bin.parent().unwrap(), 0o755);
        let program = bin.join("program");
        std::fs::write(&program, "").unwrap();
        chmod(&program, 0o755);
        assert_eq!(trust.find_doubt(&program), None);

        for (place, bad) in [(&program, 0o775), (&bin, 0o757), (&dir.path().to_owned(), 0o1777)] {
            chmod(place, bad);
            let doubt = trust.find_doubt(&program);
            assert_eq!(doubt, Some(format!("others may write `{}`", place.display())));
            chmod(place, 0o755);
        }
        let doubt = Trust { uid: uid + 1, ..trust }.find_doubt(&program).unwrap();
        assert!(doubt.ends_with(&format!("belongs to user {uid}")), "{doubt}");
        let link = dir.path().join("link");
        symlink(&bin, &link).unwrap();
        let doubt = trust.find_doubt(&link.join("program")).unwrap();
        assert!(doubt.ends_with("is a symbolic link"), "{doubt}");
        assert!(trust.find_doubt(&bin.join("none")).is_some());
    }

    #[test]
    fn everything_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o755);
        let trust = Trust { uid: rustix::process::getuid().as_raw(), top: dir.path() };
        let old = dir.path().join("old");
        std::fs::write(&old, "before").unwrap();
        chmod(&old, 0o640);
        let deep = dir.path().join("a/b");
        let mut changes = Changes::default();
        let mut made = Vec::new();
        changes.make_directories(&deep, trust, &mut made).unwrap();
        changes.make_directories(&deep, trust, &mut made).unwrap();
        assert_eq!(made, [dir.path().join("a"), deep.clone()]);
        changes.write(&deep.join("new"), b"now", 0o755).unwrap();
        changes.write(&old, b"now", 0o644).unwrap();
        assert_eq!((mode(&deep.join("new")), mode(&old)), (0o755, 0o644));
        assert_eq!(std::fs::read(&old).unwrap(), b"now");

        assert!(changes.undo().is_empty());
        assert_eq!((std::fs::read(&old).unwrap(), mode(&old)), (b"before".to_vec(), 0o640));
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn links_are_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::fs::write(&target, "theirs").unwrap();
        symlink(&target, &link).unwrap();
        // Nor is one that waits where the new file is written.
        symlink(&target, dir.path().join("link.banger-new")).unwrap();
        Changes::default().write(&link, b"ours", 0o644).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"theirs");
        assert_eq!(std::fs::read(&link).unwrap(), b"ours");
        assert!(!link.is_symlink());
    }

    #[test]
    fn what_is_gone_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        remove(&file).unwrap();
        remove(&file).unwrap();
        assert!(remove(dir.path()).is_err());
    }
}
