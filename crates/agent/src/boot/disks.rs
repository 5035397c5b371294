//! Finding disks by the serial that the host gave them; letters depend on probing order.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::BootError;
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
    loop {
        let disks = list(Path::new(BLOCK));
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

#[cfg(test)]
mod tests {
    use super::*;

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
