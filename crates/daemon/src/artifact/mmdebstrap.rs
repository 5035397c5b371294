//! Running `mmdebstrap`, which makes a tar of a distribution's packages without touching the
//! host's own.
//!
//! The same command serves root and everybody else: it runs as root of new namespaces, in which
//! an ordinary user has their subordinate ids (`newuidmap`, `/etc/subuid`). The process namespace
//! takes everything down with its first process, so that killing that one kills a whole build.
//!
//! Nothing is said about mirrors: mmdebstrap knows its default, and the host's own sources where
//! they have the suite.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exec::{Builder, ExecError, HostEnv, Program};
use crate::progress::Progress;

/// How long a build may take: a slow mirror is slow, one that says nothing for long is dead.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Subordinate ids of users.
const SUBUID: &str = "/etc/subuid";

/// Why packages could not be turned into a tar.
#[derive(Debug, thiserror::Error)]
pub enum PackagingError {
    /// A program is not there.
    #[error("`{program}` is not installed, which {purpose}")]
    Missing {
        /// The program.
        program: &'static str,
        /// What it is for.
        purpose: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The user has no subordinate ids.
    #[error("`{SUBUID}` gives uid {uid} no subordinate ids, without which only root can build")]
    NoSubordinateIds {
        /// The user.
        uid: u32,
    },
    /// It ran and failed.
    #[error("cannot fetch and unpack the packages")]
    Failed(#[source] ExecError),
}

impl PackagingError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { package, .. } => {
                Some(format!("Install it: `sudo apt-get install {package}`."))
            }
            Self::NoSubordinateIds { .. } => Some(
                "Give yourself some: `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER`."
                    .to_owned(),
            ),
            Self::Failed(ExecError::Failed { stderr, .. }) => render_failure_hint(stderr),
            Self::Failed(_) => None,
        }
    }
}

fn render_failure_hint(stderr: &str) -> Option<String> {
    let hint = if stderr.contains("NO_PUBKEY") || stderr.contains("keyring") {
        "Install the distribution's keys: `sudo apt-get install debian-archive-keyring`."
    } else if stderr.contains("unshare failed") {
        "User namespaces are not allowed here; a system setting (AppArmor, `user.max_user_namespaces`) has to allow them."
    } else if stderr.contains("map-auto") {
        "`unshare` is older than 2.38; a newer `util-linux` is needed to build without root."
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// Makes a tar with `args`, which have everything but mode, format and target.
///
/// # Errors
/// When a program is missing, the user has no subordinate ids, or the build fails.
pub(crate) async fn make_tar(
    env: &HostEnv,
    work: &Path,
    args: Vec<OsString>,
    tar: &Path,
    progress: &Progress,
) -> Result<(), PackagingError> {
    check(env)?;
    let progress = progress.clone();
    in_namespaces(env)
        .called("mmdebstrap")
        .args(["mmdebstrap", "--mode=root", "--format=tar"])
        // Without it apt warns that its own user cannot enter a private directory.
        .arg("--aptopt=APT::Sandbox::User \"root\"")
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .args(args)
        .arg(tar)
        .env("TMPDIR", work)
        .current_dir(work)
        .stderr_lines(move |line| {
            if let Some(label) = parse_label(line) {
                progress.update(label, 0, None);
            }
        })
        .deadline(DEADLINE)
        .run()
        .await
        .map_err(PackagingError::Failed)
}

/// A program, whose words are to follow, as root of its own users, processes and mounts.
pub(crate) fn in_namespaces(env: &HostEnv) -> Program {
    let program = match env.builder() {
        None => Program::new(env, "setpriv"),
        Some(Builder { executable, socket }) => Program::new(env, executable)
            .args(["internal", "build-elsewhere"])
            .arg(socket)
            .args(["--", "setpriv"]),
    };
    // A daemon that is killed cannot end its builds; the kernel does it then.
    program.args(["--pdeathsig", "KILL", "--", "unshare"]).args(namespaces()).arg("--")
}

/// Arguments of `unshare` that make whoever calls it root of their own processes and mounts.
fn namespaces() -> Vec<&'static str> {
    let mut args = vec!["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !rustix::process::geteuid().is_root() {
        args.splice(0..0, ["--user", "--map-root-user", "--map-auto"]);
    }
    args
}

/// What mmdebstrap is doing, from one line of its messages (`I: …`).
fn parse_label(line: &str) -> Option<&'static str> {
    const LABELS: [(&str, &str); 7] = [
        ("running apt-get update", "fetching package lists"),
        ("downloading packages", "downloading packages"),
        ("extracting archives", "unpacking packages"),
        ("installing essential", "installing essential packages"),
        ("installing remaining", "installing packages"),
        ("cleaning package lists", "cleaning up"),
        ("creating tarball", "packing"),
    ];
    let text = line.strip_prefix("I: ")?;
    LABELS.iter().find(|(start, _)| text.starts_with(start)).map(|&(_, label)| label)
}

