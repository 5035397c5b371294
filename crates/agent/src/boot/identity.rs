//! What must differ between two VMs of one image, and between two boots: name, machine id,
//! clock, randomness.

use std::io;
use std::path::Path;

use banger_proto::guest::{GuestConfig, SetClock};
use rustix::fs::{Mode, OFlags};
use rustix::time::{ClockId, Timespec};

use super::BootError;
use crate::root::RootDir;
use crate::sys::{self, SEED_LEN};

/// The machine's id (machine-id(5)), and where the message bus looks for it first.
const MACHINE_ID: &str = "/etc/machine-id";
const BUS_ID: &str = "/var/lib/dbus/machine-id";
/// Bytes of either that are looked at: 32 digits and the end of a line.
const ID_LIMIT: u64 = 64;
/// How names are looked up (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";

/// Tells the kernel who it is. Nothing here stops a boot; returns what did not work.
pub(super) fn apply_to_kernel(config: &GuestConfig) -> Vec<String> {
    let name = rustix::system::sethostname(config.hostname.as_bytes()).map_err(io::Error::from);
    render_failures([
        ("the clock", set_clock(config.clock_unix_nanos)),
        ("the random seed", begin_randomness(&config.random_seed)),
        ("the host name", name),
    ])
}

/// Tells a kernel that did not run for a while what time it is, and has it begin its randomness
/// anew where there is a seed. Returns what did not work.
pub(super) fn set_clock_and_randomness(request: &SetClock) -> Vec<String> {
    let randomness = match request.random_seed.as_str() {
        "" => Ok(()),
        seed => begin_randomness(seed),
    };
    let clock = set_clock(request.clock_unix_nanos);
    render_failures([("the clock", clock), ("the random seed", randomness)])
}

fn render_failures<const N: usize>(done: [(&str, io::Result<()>); N]) -> Vec<String> {
    done.into_iter()
        .filter_map(|(what, result)| Some(format!("cannot set {what}: {}", result.err()?)))
        .collect()
}

/// Writes the files of `/etc` that say who the guest is.
pub(super) fn write_files(root: &RootDir, config: &GuestConfig) -> Result<(), BootError> {
    let files =
        [("/etc/hostname", format!("{}\n", config.hostname)), ("/etc/hosts", render_hosts(config))];
    root.ensure_directory(Path::new("/etc")).map_err(BootError::preparing("`/etc`"))?;
    for (path, text) in files {
        root.rewrite_file(Path::new(path), text.as_bytes(), 0o644)
            .map_err(BootError::preparing(format!("`{path}`")))?;
    }
    write_machine_id(root, &config.machine_id)?;
    // Images leave it to whoever runs them, and programs are at a loss without it. One that is
    // there, or a link to where a resolver will write it, is the image's own affair.
    if !root.has(Path::new(RESOLVER)) {
        root.ensure_file(Path::new(RESOLVER), b"", 0o644)
            .map_err(BootError::preparing(format!("`{RESOLVER}`")))?;
    }
    Ok(())
}

fn write_machine_id(root: &RootDir, id: &str) -> Result<(), BootError> {
    let failed = |path| BootError::preparing(format!("`{path}`"));
    let line = format!("{id}\n");
    if !bus_has_machine_id(root) {
        let path = Path::new(MACHINE_ID);
        return root.rewrite_file(path, line.as_bytes(), 0o444).map_err(failed(MACHINE_ID));
    }
    // Whole and one right after the other: if only one were written when the guest is killed, they would differ
    // for good.
    for path in [MACHINE_ID, BUS_ID] {
        root.ensure_file(Path::new(path), line.as_bytes(), 0o444).map_err(failed(path))?;
    }
    Ok(())
}

/// Where the message bus has the machine's id in a file of its own, and not a link to the other,
/// that one is to be the same. One that never was is the image's own affair.
fn bus_has_machine_id(root: &RootDir) -> bool {
    let read = |path| root.read(Path::new(path), ID_LIMIT);
    let (Ok(id), true) = (read(MACHINE_ID), root.is_file(Path::new(BUS_ID))) else { return false };
    let same = |bus_id: Vec<u8>| bus_id.trim_ascii() == id.trim_ascii();
    !id.trim_ascii().is_empty() && read(BUS_ID).is_ok_and(same)
}

fn render_hosts(config: &GuestConfig) -> String {
    let mut text = format!(
        "127.0.0.1 localhost\n127.0.1.1 {}\n\
         ::1 localhost ip6-localhost ip6-loopback\n\
         ff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n",
        config.hostname
    );
    if let Some(network) = &config.network {
        text.push_str(&format!("{} host.{}\n", network.gateway, network.search));
    }
    for line in &config.extra_hosts {
        // One entry is one line, whatever it has in it.
        text.extend(line.lines().take(1).flat_map(|line| [line, "\n"]));
    }
    text
}

fn set_clock(unix_nanos: i64) -> io::Result<()> {
    const NANOS: i64 = 1_000_000_000;
    let time =
        Timespec { tv_sec: unix_nanos.div_euclid(NANOS), tv_nsec: unix_nanos.rem_euclid(NANOS) };
    Ok(rustix::time::clock_settime(ClockId::Realtime, time)?)
}

