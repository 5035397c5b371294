//! The three standard streams: what is a terminal, what may be coloured, and writing to them.
//!
//! Whatever is written here as text is made [`harmless`] first, wherever its words come from; only
//! bytes that were asked for as they are go past that.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use banger_proto::harmless;
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
    /// Whether pictures on standard output are coloured.
    pub(crate) stdout_colour: bool,
    /// Whether standard error is coloured.
    colour: bool,
}

impl Ui {
    /// Looks at the streams. `--color` wins over `NO_COLOR`, which wins over the terminal.
    pub(crate) fn observe(choice: ColorChoice, no_color: bool) -> Self {
        let stdout_terminal = io::stdout().is_terminal();
        let stderr_terminal = io::stderr().is_terminal();
        let colour = |terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        Self {
            stdin_terminal: io::stdin().is_terminal(),
            stdout_terminal,
            stderr_terminal,
            stdout_colour: colour(stdout_terminal),
            colour: colour(stderr_terminal),
        }
    }

    /// Streams that are no terminals, for tests of rendering.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self {
            stdin_terminal: false,
            stdout_terminal: false,
            stderr_terminal: false,
            stdout_colour: false,
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
        self.print_line(harmless::render_text(text).into_owned())
    }

    fn print_line(&self, mut line: String) -> Result<(), CliError> {
        line.push('\n');
        self.print_bytes(line.as_bytes())
    }

    /// Writes bytes of the result to standard output, as they are.
    pub(crate) fn print_bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|e| CliError::stdout(&e))
    }

    /// Writes a wire type to standard output as JSON.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let json = serde_json::to_string_pretty(value).map_err(|error| not_json(&error))?;
        self.print_line(harmless::render_json(json))
    }

    /// Writes one of several wire types to standard output, as JSON on a line of its own.
    pub(crate) fn print_json_line(&self, value: &impl Serialize) -> Result<(), CliError> {
        let json = serde_json::to_string(value).map_err(|error| not_json(&error))?;
        self.print_line(harmless::render_json(json))
    }

    /// Writes a line to standard error. A standard error that is gone loses it: there is nobody
    /// left to tell.
    pub(crate) fn note(&self, text: impl Into<Styled>) {
        let _ = writeln!(io::stderr().lock(), "{}", text.into().0);
    }

    /// Writes to standard error without ending the line.
    pub(crate) fn prompt(&self, text: impl Into<Styled>) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{}", text.into().0)?;
        stderr.flush()
    }

    /// Text of little weight, for standard error.
    pub(crate) fn dim(&self, text: &str) -> Styled {
        self.styled(Style::new().dimmed(), text)
    }

    /// The colour of errors, for standard error.
    pub(crate) fn red(&self, text: &str) -> Styled {
        self.styled(AnsiColor::Red.on_default().bold(), text)
    }

    /// The colour of ways out, for standard error.
    pub(crate) fn cyan(&self, text: &str) -> Styled {
        self.styled(AnsiColor::Cyan.on_default(), text)
    }

    fn styled(&self, style: Style, text: &str) -> Styled {
        let mut styled = Styled::from(text);
        if self.colour {
            styled.0 = format!("{style}{}{style:#}", styled.0);
        }
        styled
    }
}

/// Text for standard error that does nothing to a terminal but what this program wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Styled(String);

impl Styled {
    /// The text with more after it.
    pub(crate) fn then(mut self, more: impl Into<Self>) -> Self {
        self.0.push_str(&more.into().0);
        self
    }

    /// The text as it is written.
    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str>> From<T> for Styled {
    fn from(text: T) -> Self {
        Self(harmless::render_text(text.as_ref()).into_owned())
    }
}

fn not_json(error: &serde_json::Error) -> CliError {
    CliError::failure("cannot write the result as JSON").because(error)
}
