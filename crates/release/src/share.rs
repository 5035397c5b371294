//! Links beneath `PREFIX/share` by which shells and `man` find the completions and pages of the release in
//! use. The installer makes the first ones; another release may have more pages, or fewer.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use banger_proto::installation::Installation;
use fs_err as fs;

/// What is linked of a release's `share`.
const KINDS: [&str; 4] = ["bash-completion", "zsh", "fish", "man"];

/// Links what the release in use has and `PREFIX/share` has not, and removes links to what it has not. What
/// somebody else has put there stays.
///
/// # Errors
/// When `PREFIX/share` cannot be read or changed.
pub fn link_shared(installation: &Installation) -> io::Result<()> {
    let (release, shared) =
        (installation.current().join("share"), installation.prefix.join("share"));
    for kind in KINDS {
        for file in files(&release.join(kind))? {
            let Ok(name) = file.strip_prefix(&release) else { continue };
            let link = shared.join(name);
            if fs::symlink_metadata(&link).is_ok() {
                continue;
            }
            if let Some(directory) = link.parent() {
                fs::create_dir_all(directory)?;
            }
            symlink(&file, &link)?;
        }
        for link in files(&shared.join(kind))? {
            let leads_here = std::fs::read_link(&link).is_ok_and(|to| to.starts_with(&release));
            if leads_here && !link.exists() {
                fs::remove_file(&link)?;
            }
        }
    }
    Ok(())
}

/// What is beneath `directory` and no directory itself; nothing where there is none.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A release in use that has these manual pages.
    fn release(prefix: &Path, name: &str, pages: &[&str]) {
        let lib = prefix.join("lib/banger");
        let man = lib.join("releases").join(name).join("share/man/man1");
        fs::create_dir_all(&man).unwrap();
        for page in pages {
            fs::write(man.join(page), name).unwrap();
        }
        let _ = fs::remove_file(lib.join("current"));
        symlink(Path::new("releases").join(name), lib.join("current")).unwrap();
    }

    #[test]
    fn pages_come_and_go_with_releases() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = dir.path();
        let installation = Installation { prefix: prefix.to_owned() };
        let pages = prefix.join("share/man/man1");
        let list = || {
            let mut names: Vec<_> = files(&pages).unwrap();
            names.sort();
            names.iter().map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>()
        };
        release(prefix, "v1", &["banger.1", "banger-old.1"]);
        link_shared(&installation).unwrap();
        assert_eq!(list(), ["v1", "v1"]);

        fs::write(pages.join("banger-new.1"), "somebody's own").unwrap();
        symlink("nowhere", pages.join("other.1")).unwrap();
        release(prefix, "v2", &["banger.1", "banger-new.1", "banger-newer.1"]);
        link_shared(&installation).unwrap();
        fs::remove_file(pages.join("other.1")).expect("not ours");
        assert_eq!(list(), ["somebody's own", "v2", "v2"]);
        link_shared(&installation).unwrap();
        assert_eq!(list().len(), 3);
    }
}
