//! What is written for the service manager, as text.

use std::path::{Path, PathBuf};

use banger_proto::BridgeName;
use banger_proto::helper::SYSTEM_SOCKET;
use banger_proto::paths::{SYSTEM_RUNTIME_DIR, system_runtime_dir};

use crate::system::hardening::{self, BUILDER, DAEMON, HELPER};
use crate::system::owner::Owner;

/// The daemon's socket.
pub(crate) const DAEMON_SOCKET: &str = "bangerd.socket";
/// The daemon.
pub(crate) const DAEMON_SERVICE: &str = "bangerd.service";
/// The helper's socket.
pub(crate) const HELPER_SOCKET: &str = "banger-helper.socket";
/// All helpers there are: one for each connection.
pub(super) const HELPERS: &str = "banger-helper@*.service";

/// The socket of builds.
pub(super) const BUILD_SOCKET: &str = "banger-build.socket";
/// All builds there are: one for each connection.
pub(super) const BUILDS: &str = "banger-build@*.service";

/// Most builds at a time.
const MAX_BUILDS: u32 = 16;
/// Most connections to the helper at a time: the daemon's, and one for each VM that is just starting.
const MAX_HELPERS: u32 = 64;
/// Connections that wait for the daemon; the daemon's own number.
const BACKLOG: u32 = 4096;
/// How long the daemon may take to end, seconds: on a host that shuts down it stops VMs first.
const STOP_SECONDS: u32 = 120;

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitFile {
    /// Where.
    pub(crate) path: PathBuf,
    /// What it is for, a fragment.
    pub(crate) purpose: &'static str,
    /// What stands in it.
    pub(crate) text: String,
}

/// All files for `owner`, with the programs beneath `prefix`, and VMs on `bridge`.
pub(super) fn render(owner: &Owner, prefix: &Path, bridge: &BridgeName) -> Vec<UnitFile> {
    let unit = |name: &str, purpose, text| UnitFile {
        path: Path::new("/etc/systemd/system").join(name),
        purpose,
        text,
    };
    vec![
        UnitFile {
            path: "/etc/tmpfiles.d/banger.conf".into(),
            purpose: "the directory of sockets, at each boot",
            text: render_tmpfiles(owner),
        },
        unit(HELPER_SOCKET, "where the owner asks for networks", render_helper_socket(owner)),
        unit(
            "banger-helper@.service",
            "changes networks, as root with two capabilities",
            render_helper(owner, prefix, bridge),
        ),
        unit(BUILD_SOCKET, "where the daemon has images built", render_build_socket(owner)),
        unit(
            "banger-build@.service",
            "builds images, as the owner, with the user namespaces that the daemon may not have",
            render_builder(owner, prefix),
        ),
        unit(DAEMON_SOCKET, "where commands reach the daemon", render_daemon_socket(owner)),
        unit(
            DAEMON_SERVICE,
            "the daemon, as the owner, from boot on",
            render_daemon(owner, prefix),
        ),
    ]
}

/// Mode of sockets in the owner's directory, which lets nobody else in. They stay root's: to give a file
/// away, the service manager names it once more (`chown`, which follows links), and by then the owner can
/// have put a link to any other file in its place.
const OWNERS_SOCKET_MODE: &str = "0666";

const HEAD: &str = "# Written by `banger system install`, removed by `banger system uninstall`.\n";

fn render_tmpfiles(owner: &Owner) -> String {
    let dir = system_runtime_dir(owner.uid);
    let (uid, gid) = (owner.uid, owner.gid);
    format!("{HEAD}d {SYSTEM_RUNTIME_DIR} 0755 root root\nd {} 0700 {uid} {gid}\n", dir.display())
}

fn render_helper_socket(owner: &Owner) -> String {
    format!(
        "{HEAD}[Unit]
Description=Networks of banger's VMs

[Socket]
ListenSequentialPacket={SYSTEM_SOCKET}
Accept=yes
SocketUser={uid}
SocketMode=0600
MaxConnections={MAX_HELPERS}
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
",
        uid = owner.uid
    )
}

/// It comes before the daemon, so that at the host's shutdown it goes after it: a daemon that stops its VMs
/// still has to take their network away.
fn render_helper(owner: &Owner, prefix: &Path, bridge: &BridgeName) -> String {
    format!(
        "{HEAD}[Unit]
Description=Networks of banger's VMs
CollectMode=inactive-or-failed
Before={DAEMON_SERVICE}

[Service]
ExecStart={helper} serve --host --owner {uid} --bridge {bridge}
StandardInput=socket
StandardOutput=journal
StandardError=journal
{hardening}",
        helper = prefix.join("lib/banger/banger-helper").display(),
        uid = owner.uid,
        hardening = hardening::render(HELPER),
    )
}

fn render_build_socket(owner: &Owner) -> String {
    format!(
        "{HEAD}[Unit]
Description=Images of {name}'s VMs

[Socket]
ListenStream={socket}
Accept=yes
SocketMode={OWNERS_SOCKET_MODE}
MaxConnections={MAX_BUILDS}
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
",
        name = owner.name,
        socket = system_runtime_dir(owner.uid).join("build.sock").display(),
    )
}

