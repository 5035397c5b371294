//! A guest that was copied while it ran: it wakes up as its parent, and becomes a VM of its own.
//!
//! Everything is done by what a boot does it with, in the same order: nothing that needs randomness
//! comes before the seed.

use banger_proto::guest::{GuestConfig, InitKind};

use super::{BootError, files, identity, network, systemd};
use crate::context::{Context, KnownCard};
use crate::root::RootDir;
use crate::ssh::{SshPlaces, entrance};

/// Makes the guest the one that `config` describes. Returns what did not work and does not stop it.
pub(super) fn apply(context: &Context, config: &GuestConfig) -> Result<Vec<String>, BootError> {
    let mut warnings = identity::apply_to_kernel(config);
    warnings.extend(network::renew(context.card(), config.network.as_ref()));
    // One that was taken down is remembered: the next configuration may have one again.
    if let Some(network) = &config.network {
        context.set_card(KnownCard::Mac(network.mac));
    }
    let root = context.root.open().map_err(BootError::preparing("the guest's root"))?.started();
    warnings.extend(write_files(&root, config, context.init())?);
    Ok(warnings)
}

/// Writes what a boot would have written into the root before its init began.
fn write_files(
    root: &RootDir,
    config: &GuestConfig,
    init: Option<InitKind>,
) -> Result<Vec<String>, BootError> {
    let mut warnings = files::write(root, config)?;
    if config.ssh.is_none() {
        // A boot leaves who gets in to the image then, but here it is whoever got into the parent.
        warnings.extend(entrance::open(root, &SshPlaces::default(), &[]));
    }
    if let (Some(InitKind::Systemd), Some(network)) = (init, &config.network) {
        warnings.extend(systemd::leave_card(root, network)?);
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::root::Root;

    fn config(name: &str, last: u8, keys: Option<&str>) -> GuestConfig {
        let ssh = keys.map(|key| {
            serde_json::json!({"host_key": "", "authorized_keys": [format!("ssh-ed25519 {key}")]})
        });
        serde_json::from_value(serde_json::json!({
            "hostname": name, "machine_id": format!("{last:032x}"), "clock_unix_nanos": 0,
            "random_seed": "", "working_dir": format!("/srv/{name}"), "ssh": ssh,
            "base_serial": "", "writable_serial": "",
            "network": {
                "mac": format!("02:11:22:33:44:{last:02x}"), "address": format!("172.30.0.{last}"),
                "prefix": 24, "gateway": "172.30.0.1", "resolver": format!("172.30.0.{last}"),
                "search": "vm", "mtu": 1500,
            },
        }))
        .unwrap()
    }

    struct Guest {
        dir: TempDir,
        root: RootDir,
    }

    impl Guest {
        fn booted_as(config: &GuestConfig) -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("root")).unwrap();
            let root = Root::Directory(dir.path().into()).open().unwrap();
            assert_eq!(files::write(&root, config).unwrap(), Vec::<String>::new());
            Self { dir, root: root.started() }
        }

        fn read(&self, path: &str) -> String {
            std::fs::read_to_string(self.dir.path().join(path)).unwrap()
        }

        fn lets_in(&self) -> String {
            self.read("root/.ssh/authorized_keys")
        }
    }

    #[test]
    fn nothing_says_who_the_parent_was() {
        let guest = Guest::booted_as(&config("parent", 11, Some("AAAAparent")));
        let mine = guest.dir.path().join("root/.ssh/authorized_keys");
        std::fs::write(&mine, format!("ssh-ed25519 AAAAmine\n{}", guest.lets_in())).unwrap();
        let child = config("child", 12, Some("AAAAchild"));
        // The second is one whose answer was lost.
        for _ in 0..2 {
            let warnings = write_files(&guest.root, &child, Some(InitKind::Agent)).unwrap();
            assert_eq!(warnings, Vec::<String>::new());
        }
        assert_eq!(guest.read("etc/hostname"), "child\n");
        let hosts = guest.read("etc/hosts");
        assert!(hosts.contains("127.0.1.1 child\n") && !hosts.contains("parent"), "{hosts}");
        assert_eq!(guest.read("etc/machine-id"), format!("{:032x}\n", 12));
        assert!(guest.read("etc/resolv.conf").contains("nameserver 172.30.0.12\n"));
        assert!(guest.dir.path().join("srv/child").is_dir());
        assert_eq!(guest.lets_in(), "ssh-ed25519 AAAAmine\nssh-ed25519 AAAAchild banger-managed\n");
        assert!(!guest.dir.path().join("run").exists(), "there is no systemd to be told");
    }

    #[test]
    fn nobody_gets_in_where_nobody_is_named() {
        let guest = Guest::booted_as(&config("parent", 11, Some("AAAAparent")));
        let child = config("child", 12, None);
        assert!(write_files(&guest.root, &child, None).unwrap().is_empty());
        assert_eq!(guest.lets_in(), "");
    }

    #[test]
    fn the_card_stays_out_of_others_hands() {
        let parent = config("parent", 11, None);
        let guest = Guest::booted_as(&parent);
        systemd::leave_card(&guest.root, parent.network.as_ref().unwrap()).unwrap();
        let renew = |child| write_files(&guest.root, child, Some(InitKind::Systemd)).unwrap();
        assert_eq!(renew(&config("child", 12, None)), Vec::<String>::new());
        let told = guest.read("run/systemd/network/00-banger.network");
        assert!(told.contains("MACAddress=02:11:22:33:44:0c\n"), "{told}");
        let masked = guest.dir.path().join("run/systemd/system/network.service");
        assert_eq!(std::fs::read_link(masked).unwrap(), Path::new("/dev/null"));
    }
}
