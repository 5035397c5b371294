//! What there is of a guest's memory under Firecracker, to be saved without the rest.
//!
//! Asked for all of it (`Full`), Firecracker writes each page, gigabytes of zeroes among them. Asked for what
//! differs (`Diff`) it writes what is in memory on the host (mincore(2)), which takes as long as the guest is
//! large in fact. That is all there is
//!
//! - while the host does not swap: what it has put elsewhere is not in memory;
//! - over what the guest began from: of a file that it has mapped, what it has not touched need not be in memory
//!   either.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk;
use crate::exec::Version;

/// The first Firecracker that saves what is in memory of a VM whose changes it does not follow (1.13), also of
/// one with more than 3 GiB (`CHANGELOG.md` there).
const SAVES_RESIDENT: Version = Version::new(1, 15);
/// The swap areas of the host, one a line after the first (proc(5)).
const SWAPS: &str = "/proc/swaps";
/// How that one begins.
const SWAPS_HEAD: &str = "Filename";

/// What is known of a guest's memory.
#[derive(Debug)]
pub(super) struct Resident {
    /// What the guest began from; absent for one that booted.
    base: Option<Arc<File>>,
}

impl Resident {
    /// That of a guest that is about to begin from the file `base`, if it does not boot. Absent where this
    /// Firecracker cannot be asked for it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn observe(version: Version, base: Option<&Path>) -> io::Result<Option<Self>> {
        if version < SAVES_RESIDENT {
            return Ok(None);
        }
        let base = base.map(fs_err::File::open).transpose()?;
        Ok(Some(Self { base: base.map(|base| Arc::new(base.into_parts().0)) }))
    }

    /// Makes what is written over, if anything is, at `path`.
    ///
    /// # Errors
    /// When there is something already, or no room.
    pub(super) async fn lay_out(&self, path: &Path) -> io::Result<()> {
        let Some(base) = self.base.clone() else { return Ok(()) };
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || disk::copy_file(&base, &path)).await?
    }
}

/// Whether the host may have put pages elsewhere.
pub(super) fn host_swaps() -> bool {
    fs_err::read_to_string(SWAPS).map_or(true, |areas| may_have_areas(&areas))
}

/// Whoever does not tell may have some.
fn may_have_areas(areas: &str) -> bool {
    let mut lines = areas.lines();
    let tells = lines.next().is_some_and(|head| head.starts_with(SWAPS_HEAD));
    !tells || lines.any(|line| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    #[test]
    fn areas_are_lines_after_the_first() {
        assert!(may_have_areas(""));
        assert!(!may_have_areas(HEADER));
        let area = "/dev/zram0                              partition\t4194300\t\t0\t\t100\n";
        assert!(may_have_areas(&format!("{HEADER}{area}")));
    }

    #[tokio::test]
    async fn what_it_began_from_lies_beneath() {
        let dir = tempfile::tempdir().unwrap();
        let (base, new) = (dir.path().join("base"), dir.path().join("new"));
        std::fs::write(&base, "memory").unwrap();
        let old = Version::new(1, 14);
        assert!(Resident::observe(old, Some(&base)).unwrap().is_none());
        let booted = Resident::observe(SAVES_RESIDENT, None).unwrap().unwrap();
        booted.lay_out(&new).await.unwrap();
        assert!(!new.exists());
        let resident = Resident::observe(SAVES_RESIDENT, Some(&base)).unwrap().unwrap();
        // Its snapshot may be gone by then.
        std::fs::remove_file(&base).unwrap();
        resident.lay_out(&new).await.unwrap();
        assert_eq!(std::fs::read(&new).unwrap(), b"memory");
        let again = resident.lay_out(&new).await.unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert!(Resident::observe(SAVES_RESIDENT, Some(&base)).is_err());
    }
}
