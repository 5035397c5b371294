//! Which shell somebody gets who names no command: the user's own, else the best there is.

use std::os::fd::OwnedFd;
use std::path::Path;

use banger_proto::Problem;
use banger_proto::guest::NO_SHELL;
use rustix::fs::{FileType, Mode, OFlags};

use crate::root::RootDir;

/// Shells of images whose users have none, the more comfortable first.
const SHELLS: [&str; 4] = ["/bin/bash", "/bin/sh", "/usr/bin/bash", "/usr/bin/sh"];

/// Where busybox may be, in images that have it without links: it is its own shell.
const BUSYBOXES: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/busybox/busybox"];

/// Last parts of what stands in the place of a shell to say that there is none.
const REFUSALS: [&str; 2] = ["nologin", "false"];

/// A shell and how to start it for a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shell {
    pub(super) program: String,
    pub(super) arg0: String,
    pub(super) args: Vec<String>,
}

impl Shell {
    /// The best shell in `root` for a user whose account says `own`.
    ///
    /// Users of services often have none of their own, and a service's image may run as one of
    /// them. Whoever asks may run any program as any user, so nothing is guarded by that.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find(root: &RootDir, own: &str) -> Result<Self, Problem> {
        let own = Some(own).filter(|own| !REFUSALS.contains(&last_part(own)));
        let shell = own.into_iter().chain(SHELLS).find(|path| is_program(root, path));
        if let Some(path) = shell {
            // The leading dash makes a shell a login shell.
            let arg0 = format!("-{}", last_part(path));
            return Ok(Self { program: path.to_owned(), arg0, args: Vec::new() });
        }
        match BUSYBOXES.into_iter().find(|path| is_program(root, path)) {
            Some(path) => Ok(Self {
                program: path.to_owned(),
                arg0: "busybox".to_owned(),
                args: ["sh", "-l"].map(str::to_owned).to_vec(),
            }),
            None => Err(Problem::new(NO_SHELL.to_owned().into(), "the guest has no shell")),
        }
    }
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether `path` is a file that somebody may execute.
pub(super) fn is_program(root: &RootDir, path: &str) -> bool {
    let stat = |file: OwnedFd| rustix::fs::fstat(file).map_err(std::io::Error::from);
    root.open(Path::new(path), OFlags::PATH).and_then(stat).is_ok_and(|stat| {
        let anybody = Mode::XUSR | Mode::XGRP | Mode::XOTH;
        FileType::from_raw_mode(stat.st_mode).is_file()
            && Mode::from_raw_mode(stat.st_mode).intersects(anybody)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::root::Root;

    #[test]
    fn the_users_own_comes_first_and_busybox_last() {
        let image = tempfile::tempdir().unwrap();
        let root = Root::Directory(image.path().into()).open().unwrap();
        let make = |path: &str, mode| {
            let path = image.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        let found = |own: &str| Shell::find(&root, own).map(|shell| (shell.arg0, shell.program));
        let shell = |arg0: &str, path: &str| Ok((arg0.to_owned(), path.to_owned()));

        let none = found("/bin/sh").unwrap_err();
        assert_eq!(none.code.as_str(), NO_SHELL);

        make("busybox/busybox", 0o755);
        assert_eq!(found("/bin/sh"), shell("busybox", "/busybox/busybox"));
        make("bin/bash", 0o644);
        assert_eq!(found("/bin/bash"), shell("busybox", "/busybox/busybox"));
        // A link to the image's own top, as busybox images have them.
        symlink("/busybox/busybox", image.path().join("bin/sh")).unwrap();
        assert_eq!(found("/bin/bash"), shell("-sh", "/bin/sh"));
        make("bin/zsh", 0o755);
        assert_eq!(found("/bin/zsh"), shell("-zsh", "/bin/zsh"));
        make("usr/sbin/nologin", 0o755);
        assert_eq!(found("/usr/sbin/nologin"), shell("-sh", "/bin/sh"));
        assert_eq!(found("/bin"), shell("-sh", "/bin/sh"));
    }
}
