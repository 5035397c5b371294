//! Whether a database can be worked with, found out before anything is written to it.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{StoreError, migrate};

/// Opens the database at `path` for writing and checks it. Nothing has been written, and nothing
/// is when the connection is closed, until [`allow_checkpoint`].
pub(super) fn open_checked(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open(path, flags)?;
    check(&connection, path)?;
    Ok(connection)
}

/// Checks the database at `path` without changing it, and tells its version.
///
/// # Errors
/// When it cannot be opened, is damaged, or is of a newer program.
pub(crate) fn examine(path: &Path) -> Result<u32, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    check(&open(path, flags)?, path)
}

/// Lets the connection, when it is closed, move what is in the write-ahead log into the database.
pub(super) fn allow_checkpoint(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    set_checkpoint(connection, path, true)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|source| StoreError::from_sqlite(path, "be opened", source))?;
    // A damaged database stays as it was found, with the log that may explain it.
    set_checkpoint(&connection, path, false)?;
    Ok(connection)
}

fn set_checkpoint(connection: &Connection, path: &Path, on: bool) -> Result<(), StoreError> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !on)
        .map(drop)
        .map_err(|source| StoreError::from_sqlite(path, "be set up", source))
}

/// Checks the form and the version.
fn check(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let failed = |source| StoreError::from_sqlite(path, "be checked", source);
    let found = migrate::load_version(connection).map_err(failed)?;
    if found > migrate::KNOWN {
        let (path, known) = (path.to_owned(), migrate::KNOWN);
        return Err(StoreError::TooNew { path, found, known });
    }
    let report: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if report != "ok" {
        return Err(StoreError::Damaged { path: path.to_owned(), report });
    }
    Ok(found)
}
