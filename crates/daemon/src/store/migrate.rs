//! From an older database to this program's: numbered files, counted in `user_version`.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::StoreError;
use crate::private;

/// The files of `migrations/` in order; a database of version `n` has had the first `n`.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/0001_vms.sql")];

/// Brings the database to the newest version, each step in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    run(connection, path, MIGRATIONS)
}

fn run(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), StoreError> {
    let failed = |source| StoreError::Sqlite { path: path.to_owned(), what: "be migrated", source };
    let found: u32 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known });
    }
    if found == known {
        return Ok(());
    }
    if found > 0 {
        back_up(connection, path, found)?;
    }
    for (version, step) in (1..).zip(steps).skip(found as usize) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        tracing::info!(version, "database migrated");
    }
    Ok(())
}

/// Copies the database to `<path>.v<version>`, replacing an earlier copy of that version.
fn back_up(connection: &Connection, path: &Path, version: u32) -> Result<(), StoreError> {
    let mut copy = path.as_os_str().to_owned();
    copy.push(format!(".v{version}"));
    let copy = Path::new(&copy);
    private::ensure_file(copy).map_err(StoreError::File)?;
    let failed = |source| StoreError::Sqlite { path: copy.to_owned(), what: "be written", source };
    let mut target = Connection::open(copy).map_err(failed)?;
    let backup = Backup::new(connection, &mut target).map_err(failed)?;
    // All pages in one step: nobody else has the database open.
    backup.step(-1).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn migrates_step_by_step_and_keeps_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let mut connection = Connection::open(&path).unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);";
        run(&mut connection, &path, &[first]).unwrap();
        assert!(!path.with_extension("db.v0").exists(), "an empty database needs no copy");
        run(&mut connection, &path, &[first, "ALTER TABLE a ADD COLUMN y INTEGER;"]).unwrap();
        let copy = path.with_extension("db.v1");
        assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let old = Connection::open(&copy).unwrap();
        assert_eq!(old.query_row("SELECT x FROM a", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
        assert!(old.prepare("SELECT y FROM a").is_err());
        assert!(connection.prepare("SELECT y FROM a").is_ok());
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("memory");
        run(&mut connection, path, &["CREATE TABLE a (x) ; CREATE TABLE a (x);"]).unwrap_err();
        assert!(connection.prepare("SELECT x FROM a").is_err());
        run(&mut connection, path, &["CREATE TABLE a (x);"]).unwrap();
        let error = run(&mut connection, path, &[]).unwrap_err();
        assert!(matches!(error, StoreError::TooNew { found: 1, known: 0, .. }), "{error}");
    }
}
