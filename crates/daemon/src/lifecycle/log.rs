//! The daemon's log: JSON lines in private files of bounded size.

use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::LogLevel;
use crate::private;
use crate::rotated::RotatedFile;

/// Bytes in one file; with the rotated one twice as many are kept.
const LIMIT: u64 = 8 << 20;

/// Sends this process's log to `path`. `asked` is a level or a filter
/// (`debug`, `banger_daemon::vm=trace`); one that cannot be read is ignored for `configured`.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn start(path: &Path, asked: Option<&str>, configured: LogLevel) -> std::io::Result<()> {
    private::ensure_file(path)?;
    let file = RotatedFile::new(path, LIMIT);
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
