//! The image's systemd as process 1: finding it, preparing `/run` for it, hearing when it is
//! ready, and its way back to us at power-off.
//!
//! ```text
//!   prepare ─▶ process 1 becomes systemd ── READY=1 ─▶ Running, devices are triggered
//!                                        ── STOPPING=1, or our order ─▶ Stopping
//!                                        ── systemd-shutdown ─▶ /run/initramfs/shutdown (us)
//! ```

use std::io;
use std::mem::MaybeUninit;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::{Arc, Weak};

use banger_proto::guest::{ExecRequest, GuestNetwork, InitState};
use rustix::fs::OFlags;
use rustix::io::IoSliceMut;
use rustix::mount::MountFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::Interest;

use super::overlay::real_path;
use super::{BootError, masks, mounts, network, newroot};
use crate::context::Context;
use crate::exec::{Plan, SpawnError, spawn_quiet};
use crate::guard;
use crate::root::RootDir;
use crate::sys::{self, Watched};

/// Abstract name of the socket that systemd tells its readiness to.
const NOTIFY_NAME: &str = "banger/notify";

/// Where an image's init may be, in the order in which the kernel's own search would go.
const CANDIDATES: [&str; 4] =
    ["/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd"];

/// In the initramfs: a directory with this program as `shutdown`. It is shown as
/// `/run/initramfs`, which systemd-shutdown makes its root when nothing else is left.
const EXIT_DIRECTORY: &str = "/exit";

/// Units that mean that `/tmp` is to be in memory, if one of them is there.
const TMP_IN_MEMORY: [&str; 3] = [
    "/etc/systemd/system/local-fs.target.wants/tmp.mount",
    "/usr/lib/systemd/system/local-fs.target.wants/tmp.mount",
    "/lib/systemd/system/local-fs.target.wants/tmp.mount",
];

/// The path of the image's init, if that is systemd.
pub(super) fn find(root: &RootDir) -> Option<&'static str> {
    CANDIDATES.into_iter().find(|candidate| {
        // The last part of the real path: `/sbin/init` is a link to systemd where it is one.
        root.open(Path::new(candidate), OFlags::PATH)
            .and_then(|file| std::fs::read_link(real_path(&file)))
            .is_ok_and(|path| path.file_name().is_some_and(|name| name == "systemd"))
    })
}

/// Prepares `/run` and `/tmp` of the new root for systemd.
pub(super) fn prepare(root: &RootDir) -> Result<(), BootError> {
    let run_flags = MountFlags::NOSUID | MountFlags::NODEV;
    newroot::mount_at(root, "tmpfs", "/run", run_flags, "mode=755,size=20%,nr_inodes=800k")?;
    mask(root, "/run/systemd/system", masks::UNITS)?;
    mask(root, "/run/systemd/system-generators", masks::GENERATORS)?;
    prepare_tmp(root)?;
    show_exit(root)
}

/// Has everything in the image leave the network card alone, which the agent has set up. Returns
/// what did not work and does not stop a boot.
pub(super) fn leave_card(root: &RootDir, network: &GuestNetwork) -> Result<Vec<String>, BootError> {
    mask(root, "/run/systemd/system", masks::CARD_UNITS)?;
    Ok(network::keep_managers_away(root, network))
}

fn mask(root: &RootDir, directory: &str, names: &[&str]) -> Result<(), BootError> {
    let failed = || BootError::preparing(format!("`{directory}`"));
    let place = root.ensure_directory(Path::new(directory)).map_err(failed())?;
    let mask_one = |name: &&str| match symlink("/dev/null", real_path(&place).join(name)) {
        // By an earlier configuration of the same boot.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        masked => masked,
    };
    names.iter().try_for_each(mask_one).map_err(failed())
}

/// Commands run before systemd comes to `/tmp`, and what they put there must stay: what systemd
/// would do to it is done now, and its own rule is replaced (a file in `/run` wins by name).
fn prepare_tmp(root: &RootDir) -> Result<(), BootError> {
    let failed = || BootError::preparing("`/tmp`");
    if TMP_IN_MEMORY.iter().any(|path| root.has(Path::new(path))) {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        newroot::mount_at(root, "tmpfs", "/tmp", flags, "mode=1777,size=50%,nr_inodes=1m")?;
    } else {
        let tmp = root.directory(Path::new("/tmp")).map_err(failed())?;
        clear(&real_path(&tmp)).map_err(failed())?;
    }
    root.ensure_directory(Path::new("/run/tmpfiles.d")).map_err(failed())?;
    let rule = b"d /tmp 1777 root root -\nd /var/tmp 1777 root root -\n";
    root.ensure_file(Path::new("/run/tmpfiles.d/tmp.conf"), rule, 0o644).map_err(failed())
}