fn render_builder(owner: &Owner, prefix: &Path) -> String {
    format!(
        "{HEAD}[Unit]
Description=An image of {name}'s VMs
CollectMode=inactive-or-failed

[Service]
User={uid}
Group={gid}
ExecStart=@{banger} banger-builder
StandardInput=socket
StandardOutput=journal
StandardError=journal
KillMode=control-group
{hardening}",
        name = owner.name,
        uid = owner.uid,
        gid = owner.gid,
        banger = prefix.join("bin/banger").display(),
        hardening = hardening::render(BUILDER),
    )
}

fn render_daemon_socket(owner: &Owner) -> String {
    format!(
        "{HEAD}[Unit]
Description=VMs of {name}

[Socket]
ListenStream={socket}
SocketMode={OWNERS_SOCKET_MODE}
Backlog={BACKLOG}
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
",
        name = owner.name,
        socket = system_runtime_dir(owner.uid).join("bangerd.sock").display(),
    )
}

/// The bus is what it asks whether the host shuts down, so it ends before that does.
fn render_daemon(owner: &Owner, prefix: &Path) -> String {
    format!(
        "{HEAD}[Unit]
Description=VMs of {name}
Requires={DAEMON_SOCKET}
Wants={HELPER_SOCKET} {BUILD_SOCKET}
After={DAEMON_SOCKET} {HELPER_SOCKET} {BUILD_SOCKET} dbus.service dbus.socket systemd-resolved.service network.target nss-user-lookup.target
RequiresMountsFor=\"{home}\"

[Service]
User={uid}
Group={gid}
ExecStart=@{banger} bangerd
StandardInput=socket
StandardOutput=journal
StandardError=journal
Restart=on-failure
KillMode=control-group
TimeoutStopSec={STOP_SECONDS}
LimitNOFILE=65536
{hardening}
[Install]
WantedBy=multi-user.target
",
        name = owner.name,
        home = owner.home.display(),
        uid = owner.uid,
        gid = owner.gid,
        banger = prefix.join("bin/banger").display(),
        hardening = hardening::render(DAEMON),
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn files() -> Vec<UnitFile> {
        let owner = Owner { name: "jo".into(), uid: 1000, gid: 1001, home: "/home/jo doe".into() };
        render(&owner, Path::new("/usr/local"), &BridgeName::default())
    }

    #[test]
    fn what_is_written() {
        let all: Vec<String> = files()
            .iter()
            .map(|file| format!("==> {}: {}\n{}", file.path.display(), file.purpose, file.text))
            .collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn nothing_in_the_owners_directory_is_given_away() {
        let files = files();
        let sockets = files.iter().filter(|file| file.path.extension() == Some("socket".as_ref()));
        let mut theirs = 0;
        for socket in sockets {
            let listen = socket.text.lines().find_map(|line| line.strip_prefix("Listen"));
            let (_, path) = listen.unwrap().split_once('=').unwrap();
            if Path::new(path).parent() != Some(Path::new(SYSTEM_RUNTIME_DIR)) {
                theirs += 1;
                assert!(!socket.text.contains("SocketUser"), "{}", socket.text);
                assert!(!socket.text.contains("SocketGroup"), "{}", socket.text);
            }
        }
        assert_eq!(theirs, 2);
    }

    /// The service manager's own judge: 0 is a service that may do nothing, 10 one that may do all.
    #[test]
    fn services_are_exposed_little() {
        let dir = tempfile::tempdir().unwrap();
        for name in [DAEMON_SERVICE, "banger-helper@.service"] {
            let files = files();
            let file = files.iter().find(|file| file.path.ends_with(name)).unwrap();
            let unit = dir.path().join(file.path.file_name().unwrap());
            std::fs::write(&unit, &file.text).unwrap();
            let judged = Command::new("systemd-analyze")
                .args(["security", "--offline=true", "--no-pager", "--threshold=30"])
                .arg(&unit)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&judged.stdout);
            assert!(judged.status.success(), "{}\n{said}", unit.display());
            assert!(said.contains("Overall exposure level"), "{said}");
        }
    }

    /// Whether it reads the units, and finds nothing wrong in what they say.
    #[test]
    fn units_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner { name: "root".into(), uid: 0, gid: 0, home: "/root".into() };
        let prefix = dir.path().join("prefix");
        for program in ["bin/banger", "lib/banger/banger-helper"] {
            let program = prefix.join(program);
            std::fs::create_dir_all(program.parent().unwrap()).unwrap();
            std::fs::copy("/bin/true", program).unwrap();
        }
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]);
        for file in render(&owner, &prefix, &BridgeName::default()) {
            if file.path.starts_with("/etc/systemd") {
                let unit = dir.path().join(file.path.file_name().unwrap());
                std::fs::write(&unit, &file.text).unwrap();
                verify.arg(unit);
            }
        }
        let said = verify.output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr);
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("banger")).collect();
        assert!(ours.is_empty(), "{said}");
    }
}
