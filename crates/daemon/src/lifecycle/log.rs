//! The daemon's log: JSON lines in a private file.

use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::LogLevel;
use crate::private;

/// Size in bytes from which a start begins a new file and keeps the old one as `.1`.
const ROTATE_AT: u64 = 8 << 20;

/// Sends this process's log to `path`. `asked` is a level or a filter
/// (`debug`, `banger_daemon::vm=trace`); one that cannot be read is ignored for `configured`.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn start(path: &Path, asked: Option<&str>, configured: LogLevel) -> std::io::Result<()> {
    if fs_err::metadata(path).is_ok_and(|metadata| metadata.len() > ROTATE_AT) {
        fs_err::rename(path, path.with_extension("log.1"))?;
    }
    private::ensure_file(path)?;
    let file = fs_err::OpenOptions::new().append(true).open(path)?.into_file();
    let level = match configured {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let filter = asked
        .and_then(|asked| EnvFilter::try_new(asked).ok())
        .unwrap_or_else(|| EnvFilter::default().add_directive(level.into()));
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(Mutex::new(file))
        .finish();
    // A second daemon in one process, as tests have it, logs to where the first one does.
    let _ = tracing::subscriber::set_global_default(log);
    Ok(())
}
