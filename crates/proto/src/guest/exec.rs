//! Running a command.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exit_code;

/// Size of a terminal in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TerminalSize {
    /// Height.
    pub rows: u16,
    /// Width.
    pub cols: u16,
}

/// A command for the guest; also the body of the interface's exec call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecRequest {
    /// Program and arguments; empty for the user's login shell.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Variables on top of the guest's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory; absent for the user's home.
    #[serde(default)]
    pub cwd: Option<String>,
    /// User name or number, optionally with a group after `:`; absent for root.
    #[serde(default)]
    pub user: Option<String>,
    /// A terminal of this size instead of three pipes.
    #[serde(default)]
    pub terminal: Option<TerminalSize>,
    /// Whether `Stdin` frames follow; else standard input is empty.
    #[serde(default)]
    pub stdin: bool,
}

/// The command runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStarted {
    /// Its process id in the guest.
    pub pid: u32,
}

/// How the command ended: exactly one of the two is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExit {
    /// Exit code, when it exited.
    #[serde(default)]
    pub code: Option<u8>,
    /// Signal number, when one ended it.
    #[serde(default)]
    pub signal: Option<u8>,
}

impl ExecExit {
    /// The code a shell would show: the command's own, or 128 plus the signal's number.
    #[must_use]
    pub fn shell_code(&self) -> u8 {
        match (self.code, self.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => exit_code::SIGNAL_BASE.saturating_add(signal),
            (None, None) => exit_code::EXEC_FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(ExecExit { code: Some(7), signal: None }.shell_code(), 7);
        assert_eq!(ExecExit { code: None, signal: Some(9) }.shell_code(), 137);
        assert_eq!(ExecExit { code: None, signal: None }.shell_code(), 125);
    }
}
