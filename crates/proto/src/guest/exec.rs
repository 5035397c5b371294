//! Running a command.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exit_code;

/// Bytes of standard input that the host may have outstanding: sent, and not told to be taken
/// by [`StdinTaken`]. The host may send this much before it hears anything.
pub const STDIN_WINDOW: usize = 256 << 10;

/// The agent keeps what the command took to itself until it is this many bytes, so that typing
/// causes no answers. A host that waits for the whole of [`STDIN_WINDOW`] may therefore wait
/// for ever; it sends what it may.
pub const STDIN_GRANT: usize = 32 << 10;

/// Code of the refusal of a request for a shell by a guest that has none.
pub const NO_SHELL: &str = "no_shell";

/// Files by which mise knows tools, at the top of a repository, in the order in which one is named.
pub const TOOL_FILES: [&str; 3] = ["mise.toml", ".mise.toml", ".tool-versions"];

/// The program that provides them. As the command of an [`ExecRequest`] with `tools_of` it is the mise
/// that commands there are run through, wherever in the guest that is.
pub const MISE: &str = "mise";

/// Size of a terminal in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TerminalSize {
    /// Height.
    pub rows: u16,
    /// Width.
    pub cols: u16,
}

/// A command for the guest, all defaults of image and VM resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Program and arguments; empty for the user's login shell, or the next best shell there is.
    /// A guest without any refuses with the code [`NO_SHELL`].
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
    /// Directory whose tools the command is to find, where it names any and the guest has mise;
    /// absent for none. A shell sees to that itself, and so does [`MISE`].
    #[serde(default)]
    pub tools_of: Option<String>,
}

/// The command runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStarted {
    /// Its process id in the guest.
    pub pid: u32,
}

/// Standard input has left the agent: the host may send as much again.
///
/// Signals and sizes share the stream with standard input, and the end of the stream is how a
/// vanished host is noticed. So the agent has to read the stream whether the command reads its
/// input or not, and what it must store meanwhile is bounded by [`STDIN_WINDOW`]: the payloads
/// of all `Stdin` frames less the `bytes` of all `StdinTaken` frames never exceed it. A host
/// that sends more is refused with `bad_request`, and its command is ended as by a hang-up.
///
/// Bytes for a command that has closed its input go nowhere and are told as taken. After
/// `StdinEnd` nothing is told any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StdinTaken {
    /// Bytes taken since the last such frame.
    pub bytes: u64,
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
