//! Exit codes of the command line: part of its public interface.

/// Everything went well.
pub const OK: u8 = 0;
/// banger itself failed.
pub const FAILURE: u8 = 1;
/// The command line was wrong.
pub const USAGE: u8 = 2;
/// The time given to `vm wait` was over, as `timeout(1)` says it.
pub const TIMED_OUT: u8 = 124;
/// banger failed in a command that otherwise exits with the guest command's own code
/// (`vm run -- cmd`, `vm exec`).
pub const EXEC_FAILURE: u8 = 125;
/// Guest command found but not executable, as shells say it.
pub const COMMAND_NOT_EXECUTABLE: u8 = 126;
/// Guest command not found, as shells say it.
pub const COMMAND_NOT_FOUND: u8 = 127;
/// A guest command ended by signal `n` exits with this plus `n`.
pub const SIGNAL_BASE: u8 = 128;
