//! Finding disks by the serial that the host gave them; letters depend on probing order.
//!
//! Where the VMM gives disks no serial of the host's choice, the kernel's command line has them in the order
//! of the devices, which is that in which the kernel has numbered them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use banger_proto::guest::cmdline as words;

use super::BootError;
use crate::cmdline;
use crate::uevent::Uevents;

/// How long a disk may take to be announced. They are there before the agent in every boot that
/// works; this is for slow buses.
const DEADLINE: Duration = Duration::from_secs(10);
/// Where the kernel lists disks.
pub(super) const BLOCK: &str = "/sys/block";

/// The serials of the disks that there are.
#[derive(Debug, Default)]
pub(crate) struct Seen(Vec<String>);

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the machine has no disk with a serial");
        }
        write!(f, "the machine has `{}`", self.0.join("`, `"))
    }
}

impl std::error::Error for Seen {}

/// The device file of the disk with `serial`; waits for it within a deadline.
pub(super) fn find(serial: &str) -> Result<PathBuf, BootError> {
    let watching = |source| BootError::Prepare { what: "the search for disks".into(), source };
    let uevents = Uevents::open().map_err(watching)?;
    let deadline = Instant::now() + DEADLINE;
    let told = cmdline::load(words::DISKS);
    loop {
        let disks = match &told {
            Some(serials) => list_in_order(Path::new(BLOCK), serials),
            None => list(Path::new(BLOCK)),
        };
        if let Some((name, _)) = disks.iter().find(|(_, found)| found == serial) {
            return Ok(Path::new("/dev").join(name));
        }
        if !uevents.wait(Some(deadline)).map_err(watching)? {
            let seen = Seen(disks.into_iter().map(|(_, serial)| serial).collect());
            return Err(BootError::NoDisk { serial: serial.to_owned(), seen });
        }
    }
}

/// All disks with a serial, as (name, serial).
fn list(block: &Path) -> Vec<(String, String)> {
    let Ok(entries) = std::fs::read_dir(block) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let serial = std::fs::read_to_string(entry.path().join("serial")).ok()?;
            Some((entry.file_name().into_string().ok()?, serial.trim().to_owned()))
        })
        .filter(|(_, serial)| !serial.is_empty())
        .collect()
}

/// All virtio disks, as (name, serial), with `serials` in the order of their devices.
fn list_in_order(block: &Path, serials: &str) -> Vec<(String, String)> {
    let Ok(entries) = std::fs::read_dir(block) else { return Vec::new() };
    let mut disks: Vec<(u32, String)> = entries
        .flatten()
        .filter_map(|entry| {
            // `device` leads to the device's own directory, `virtio3`.
            let device = std::fs::read_link(entry.path().join("device")).ok()?;
            let number = device.file_name()?.to_str()?.strip_prefix("virtio")?.parse().ok()?;
            Some((number, entry.file_name().into_string().ok()?))
        })
        .collect();
    let serials: Vec<_> = serials.split(',').map(ToOwned::to_owned).collect();
    // As long as one is missing, nobody knows which.
    if disks.len() != serials.len() {
        return Vec::new();
    }
    disks.sort_unstable();
    disks.into_iter().map(|(_, name)| name).zip(serials).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_serials_the_order_of_devices_counts() {
        let block = tempfile::tempdir().unwrap();
        for (name, device) in [("vda", "virtio10"), ("vdb", "virtio2"), ("loop0", "loop")] {
            std::fs::create_dir(block.path().join(name)).unwrap();
            let link = block.path().join(name).join("device");
            std::os::unix::fs::symlink(format!("../../../{device}"), link).unwrap();
        }
        std::fs::create_dir(block.path().join("ram0")).unwrap();
        let disks = list_in_order(block.path(), "base,writable");
        assert_eq!(disks, [("vdb".into(), "base".into()), ("vda".into(), "writable".into())]);
        assert_eq!(list_in_order(block.path(), "base,writable,modules"), []);
    }

    #[test]
    fn disks_are_told_apart_by_serial() {
        let block = tempfile::tempdir().unwrap();
        for (name, serial) in [("vda", Some("writable")), ("vdb", Some("base\n")), ("ram0", None)] {
            std::fs::create_dir(block.path().join(name)).unwrap();
            if let Some(serial) = serial {
                std::fs::write(block.path().join(name).join("serial"), serial).unwrap();
            }
        }
        let mut disks = list(block.path());
        disks.sort();
        assert_eq!(disks, [("vda".into(), "writable".into()), ("vdb".into(), "base".into())]);
    }

    #[test]
    fn the_error_names_what_there_is() {
        assert_eq!(Seen(vec!["a".into(), "b".into()]).to_string(), "the machine has `a`, `b`");
    }
}