fn check(env: &HostEnv) -> Result<(), PackagingError> {
    let needs: [(&'static str, &'static str, &'static str); 4] = [
        ("mmdebstrap", "fetches and unpacks packages", "mmdebstrap"),
        ("unshare", "gives a build its own namespaces", "util-linux"),
        ("setpriv", "ends a build with its daemon", "util-linux"),
        ("newuidmap", "lets builds without root have files of several users", "uidmap"),
    ];
    let root = rustix::process::geteuid().is_root();
    for (program, purpose, package) in needs {
        if env.find(program).is_none() && !(root && program == "newuidmap") {
            return Err(PackagingError::Missing { program, purpose, package });
        }
    }
    if root {
        return Ok(());
    }
    let uid = rustix::process::getuid().as_raw();
    // A file that cannot be read is one without an entry.
    let subuid = fs_err::read_to_string(SUBUID).unwrap_or_default();
    let passwd = fs_err::read_to_string("/etc/passwd").unwrap_or_default();
    if has_subordinate_ids(&subuid, &passwd, uid) {
        Ok(())
    } else {
        Err(PackagingError::NoSubordinateIds { uid })
    }
}

/// Whether `subuid` (`name-or-uid:first:count` lines) has an entry for `uid`. A user that
/// `passwd` does not know may come from a directory service and is given the benefit.
fn has_subordinate_ids(subuid: &str, passwd: &str, uid: u32) -> bool {
    let Some(name) = find_user_name(passwd, uid) else { return true };
    let uid = uid.to_string();
    subuid.lines().any(|line| line.split(':').next().is_some_and(|who| who == name || who == uid))
}

/// The name that `passwd` (passwd(5)) has for `uid`.
pub(crate) fn find_user_name(passwd: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    })
}

/// Name of a tar in a work directory.
pub(crate) fn tar_in(work: &Path) -> PathBuf {
    work.join("packages.tar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(parse_label("I: extracting archives..."), Some("unpacking packages"));
        let installing = "I: installing remaining packages inside the chroot...";
        assert_eq!(parse_label(installing), Some("installing packages"));
        assert_eq!(parse_label("W: extracting archives..."), None);
        assert_eq!(parse_label("I: done"), None);
    }

    #[test]
    fn subordinate_ids() {
        let passwd = "root:x:0:0::/root:/bin/sh\ndev:x:1001:1001::/home/dev:/bin/sh\n";
        assert!(has_subordinate_ids("dev:100000:65536\n", passwd, 1001));
        assert!(has_subordinate_ids("1001:100000:65536\n", passwd, 1001));
        assert!(!has_subordinate_ids("other:100000:65536\n", passwd, 1001));
        assert!(!has_subordinate_ids("", passwd, 1001));
        assert!(has_subordinate_ids("", passwd, 5000));
    }

    #[test]
    fn failures_have_hints() {
        let missing = PackagingError::NoSubordinateIds { uid: 1000 };
        let told = "gives uid 1000 no subordinate ids, without which only root can build";
        assert!(missing.to_string().ends_with(told), "{missing}");
        assert!(missing.hint().unwrap().contains("usermod --add-subuids"));
        let (program, purpose, package) = ("newuidmap", "gives a build its users", "uidmap");
        let missing = PackagingError::Missing { program, purpose, package };
        assert!(missing.to_string().starts_with("`newuidmap` is not installed, which gives"));
        assert!(missing.hint().unwrap().ends_with("apt-get install uidmap`."));
        let hint = render_failure_hint("GPG error: NO_PUBKEY 0E98404D386FA1D9").unwrap();
        assert!(hint.contains("debian-archive-keyring"));
        assert_eq!(render_failure_hint("E: 404"), None);
    }
}
