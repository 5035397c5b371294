//! The database: what VMs there are and what was meant to become of them. The only SQL.
//!
//! One connection behind a mutex, used on the blocking pool: SQLite lets one writer in at a
//! time anyway, every call here takes about a millisecond, and a writer thread of its own would
//! need a message type for each function. Write-ahead log; `synchronous=FULL`, because a VM
//! that was reported as made must be there after a power cut, and a boot commits only four
//! times.

//!
//! | module | what |
//! |---|---|
//! | `check` | whether a file can be worked with, before anything is written to it |
//! | `migrate`, `copies` | to this program's version, with a copy of the older one |
//! | `vms`, `history` | the tables |
//! | `error` | what can go wrong, and the ways out |

mod check;
mod copies;
mod error;
mod history;
mod migrate;
#[cfg(test)]
mod tests;
mod vms;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

pub(crate) use check::examine;
pub use error::StoreError;

use crate::private;

/// The open database. Cloned freely.
#[derive(Debug, Clone)]
pub struct Store {
    path: Arc<Path>,
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the database at `path`, making it (mode 0600) if there is none, checks it and
    /// brings it to this program's version after a copy to `<path>.v<old version>-<time>`.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or is of a newer program; it is left as it was
    /// found then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        private::ensure_file(path).map_err(StoreError::File)?;
        let mut connection = check::open_checked(path)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                 PRAGMA busy_timeout = 5000;",
            )
            .map_err(|source| StoreError::from_sqlite(path, "be set up", source))?;
        migrate::migrate(&mut connection, path)?;
        check::allow_checkpoint(&connection, path)?;
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
        move |source| StoreError::from_sqlite(&path, what, source)
    }
}
