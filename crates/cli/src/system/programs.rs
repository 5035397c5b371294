//! Which programs the services run: those that run this command, where nobody but root can change
//! them, else copies of them.

use std::path::{Path, PathBuf};

use crate::errors::CliError;
use crate::system::files::Trust;

/// Where copies go.
const PREFIX: &str = "/usr/local";
/// The programs that there must be, beneath a prefix.
const NEEDED: [&str; 3] = ["bin/banger", "lib/banger/banger-agent", "lib/banger/banger-helper"];
/// One that `banger` itself can stand in for.
const OPTIONAL: &str = "lib/banger/banger-supervisor";

/// The programs of the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    /// What they are beneath.
    pub(super) prefix: PathBuf,
    /// What has to be copied for that, from where to where.
    pub(super) copies: Vec<Copy>,
}

/// A program that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    /// From where.
    pub(super) from: PathBuf,
    /// To where.
    pub(super) to: PathBuf,
}

impl Programs {
    /// The programs that belong to the running one, `executable`.
    ///
    /// # Errors
    /// When one is missing.
    pub(super) fn of(executable: &Path, trust: Trust<'_>) -> Result<Self, CliError> {
        let beside = executable.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        for program in NEEDED.map(|program| beside.join(program)) {
            if !program.is_file() {
                let message =
                    format!("`{}` is missing, which the services need", program.display());
                return Err(CliError::failure(message)
                    .hint("install banger as a whole first; a checkout needs `make build`"));
            }
        }
        let optional = Some(OPTIONAL).filter(|program| beside.join(program).is_file());
        let names = || NEEDED.into_iter().chain(optional);
        let trusted = names().all(|name| trust.find_doubt(&beside.join(name)).is_none());
        if trusted && is_plain(beside) {
            return Ok(Self { prefix: beside.to_owned(), copies: Vec::new() });
        }
        let prefix = Path::new(PREFIX);
        let copies = names().map(|name| Copy { from: beside.join(name), to: prefix.join(name) });
        Ok(Self { prefix: prefix.to_owned(), copies: copies.collect() })
    }
}

/// Whether a unit can name it without anything in it meaning something else.
fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|path| {
        path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn install(dir: &Path, programs: &[&str]) -> PathBuf {
        for program in programs {
            let path = dir.join(program);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
        }
        let open = |path: &Path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        open(dir);
        for name in ["bin", "lib", "lib/banger"].iter().chain(programs) {
            open(&dir.join(name));
        }
        dir.join("bin/banger")
    }

    #[test]
    fn what_only_root_can_change_stays_where_it_is() {
        let dir = tempfile::Builder::new().prefix("banger").tempdir().unwrap();
        let banger = install(dir.path(), &NEEDED);
        let uid = rustix::process::getuid().as_raw();
        let trust = Trust { uid, top: dir.path() };
        let here = Programs { prefix: dir.path().to_owned(), copies: vec![] };
        assert_eq!(Programs::of(&banger, trust).unwrap(), here);

        let other = Trust { uid: uid + 1, ..trust };
        let copied = Programs::of(&banger, other).unwrap();
        assert_eq!(copied.prefix, Path::new("/usr/local"));
        assert_eq!(copied.copies.len(), 3);
        assert_eq!(copied.copies[0].to, Path::new("/usr/local/bin/banger"));
        std::fs::write(dir.path().join(OPTIONAL), "").unwrap();
        assert_eq!(Programs::of(&banger, other).unwrap().copies.len(), 4);
    }

    #[test]
    fn odd_names_stay_out_of_units() {
        let dir = tempfile::Builder::new().prefix("%n ").tempdir().unwrap();
        let banger = install(dir.path(), &NEEDED);
        let trust = Trust { uid: rustix::process::getuid().as_raw(), top: dir.path() };
        assert_eq!(Programs::of(&banger, trust).unwrap().copies.len(), 3);
    }

    #[test]
    fn half_an_installation_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let banger = install(dir.path(), &NEEDED[..2]);
        let error = Programs::of(&banger, Trust::root()).unwrap_err();
        assert!(format!("{error:?}").contains("banger-helper"), "{error:?}");
    }
}
