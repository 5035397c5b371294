//! Files in the guest that go with its card: where names are looked up, and what keeps the image's
//! own network managers from taking the card for theirs.
//!
//! | manager | how it is told |
//! |---|---|
//! | systemd-networkd (netplan, too) | `.network` files before all others: not managed |
//! | NetworkManager | not managed, and `/etc/resolv.conf` is not its own |
//! | ifupdown | the card is up already, says its own record |
//! | others | their units are masked (`masks::CARD_UNITS`) |
//!
//! Those that go by the card's address know it by its name as well: a guest that becomes another VM
//! gets another address, while they run.
//!
//! All but the resolver is in `/run`, gone with the boot, and left out where no service manager of
//! the image starts any of them.

use std::io;
use std::path::Path;

use banger_proto::guest::GuestNetwork;

use crate::root::RootDir;

/// How names are looked up (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";

/// Name of the card: the kernel's own, since its command line keeps udev from another.
const INTERFACE: &str = "eth0";

/// Writes how names are looked up, in the place of whatever the image has there. A link to where
/// systemd-resolved keeps its own is replaced as well: with a file that is not its own it takes the
/// servers from that and goes on answering whoever asks it.
pub(in crate::boot) fn write_resolver(root: &RootDir, network: &GuestNetwork) -> Vec<String> {
    let text = format!(
        "# Written by banger at every start.\nnameserver {}\nsearch {}\n",
        network.resolver, network.search
    );
    warn(RESOLVER, root.rewrite_file(Path::new(RESOLVER), text.as_bytes(), 0o644))
}

/// Has the image's managers of networks leave the card alone. For a fresh `/run`, and for one of a
/// guest that becomes another VM: those that run leave it alone already, and read this when they are
/// started again.
pub(in crate::boot) fn keep_managers_away(root: &RootDir, network: &GuestNetwork) -> Vec<String> {
    let mac = network.mac;
    let files = [
        (
            "/run/systemd/network/00-banger.network",
            format!("[Match]\nMACAddress={mac}\n\n[Link]\nUnmanaged=yes\n"),
        ),
        // It looks at its files again when the card gets another address.
        (
            "/run/systemd/network/00-banger-name.network",
            format!("[Match]\nName={INTERFACE}\n\n[Link]\nUnmanaged=yes\n"),
        ),
        (
            "/run/NetworkManager/conf.d/00-banger.conf",
            // Its `mac:` is the address that the card was made with, which in a guest that was
            // copied is not the one it has.
            format!(
                "[main]\ndns=none\n\n\
                 [keyfile]\nunmanaged-devices=mac:{mac};interface-name:{INTERFACE}\n"
            ),
        ),
        // The first is what ifupdown goes by, since 0.8; the second what it tells others.
        ("/run/network/ifstate.eth0", INTERFACE.to_owned()),
        ("/run/network/ifstate", format!("{INTERFACE}={INTERFACE}\n")),
    ];
    files
        .into_iter()
        .flat_map(|(path, text)| warn(path, write(root, Path::new(path), &text)))
        .collect()
}

fn write(root: &RootDir, path: &Path, text: &str) -> io::Result<()> {
    root.ensure_directory(path.parent().unwrap_or(path))?;
    root.rewrite_file(path, text.as_bytes(), 0o644)
}

fn warn(path: &str, written: io::Result<()>) -> Vec<String> {
    written.err().map(|error| format!("cannot write `{path}`: {error}")).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::root::Root;

    fn network() -> GuestNetwork {
        GuestNetwork {
            mac: "02:11:22:33:44:55".parse().unwrap(),
            address: [172, 30, 0, 11].into(),
            prefix: 24,
            gateway: [172, 30, 0, 1].into(),
            resolver: [172, 30, 0, 1].into(),
            search: "vm".into(),
            mtu: 1500,
        }
    }

    #[test]
    fn the_resolver_is_a_file_whatever_the_image_had() {
        let stub = "../run/systemd/resolve/stub-resolv.conf";
        for before in [None, Some(stub), Some("/proc/self/environ")] {
            let image = tempfile::tempdir().unwrap();
            let file = image.path().join("etc/resolv.conf");
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            if let Some(target) = before {
                symlink(target, &file).unwrap();
            }
            let root = Root::Directory(image.path().into()).open().unwrap();
            assert_eq!(write_resolver(&root, &network()), Vec::<String>::new());
            assert!(file.symlink_metadata().unwrap().is_file(), "{before:?}");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.ends_with("\nnameserver 172.30.0.1\nsearch vm\n"), "{text}");
        }
    }

    #[test]
    fn a_resolver_that_cannot_be_written_is_told() {
        let image = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(image.path().join("etc/resolv.conf/full")).unwrap();
        let root = Root::Directory(image.path().into()).open().unwrap();
        let warnings = write_resolver(&root, &network());
        assert!(warnings.len() == 1 && warnings[0].contains("/etc/resolv.conf"), "{warnings:?}");
    }

    #[test]
    fn managers_are_told_about_this_card_only() {
        let image = tempfile::tempdir().unwrap();
        let root = Root::Directory(image.path().into()).open().unwrap();
        assert_eq!(keep_managers_away(&root, &network()), Vec::<String>::new());
        let read = |path: &str| std::fs::read_to_string(image.path().join(path)).unwrap();
        let unit = read("run/systemd/network/00-banger.network");
        assert_eq!(unit, "[Match]\nMACAddress=02:11:22:33:44:55\n\n[Link]\nUnmanaged=yes\n");
        let unit = read("run/systemd/network/00-banger-name.network");
        assert_eq!(unit, "[Match]\nName=eth0\n\n[Link]\nUnmanaged=yes\n");
        let conf = read("run/NetworkManager/conf.d/00-banger.conf");
        let card = "unmanaged-devices=mac:02:11:22:33:44:55;interface-name:eth0\n";
        assert!(conf.ends_with(card), "{conf}");
        assert_eq!(read("run/network/ifstate"), "eth0=eth0\n");
        assert_eq!(read("run/network/ifstate.eth0"), "eth0");
    }
}
