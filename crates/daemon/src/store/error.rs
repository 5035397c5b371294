//! Why the database does not do what it should, and the way out.

use std::path::{Path, PathBuf};

use banger_proto::{Code, Problem};
use rusqlite::ErrorCode;

use super::copies::observe_copies;

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
    /// There is no room for what was to be written; nothing of it was.
    #[error("no space left for database `{path}` to {what}")]
    Full {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
    },
    /// The file is damaged. It is left as it was found.
    #[error("database `{path}` is damaged: {report}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first finding.
        report: String,
    },
    /// The file was written by a newer program. It is left as it was found.
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

impl StoreError {
    /// What `source` means for the database at `path` that was to do `what`.
    pub(super) fn from_sqlite(path: &Path, what: &'static str, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, report: source.to_string() }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path, what },
            _ => Self::Sqlite { path, what, source },
        }
    }

    /// Ways out, as sentences.
    pub(crate) fn hints(&self) -> Vec<String> {
        match self {
            Self::Full { path, .. } => {
                let dir = path.parent().unwrap_or(path);
                vec![format!("make room on the disk of `{}` and try again", dir.display())]
            }
            Self::Damaged { path, .. } => render_ways_on(path),
            Self::TooNew { path, found, .. } => {
                let mut hints =
                    vec![format!("use the banger that made version {found}, or a newer one")];
                hints.extend(observe_copies(path).first().map(|copy| {
                    format!("the database as it was before is in `{}`", copy.display())
                }));
                hints
            }
            _ => Vec::new(),
        }
    }
}

/// How to go on without a damaged database, or with its copy. Nothing of it is thrown away: what
/// it was may still be read by somebody with more patience.
fn render_ways_on(path: &Path) -> Vec<String> {
    let dir = path.parent().unwrap_or(path).display();
    let name = path.file_name().unwrap_or_default().display();
    let aside = format!("mkdir '{dir}/damaged' && mv '{dir}/{name}'* '{dir}/damaged/'");
    let mut hints = vec![format!(
        "put it aside to go on without it: {aside}; its VMs are not known then, their disks stay \
         in `{dir}/vms`"
    )];
    let newest = observe_copies(path).into_iter().next();
    hints.push(match newest.as_deref().and_then(Path::file_name) {
        Some(copy) => format!(
            "to go on with its newest copy, type then: cp '{dir}/damaged/{}' '{dir}/{name}'",
            copy.display()
        ),
        None => "there is no copy of it: copies are made before a new version changes its form"
            .to_owned(),
    });
    hints
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::NameTaken(_) => Code::AlreadyExists,
            _ => Code::OperationFailed,
        };
        error.hints().into_iter().fold(Self::from_error(code, &error), Self::hint)
    }
}
