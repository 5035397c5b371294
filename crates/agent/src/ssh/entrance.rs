//! Who is let in: root's `authorized_keys`, and the posture of a server that the image runs
//! itself. Done at every boot, so that a changed key reaches the guest at its next start.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid};

use super::{POSTURE, SshPlaces, account, sshd};
use crate::root::RootDir;

/// Ends every line that is banger's; all others are somebody else's and stay.
const MARK: &str = " banger-managed";
/// Most bytes of an `authorized_keys` that is looked through. Beyond it something is odd, and it
/// is left alone.
const KEYS_LIMIT: u64 = 1 << 20;
/// Where a server that the image runs itself looks for more configuration (sshd_config(5), as
/// distributions ship it).
const DROP_IN: &str = "/etc/ssh/sshd_config.d/99-banger.conf";
/// How the units of such a server are called.
const UNITS: [&str; 6] = [
    "/etc/systemd/system/ssh.service",
    "/etc/systemd/system/sshd.service",
    "/usr/lib/systemd/system/ssh.service",
    "/usr/lib/systemd/system/sshd.service",
    "/lib/systemd/system/ssh.service",
    "/lib/systemd/system/sshd.service",
];

/// Lets in who has one of `keys`, and nobody whom banger let in before. Nothing here stops a
/// boot; returns what did not work.
pub(crate) fn open(root: &RootDir, places: &SshPlaces, keys: &[String]) -> Vec<String> {
    let authorized = authorize(root, &places.authorized_keys, keys);
    let server = sshd::find(root).is_some();
    let unlocked = if server { account::unlock(root) } else { Ok(()) };
    let posture = match server && UNITS.iter().any(|unit| root.has(Path::new(unit))) {
        true => take_posture(root),
        false => Ok(()),
    };
    [
        ("let anybody in by SSH", authorized),
        ("see to root's account for SSH", unlocked),
        ("give the image's own SSH server its configuration", posture),
    ]
    .into_iter()
    .filter_map(|(what, result)| Some(format!("cannot {what}: {}", result.err()?)))
    .collect()
}

/// Puts `keys` into the file `path`. The server refuses it where others could write to it or to
/// a directory above, so those are tightened, too.
fn authorize(root: &RootDir, path: &Path, keys: &[String]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let home = dir.parent().unwrap_or(Path::new("/"));
    tighten(&readable(root, home, OFlags::DIRECTORY)?, 0o755)?;
    root.ensure_directory(dir)?;
    tighten(&readable(root, dir, OFlags::DIRECTORY)?, 0o700)?;
    let before = match root.read(path, KEYS_LIMIT + 1) {
        Ok(bytes) if bytes.len() as u64 > KEYS_LIMIT => {
            return Err(io::Error::other(format!("`{}` is too large", path.display())));
        }
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    root.ensure_file(path, &render_authorized(&before, keys), 0o600)?;
    tighten(&readable(root, path, OFlags::empty())?, 0o600)
}

/// The lines that are not banger's as they are, then `keys`.
fn render_authorized(before: &[u8], keys: &[String]) -> Vec<u8> {
    let ours = |line: &&[u8]| line.trim_ascii_end().ends_with(MARK.as_bytes());
    let mut text: Vec<u8> = before
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !ours(line))
        .flatten()
        .copied()
        .collect();
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    for key in keys {
        // Type and key; a comment of its own could be anything.
        let words: Vec<_> =
            key.lines().next().unwrap_or_default().split_ascii_whitespace().take(2).collect();
        if let [kind, key] = words[..] {
            text.extend_from_slice(format!("{kind} {key}{MARK}\n").as_bytes());
        }
    }
    text
}

/// Opens `path` so that its owner and mode can be changed.
fn readable(root: &RootDir, path: &Path, kind: OFlags) -> io::Result<OwnedFd> {
    root.open(path, OFlags::RDONLY | OFlags::NONBLOCK | kind)
}

/// Makes `file` the agent's own, root's, and takes away what `mode` does not have.
fn tighten(file: impl AsFd, mode: u32) -> io::Result<()> {
    let stat = rustix::fs::fstat(&file)?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)) != (uid, gid) {
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    let now = stat.st_mode & 0o7777;
    if now & mode != now {
        rustix::fs::fchmod(&file, Mode::from_raw_mode(now & mode))?;
    }
    Ok(())
}