fn clear(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Shows this program at `/run/initramfs/shutdown` without a copy of it in memory.
fn show_exit(root: &RootDir) -> Result<(), BootError> {
    let failed = || BootError::preparing("`/run/initramfs`");
    let exit = Path::new(EXIT_DIRECTORY);
    // systemd-shutdown moves the kernel's file systems along and refuses to go without their
    // mount points.
    for inner in ["dev", "proc", "run", "sys", "oldroot"] {
        std::fs::create_dir_all(exit.join(inner)).map_err(failed())?;
    }
    match std::fs::hard_link("/init", exit.join("shutdown")) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed()(error)),
        _ => {}
    }
    let place = root.ensure_directory(Path::new("/run/initramfs")).map_err(failed())?;
    mounts::bind(exit, &real_path(&place), false)
}

/// The socket at which systemd says how far it is.
#[derive(Debug)]
pub(super) struct Notify(Watched);

impl Notify {
    /// Binds the socket. Needs a runtime around it.
    pub(super) fn bind() -> io::Result<Self> {
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(NOTIFY_NAME)?)?;
        socket.set_nonblocking(true)?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        Ok(Self(sys::watch(Arc::new(socket.into()), Interest::READABLE)?))
    }

    /// Its name as `NOTIFY_SOCKET` has it.
    pub(super) fn address() -> String {
        format!("@{NOTIFY_NAME}")
    }

    /// Follows systemd for the life of the guest.
    pub(super) async fn follow(self, context: Weak<Context>) {
        let mut triggered = false;
        while let Ok(message) = self.receive().await {
            let Some(context) = context.upgrade() else { return };
            let says = |word: &str| {
                message.split(|byte| *byte == b'\n').any(|line| line == word.as_bytes())
            };
            if says("READY=1") {
                context.set_state(InitState::Running);
                if !std::mem::replace(&mut triggered, true) {
                    // Only now: until then the boot has the processors for itself.
                    if let Err(error) = guard::start(&context) {
                        eprintln!("banger-agent: no guard: {error}");
                    }
                    tokio::spawn(trigger_devices(context));
                }
            } else if says("STOPPING=1") {
                context.set_state(InitState::Stopping);
            }
        }
    }

    /// The next message of process 1. Anybody in the guest can send to the name, so the kernel's
    /// word on the sender decides.
    async fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut guard = self.0.readable().await?;
            let mut buffer = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(
                guard.get_inner(),
                &mut [IoSliceMut::new(&mut buffer)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            );
            let length = match received {
                Ok(message) => message.bytes,
                Err(rustix::io::Errno::AGAIN) => {
                    guard.clear_ready();
                    continue;
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let from_process_1 = control.drain().any(|message| {
                matches!(message, RecvAncillaryMessage::ScmCredentials(sender)
                    if sender.pid == rustix::process::Pid::INIT)
            });
            if from_process_1 {
                return Ok(buffer[..length].to_vec());
            }
        }
    }
}

/// Has udev look at all devices, as the masked unit would have before anything else. Images
/// without udev have nobody to look.
async fn trigger_devices(context: Arc<Context>) {
    for kind in ["subsystems", "devices"] {
        let kind = format!("--type={kind}");
        let argv = ["udevadm", "trigger", &kind, "--action=add"].map(str::to_owned).to_vec();
        let request = ExecRequest { argv, ..ExecRequest::default() };
        let started = Plan::make(&context, &request).map(spawn_quiet);
        match started {
            Ok(Ok(child)) => {
                let _ = child.exited().await;
            }
            Ok(Err(SpawnError::Program { .. } | SpawnError::System(_))) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Root;

    #[test]
    fn systemd_is_recognised_behind_links_of_the_image() {
        let image = tempfile::tempdir().unwrap();
        let path = |name: &str| image.path().join(name);
        std::fs::create_dir_all(path("usr/lib/systemd")).unwrap();
        std::fs::create_dir_all(path("usr/sbin")).unwrap();
        symlink("usr/lib", path("lib")).unwrap();
        symlink("usr/sbin", path("sbin")).unwrap();
        let root = Root::Directory(image.path().into()).open().unwrap();
        assert_eq!(find(&root), None);

        std::fs::write(path("usr/sbin/init"), "openrc").unwrap();
        assert_eq!(find(&root), None);

        std::fs::remove_file(path("usr/sbin/init")).unwrap();
        symlink("/lib/systemd/systemd", path("usr/sbin/init")).unwrap();
        std::fs::write(path("usr/lib/systemd/systemd"), "elf").unwrap();
        assert_eq!(find(&root), Some("/sbin/init"));

        std::fs::remove_file(path("usr/sbin/init")).unwrap();
        assert_eq!(find(&root), Some("/lib/systemd/systemd"));
    }

    #[test]
    fn clearing_follows_no_links() {
        let keep = tempfile::tempdir().unwrap();
        std::fs::write(keep.path().join("kept"), "").unwrap();
        let tmp = tempfile::tempdir().unwrap();
        symlink(keep.path(), tmp.path().join("link")).unwrap();
        std::fs::create_dir(tmp.path().join("directory")).unwrap();
        symlink(keep.path(), tmp.path().join("directory/link")).unwrap();
        clear(tmp.path()).unwrap();
        assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
        assert!(keep.path().join("kept").exists());
    }
}
