//! Copies of the database from before its form was changed: `<database>.v<version>-<time>`.
//!
//! They are made whole or not at all, never replaced, and the last few are kept.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::StoreError;
use crate::private;

/// Copies that are kept.
const KEPT: usize = 3;

/// Copies the database at `path`, which has version `version`.
pub(super) fn make_copy(
    connection: &Connection,
    path: &Path,
    version: u32,
) -> Result<PathBuf, StoreError> {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
    let copy = beside(path, &format!(".v{version}-{time}"));
    let new = beside(path, ".copy.new");
    let made =
        write(connection, &new).and_then(|()| complete(&new, &copy).map_err(StoreError::File));
    if made.is_err() {
        // What the failed copy takes may be the very room that is missing.
        let _ = fs_err::remove_file(&new);
    }
    made.map(|()| copy)
}

fn write(connection: &Connection, new: &Path) -> Result<(), StoreError> {
    // Of a copy that was cut by a kill.
    match fs_err::remove_file(new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::File(error));
        }
        _ => {}
    }
    private::ensure_file(new).map_err(StoreError::File)?;
    let failed = |source| StoreError::from_sqlite(new, "be copied", source);
    let mut target = Connection::open(new).map_err(failed)?;
    let backup = Backup::new(connection, &mut target).map_err(failed)?;
    // All pages in one step: nobody else has the database open.
    backup.step(-1).map(drop).map_err(failed)
}

/// Gives a copy its name once it is on the disk.
fn complete(new: &Path, copy: &Path) -> std::io::Result<()> {
    fs_err::File::open(new)?.sync_all()?;
    fs_err::rename(new, copy)
}

/// Removes all but the newest copies. One that cannot be removed is logged.
pub(super) fn remove_old_copies(path: &Path) {
    for copy in observe_copies(path).iter().skip(KEPT) {
        if let Err(error) = fs_err::remove_file(copy) {
            tracing::warn!(%error, "an old copy of the database stays");
        }
    }
}

/// The copies of the database at `path`, newest first. A directory that cannot be read has none.
pub(super) fn observe_copies(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let Ok(entries) = fs_err::read_dir(dir) else { return Vec::new() };
    let mut copies: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((parse_time(entry.file_name().to_str()?, name)?, entry.path())))
        .collect();
    copies.sort_unstable_by(|a, b| b.cmp(a));
    copies.into_iter().map(|(_, path)| path).collect()
}

/// The time in the name of a copy of `database`.
fn parse_time(copy: &str, database: &str) -> Option<String> {
    let (version, time) = copy.strip_prefix(database)?.strip_prefix(".v")?.split_once('-')?;
    version.parse::<u32>().ok()?;
    let plausible =
        time.ends_with('Z') && time.bytes().all(|byte| b"0123456789TZ.".contains(&byte));
    plausible.then(|| time.to_owned())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_newest_few_are_kept_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("banger.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE a (x) STRICT;").unwrap_err();
        connection.execute_batch("CREATE TABLE a (x INTEGER) STRICT;").unwrap();
        for other in ["banger.db.v1-mine", "banger.db-wal.v1-2026Z", "banger.db.v1", "b"] {
            fs_err::write(dir.path().join(other), "").unwrap();
        }
        // Left by a copy that a kill has cut.
        fs_err::write(dir.path().join("banger.db.copy.new"), "half").unwrap();
        // Newer by time, whatever the versions say.
        let made: Vec<_> =
            [9, 10, 1, 2].map(|version| make_copy(&connection, &path, version).unwrap()).to_vec();
        remove_old_copies(&path);
        assert_eq!(observe_copies(&path), made[1..].iter().rev().cloned().collect::<Vec<_>>());
        assert!(!made[0].exists());
        assert_eq!(made[1].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        Connection::open(&made[1]).unwrap().prepare("SELECT x FROM a").unwrap();
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1 + 3 + 4);
    }
}
