//! From an older database to this program's: numbered files, counted in `user_version`.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;
use super::copies::{make_copy, remove_old_copies};

/// The files of `migrations/` in order; a database of version `n` has had the first `n`.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_vms.sql"),
    include_str!("../../migrations/0002_history.sql"),
    include_str!("../../migrations/0003_pause.sql"),
];

/// The version of this program's databases.
#[expect(clippy::cast_possible_truncation, reason = "nobody writes that many files")]
pub(super) const KNOWN: u32 = MIGRATIONS.len() as u32;

/// The version of a database.
pub(super) fn load_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Brings the database to the newest version, each step in a transaction of its own, after a copy
/// of it. One that is newer has been refused before.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    run(connection, path, MIGRATIONS)
}

fn run(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), StoreError> {
    let failed = |source| StoreError::from_sqlite(path, "be migrated", source);
    let found = load_version(connection).map_err(failed)?;
    let mut missing = (1..).zip(steps).skip(found as usize).peekable();
    if missing.peek().is_none() {
        return Ok(());
    }
    // A database that has just been made holds nothing to lose.
    if found > 0 {
        let copy = make_copy(connection, path, found)?;
        tracing::info!(copy = %copy.display(), "database copied");
    }
    for (version, step) in missing {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        tracing::info!(version, "database migrated");
    }
    remove_old_copies(path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::copies::observe_copies;
    use super::*;

    #[test]
    fn migrates_step_by_step_and_keeps_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let mut connection = Connection::open(&path).unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);";
        run(&mut connection, &path, &[first]).unwrap();
        assert_eq!(observe_copies(&path).len(), 0, "an empty database needs no copy");
        let steps = [first, "ALTER TABLE a ADD COLUMN y INTEGER;"];
        run(&mut connection, &path, &steps).unwrap();
        run(&mut connection, &path, &steps).unwrap();
        let copies = observe_copies(&path);
        let [copy] = copies.as_slice() else { panic!("{copies:?}") };
        assert!(copy.to_str().unwrap().contains("x.db.v1-"), "{copy:?}");
        let old = Connection::open(copy).unwrap();
        assert_eq!(old.query_row("SELECT x FROM a", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
        assert!(old.prepare("SELECT y FROM a").is_err());
        assert!(connection.prepare("SELECT y FROM a").is_ok());
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let mut connection = Connection::open(&path).unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT;";
        run(&mut connection, &path, &[first]).unwrap();
        run(&mut connection, &path, &[first, "CREATE TABLE b (x) ; CREATE TABLE b (x);"])
            .unwrap_err();
        assert!(connection.prepare("SELECT x FROM b").is_err());
        assert_eq!(load_version(&connection).unwrap(), 1);
        // The copy stays: whoever looks for what went wrong may want it.
        assert_eq!(observe_copies(&path).len(), 1);
    }

    #[test]
    fn without_room_for_a_copy_nothing_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let mut connection = Connection::open(&path).unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT;";
        run(&mut connection, &path, &[first]).unwrap();
        // Where the copy would be written is something that cannot be.
        fs_err::create_dir(dir.path().join("x.db.copy.new")).unwrap();
        run(&mut connection, &path, &[first, "DROP TABLE a;"]).unwrap_err();
        assert_eq!(load_version(&connection).unwrap(), 1);
        connection.prepare("SELECT x FROM a").unwrap();
    }
}
