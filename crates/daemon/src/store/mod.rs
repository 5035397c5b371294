//! The database: what VMs there are and what was meant to become of them. The only SQL.
//!
//! One connection behind a mutex, used on the blocking pool: SQLite lets one writer in at a
//! time anyway, every call here takes about a millisecond, and a writer thread of its own would
//! need a message type for each function. Write-ahead log; `synchronous=FULL`, because a VM
//! that was reported as made must be there after a power cut, and a boot commits only four
//! times.

mod migrate;
mod vms;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use banger_proto::{Code, Problem};
use rusqlite::{Connection, OpenFlags};

use crate::private;

/// Why the database does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or protected; the error names it.
    #[error("cannot prepare the database")]
    File(#[source] std::io::Error),
    /// SQLite refused.
    #[error("database `{path}` failed to {what}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The file is damaged.
    #[error("database `{path}` is damaged: {report}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// First finding of the integrity check.
        report: String,
    },
    /// The file was written by a newer program.
    #[error(
        "database `{path}` has version {found}, made by a newer banger; this one knows up to {known}"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// A row that cannot be read.
    #[error("VM `{vm}` in the database cannot be read: column `{column}`")]
    Row {
        /// Id of the VM.
        vm: String,
        /// Column that is wrong.
        column: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A VM of this name is there already.
    #[error("a VM named `{0}` exists already")]
    NameTaken(String),
    /// The blocking pool is gone: the program ends.
    #[error("the database was closed")]
    Closed,
}

/// The open database. Cloned freely.
#[derive(Debug, Clone)]
pub struct Store {
    path: Arc<Path>,
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the database at `path`, making it (mode 0600) if there is none, checks it and
    /// brings it to this program's version after a copy to `<path>.v<old version>`.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or is of a newer program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        private::ensure_file(path).map_err(StoreError::File)?;
        let failed =
            |what| move |source| StoreError::Sqlite { path: path.to_owned(), what, source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection =
            Connection::open_with_flags(path, flags).map_err(failed("be opened"))?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                 PRAGMA busy_timeout = 5000;",
            )
            .map_err(failed("be set up"))?;
        let report: String = connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(failed("be checked"))?;
        if report != "ok" {
            return Err(StoreError::Damaged { path: path.to_owned(), report });
        }
        migrate::migrate(&mut connection, path)?;
        Ok(Self { path: path.into(), connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` with the connection on the blocking pool. Once begun it is carried to its
    /// end, even if the caller goes away.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.connection);
        let work = move || {
            // A panic in an earlier call rolled its transaction back: the connection is sound.
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Closed))
    }

    fn failed(&self, what: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let path = Arc::clone(&self.path);
        move |source| StoreError::Sqlite { path: path.to_path_buf(), what, source }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::NameTaken(_) => Code::AlreadyExists,
            _ => Code::OperationFailed,
        };
        Self::from_error(code, &error)
    }
}
