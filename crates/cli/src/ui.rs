//! The three standard streams: what is a terminal, what may be coloured, and writing to them.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use serde::Serialize;

use crate::errors::CliError;

/// The streams of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    /// Whether standard input is a terminal.
    pub(crate) stdin_terminal: bool,
    /// Whether standard output is one.
    pub(crate) stdout_terminal: bool,
    /// Whether standard error is one.
    pub(crate) stderr_terminal: bool,
    /// Whether standard error is coloured.
    colour: bool,
}

impl Ui {
    /// Looks at the streams. `--color` wins over `NO_COLOR`, which wins over the terminal.
    pub(crate) fn observe(choice: ColorChoice, no_color: bool) -> Self {
        let stderr_terminal = io::stderr().is_terminal();
        Self {
            stdin_terminal: io::stdin().is_terminal(),
            stdout_terminal: io::stdout().is_terminal(),
            stderr_terminal,
            colour: match choice {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => stderr_terminal && !no_color,
            },
        }
    }

    /// Streams that are no terminals, for tests of rendering.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self {
            stdin_terminal: false,
            stdout_terminal: false,
            stderr_terminal: false,
            colour: false,
        }
    }

    /// Whether a command gets a terminal without being asked for one: when a person types and a
    /// person reads.
    pub(crate) fn interactive(&self) -> bool {
        self.stdin_terminal && self.stdout_terminal
    }

    /// Writes a line of the result to standard output.
    pub(crate) fn print(&self, text: &str) -> Result<(), CliError> {
        let mut line = text.to_owned();
        line.push('\n');
        self.print_bytes(line.as_bytes())
    }

    /// Writes bytes of the result to standard output.
    pub(crate) fn print_bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|e| CliError::stdout(&e))
    }

    /// Writes a wire type to standard output as JSON.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), CliError> {
        self.print(&serde_json::to_string_pretty(value).map_err(|error| not_json(&error))?)
    }

    /// Writes one of several wire types to standard output, as JSON on a line of its own.
    pub(crate) fn print_json_line(&self, value: &impl Serialize) -> Result<(), CliError> {
        self.print(&serde_json::to_string(value).map_err(|error| not_json(&error))?)
    }

    /// Writes a line to standard error. A standard error that is gone loses it: there is nobody
    /// left to tell.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Text of little weight, for standard error.
    pub(crate) fn dim(&self, text: &str) -> String {
        self.styled(Style::new().dimmed(), text)
    }

    /// The colour of errors, for standard error.
    pub(crate) fn red(&self, text: &str) -> String {
        self.styled(AnsiColor::Red.on_default().bold(), text)
    }

    /// The colour of ways out, for standard error.
    pub(crate) fn cyan(&self, text: &str) -> String {
        self.styled(AnsiColor::Cyan.on_default(), text)
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

fn not_json(error: &serde_json::Error) -> CliError {
    CliError::failure("cannot write the result as JSON").because(error)
}

/// `text` without anything a terminal would act upon, line ends and tabs excepted.
pub(crate) fn printable(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '?' } else { c })
        .collect()
}