/// Gives the kernel a seed and has it use it at once. A seed alone goes into the pool, from which
/// the generator of a kernel that has been up for a while takes something once a minute; until then
/// two copies of one guest would read the same from it.
fn begin_randomness(hex: &str) -> io::Result<()> {
    let seed = parse_seed(hex)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is not 64 hex digits"))?;
    let random = rustix::fs::open("/dev/random", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    sys::add_entropy(&random, seed)?;
    sys::reseed_generator(&random)
}

fn parse_seed(hex: &str) -> Option<[u8; SEED_LEN]> {
    if hex.len() != 2 * SEED_LEN || !hex.is_ascii() {
        return None;
    }
    let mut seed = [0; SEED_LEN];
    for (index, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(seed)
}

#[cfg(test)]
mod tests {
    use banger_proto::guest::GuestNetwork;
    use banger_proto::{MacAddress, VmId};

    use super::*;
    use crate::root::Root;

    #[test]
    fn seeds_are_64_digits() {
        assert_eq!(parse_seed(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(parse_seed(&"0f".repeat(31)), None);
        assert_eq!(parse_seed(&"xy".repeat(32)), None);
        assert_eq!(parse_seed(&"é".repeat(32)), None);
    }

    #[test]
    fn randomness_is_left_alone_only_where_there_is_no_seed() {
        // No test may set the clock of its host; this is none that a kernel takes.
        let ask = |random_seed: &str| {
            set_clock_and_randomness(&SetClock {
                clock_unix_nanos: i64::MIN,
                random_seed: random_seed.to_owned(),
            })
        };
        assert!(matches!(&ask("")[..], [only] if only.contains("clock")), "{:?}", ask(""));
        assert!(matches!(&ask("short")[..], [_, seed] if seed.contains("64 hex digits")));
    }

    #[test]
    fn the_bus_has_the_machines_id_where_it_had_it() {
        let (old, new) = ("0a".repeat(16), "0b".repeat(16));
        for (bus, expected) in [(&old, &new), (&"0c".repeat(16), &"0c".repeat(16))] {
            let image = tempfile::tempdir().unwrap();
            let path = |path: &str| image.path().join(path);
            std::fs::create_dir_all(path("var/lib/dbus")).unwrap();
            std::fs::create_dir_all(path("etc")).unwrap();
            std::fs::write(path("etc/machine-id"), format!("{old}\n")).unwrap();
            std::fs::write(path("var/lib/dbus/machine-id"), format!("{bus}\n")).unwrap();
            let root = Root::Directory(image.path().into()).open().unwrap();
            write_files(&root, &GuestConfig { machine_id: new.clone(), ..config() }).unwrap();
            let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
            assert_eq!(read("etc/machine-id"), format!("{new}\n"));
            assert_eq!(read("var/lib/dbus/machine-id"), format!("{expected}\n"));
        }
    }

    #[test]
    fn the_bus_gets_no_file_where_it_has_none() {
        let image = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(image.path().join("var/lib/dbus")).unwrap();
        std::fs::create_dir(image.path().join("etc")).unwrap();
        let link = image.path().join("var/lib/dbus/machine-id");
        let root = Root::Directory(image.path().into()).open().unwrap();
        write_files(&root, &config()).unwrap();
        assert!(!link.exists());
        std::os::unix::fs::symlink("/etc/machine-id", &link).unwrap();
        // The second time it leads to what is written.
        for _ in 0..2 {
            write_files(&root, &GuestConfig { machine_id: "0d".repeat(16), ..config() }).unwrap();
            assert!(link.is_symlink());
        }
    }

    #[test]
    fn a_hosts_line_stays_one_line() {
        let config = config();
        let hosts = render_hosts(&config);
        assert!(hosts.starts_with("127.0.0.1 localhost\n127.0.1.1 vm\n"));
        assert!(hosts.ends_with("172.30.0.1 host.vm\n10.0.0.2 db\n10.0.0.3 a\n"));
    }

    fn config() -> GuestConfig {
        GuestConfig {
            hostname: "vm".into(),
            machine_id: String::new(),
            clock_unix_nanos: 0,
            random_seed: String::new(),
            env: [].into(),
            working_dir: None,
            service: None,
            ssh: None,
            network: Some(GuestNetwork {
                mac: MacAddress::of_vm(&VmId::from_random([2; 6])),
                address: [172, 30, 0, 11].into(),
                prefix: 24,
                gateway: [172, 30, 0, 1].into(),
                resolver: [172, 30, 0, 1].into(),
                search: "vm".into(),
                mtu: 1500,
            }),
            extra_hosts: vec!["10.0.0.2 db".into(), "10.0.0.3 a\n0.0.0.0 evil".into()],
            init: banger_proto::guest::InitChoice::Auto,
            base_serial: String::new(),
            writable_serial: String::new(),
            modules_serial: None,
            rebuild: 0,
            previous_serial: None,
        }
    }
}
