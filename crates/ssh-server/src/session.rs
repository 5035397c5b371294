//! What a session is to whoever runs its command.

use std::collections::BTreeMap;

use crate::inbox::{Inputs, TerminalSize};
use crate::message;
use crate::outlet::Outputs;
use crate::wire::Writer;

/// What a session runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The user's login shell.
    Shell,
    /// A command line for the user's shell.
    Line(String),
    /// A file server: [`sftp::serve`](crate::sftp::serve) with the session's input and output.
    Sftp,
}

/// A command that a client wants to be run, with both ends of its channel. Dropping the ends
/// before the command is over loses what would come; the client waits for its [`Exit`].
#[derive(Debug)]
pub struct Session {
    /// Who logged in.
    pub user: String,
    /// What to run.
    pub command: Command,
    /// Variables from the client, among the harmless ones; `TERM` where there is a terminal.
    pub env: BTreeMap<String, String>,
    /// Size of the terminal; none for pipes.
    pub terminal: Option<TerminalSize>,
    /// What the client sends. It ends when the client is gone, which hangs up the command.
    pub input: Inputs,
    /// The way to the client.
    pub output: Outputs,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(u8),
    /// A signal, by its Linux number, ended it.
    Signal(u8),
}

/// Signals that have a name in SSH (RFC 4254 §6.10), with their numbers on Linux.
const SIGNALS: [(&str, u8); 13] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("ABRT", 6),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
];

/// The number of the signal called `name`.
pub(crate) fn signal_number(name: &str) -> Option<u8> {
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Whether a client may set this variable: what tells about its language and its terminal, and
/// nothing that changes what programs do.
pub(crate) fn is_variable_accepted(name: &str) -> bool {
    let rest = name.strip_prefix("LC_").unwrap_or_default();
    let is_category =
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_category || ["LANG", "LANGUAGE", "COLORTERM", "NO_COLOR"].contains(&name)
}

impl Exit {
    /// The message that tells the client on its channel `remote`. Signals without a name there
    /// are told as a shell does it.
    pub(crate) fn message(self, remote: u32) -> Vec<u8> {
        let request = Writer::message(message::CHANNEL_REQUEST).u32(remote);
        let code = match self {
            Self::Signal(number) => match SIGNALS.iter().find(|(_, known)| *known == number) {
                Some((name, _)) => {
                    let signal = request.string("exit-signal").boolean(false).string(name);
                    return signal.boolean(false).string("").string("").finish();
                }
                None => number.saturating_add(128),
            },
            Self::Code(code) => code,
        };
        request.string("exit-status").boolean(false).u32(code.into()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_variables_are_accepted() {
        for name in ["LANG", "LC_ALL", "LC_TIME", "COLORTERM"] {
            assert!(is_variable_accepted(name), "{name}");
        }
        for name in ["PATH", "LD_PRELOAD", "LC_", "LC_A=B", "BASH_ENV", "", "HOME"] {
            assert!(!is_variable_accepted(name), "{name}");
        }
    }
}