fn take_posture(root: &RootDir) -> io::Result<()> {
    let path = Path::new(DROP_IN);
    root.ensure_directory(path.parent().unwrap_or(path))?;
    root.ensure_file(path, POSTURE.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::root::Root;

    const KEY: &str = "ssh-ed25519 AAAAnew me@host";

    fn authorized(before: &str, keys: &[&str]) -> String {
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        String::from_utf8(render_authorized(before.as_bytes(), &keys)).unwrap()
    }

    #[test]
    fn lines_of_others_survive_and_old_ones_of_ours_do_not() {
        let others = "# mine\n\ncommand=\"x\" ssh-rsa AAAAb friend\r\nssh-rsa AAAAc";
        let once = authorized(others, &[KEY]);
        assert_eq!(once, format!("{others}\nssh-ed25519 AAAAnew banger-managed\n"));
        assert_eq!(authorized(&once, &[KEY]), once);
        let changed = authorized(&once, &["ssh-rsa AAAAother"]);
        assert_eq!(changed, format!("{others}\nssh-rsa AAAAother banger-managed\n"));
        assert_eq!(authorized(&once, &[]), format!("{others}\n"));
    }

    #[test]
    fn a_key_is_one_line_without_options() {
        assert_eq!(authorized("", &["ssh-rsa A\nssh-rsa B"]), "ssh-rsa A banger-managed\n");
        assert_eq!(authorized("", &["nonsense", ""]), "");
    }

    #[test]
    fn the_server_is_given_nothing_to_refuse() {
        let dir = tempfile::tempdir().unwrap();
        let mode =
            |path: &str| dir.path().join(path).metadata().unwrap().permissions().mode() & 0o7777;
        let set = |path: &str, mode| {
            std::fs::set_permissions(dir.path().join(path), PermissionsExt::from_mode(mode))
                .unwrap();
        };
        std::fs::create_dir_all(dir.path().join("root/.ssh")).unwrap();
        std::fs::write(dir.path().join("root/.ssh/authorized_keys"), "ssh-rsa AAAAold you")
            .unwrap();
        set("root", 0o777);
        set("root/.ssh", 0o755);
        set("root/.ssh/authorized_keys", 0o666);
        let root = Root::Directory(dir.path().into()).open().unwrap();
        let warnings = open(&root, &SshPlaces::default(), &[KEY.to_owned()]);
        assert_eq!(warnings, Vec::<String>::new());
        let modes = ["root", "root/.ssh", "root/.ssh/authorized_keys"].map(mode);
        assert_eq!(modes, [0o755, 0o700, 0o600]);
        let text = std::fs::read_to_string(dir.path().join("root/.ssh/authorized_keys")).unwrap();
        assert_eq!(text, "ssh-rsa AAAAold you\nssh-ed25519 AAAAnew banger-managed\n");
    }

    #[test]
    fn a_tighter_home_stays_so_and_what_is_missing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("root");
        std::fs::create_dir(&home).unwrap();
        std::fs::set_permissions(&home, PermissionsExt::from_mode(0o700)).unwrap();
        let root = Root::Directory(dir.path().into()).open().unwrap();
        assert!(open(&root, &SshPlaces::default(), &[KEY.to_owned()]).is_empty());
        assert_eq!(home.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
        let mode = |path: &str| home.join(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!([mode(".ssh"), mode(".ssh/authorized_keys")], [0o700, 0o600]);
        assert!(!dir.path().join("etc").exists(), "there is no server to configure");
    }

    #[test]
    fn a_server_of_the_images_own_gets_the_posture() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["root/x", "usr/sbin/sshd", "usr/lib/systemd/system/ssh.service"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let root = Root::Directory(dir.path().into()).open().unwrap();
        assert!(open(&root, &SshPlaces::default(), &[]).is_empty());
        let text = std::fs::read_to_string(dir.path().join(&DROP_IN[1..])).unwrap();
        assert_eq!(text, POSTURE);
    }
}
