//! The whole terminal, as long as it is ours: raw, on its alternate screen, given back on every way
//! out.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use banger_proto::guest::TerminalSize;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::force_color_output;
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use crate::errors::CliError;
use crate::terminal::{self, RawMode};

/// Whether the alternate screen is shown. Not a field of [`Screen`]: a panic ends the process
/// without dropping anything, and its hook must know.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A terminal that is ours.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Output>>,
    output: Output,
    /// The size that it was made for.
    size: TerminalSize,
    // In this order: what was shown before comes back, then the modes.
    _alternate: Alternate,
    _raw: RawMode,
}

#[derive(Debug)]
struct Alternate(());

impl Screen {
    /// Takes the terminal; `colour` is whether its pictures may be coloured.
    ///
    /// # Errors
    /// When it is none, or cannot be written to.
    pub(crate) fn enter(colour: bool) -> Result<Self, CliError> {
        // The library looks for itself at what was decided here.
        force_color_output(colour);
        let raw = RawMode::enter()?;
        restore_on_panic();
        let alternate = Alternate(());
        TAKEN.store(true, Ordering::SeqCst);
        let mut stdout = io::stdout();
        let begun = execute!(stdout, EnterAlternateScreen, EnableBracketedPaste, Hide);
        let size = terminal::size();
        let output = Output::default();
        let terminal = begun.and_then(|()| open(size, output.clone()));
        let terminal = terminal.map_err(|error| CliError::stdout(&error))?;
        Ok(Self { terminal, output, size, _alternate: alternate, _raw: raw })
    }

    /// Shows the picture that `draw` makes, in the size that the terminal has now.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub(crate) fn show(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), CliError> {
        self.fit().map_err(|error| CliError::stdout(&error))?;
        let shown = self.terminal.draw(draw).map(|_| ()).and_then(|()| self.output.check());
        shown.map_err(|error| CliError::stdout(&error))
    }

    /// Begins anew in a terminal of another size.
    fn fit(&mut self) -> io::Result<()> {
        let size = terminal::size();
        if size != self.size {
            execute!(io::stdout(), Clear(ClearType::All))?;
            self.terminal = open(size, self.output.clone())?;
            self.size = size;
        }
        Ok(())
    }
}

/// An empty picture of this size. Fixed: by itself the library would ask the terminal that this process is
/// controlled by, which need not be the one that it writes to, and start a program where there is none.
fn open(size: TerminalSize, output: Output) -> io::Result<Terminal<CrosstermBackend<Output>>> {
    let viewport = Viewport::Fixed(Rect::new(0, 0, size.cols, size.rows));
    Terminal::with_options(CrosstermBackend::new(output), TerminalOptions { viewport })
}

/// Standard output, whose failures are told when they are asked for: the library says on standard error
/// that it cannot show the cursor at the end, and panics where that is gone, too.
#[derive(Debug, Clone, Default)]
struct Output {
    failed: Rc<RefCell<Option<io::Error>>>,
}

impl Output {
    /// Whether all was written so far.
    fn check(&self) -> io::Result<()> {
        self.failed.borrow_mut().take().map_or(Ok(()), Err)
    }

    fn keep<T>(&self, result: io::Result<T>, instead: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                *self.failed.borrow_mut() = Some(error);
                Ok(instead)
            }
            result => result,
        }
    }
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.keep(io::stdout().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.keep(io::stdout().flush(), ())
    }
}

impl Drop for Alternate {
    fn drop(&mut self) {
        leave();
    }
}

fn leave() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut stdout = io::stdout();
        // A terminal that is gone needs nothing.
        let _ = execute!(stdout, DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = stdout.flush();
    }
}

/// What is said of a panic is to be read afterwards.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            report(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::process::Command;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Has this test take the terminal that it is on, and panic.
    const PANIC: &str = "BANGER_TEST_PANIC";

    #[test]
    fn a_panic_gives_the_terminal_back_before_its_message() {
        if std::env::var_os(PANIC).is_some() {
            // Where a panic aborts, nothing is dropped.
            std::mem::forget(Screen::enter(false).unwrap());
            panic!("the message");
        }
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let line = ioctl_tiocgptpeer(&master, flags).unwrap();
        let end = || line.try_clone().unwrap();
        let test = "top::screen::tests::a_panic_gives_the_terminal_back_before_its_message";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(PANIC, "")
            .env("RUST_BACKTRACE", "0")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();

        let mut output = File::from(master);
        let mut screen = vt100::Parser::default();
        let (mut shown, mut taken) = (Vec::new(), false);
        // Only where lines are broken for it was the terminal as before.
        while !shown.ends_with(b"the message\r\n") {
            let deadline = Timespec::try_from(DEADLINE).unwrap();
            let ready = poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&deadline)).unwrap();
            assert_eq!(ready, 1, "{:?}", String::from_utf8_lossy(&shown));
            let mut byte = [0];
            output.read_exact(&mut byte).unwrap();
            screen.process(&byte);
            shown.extend(byte);
            taken |= screen.screen().alternate_screen();
        }
        let screen = screen.screen();
        assert!(taken && !screen.alternate_screen());
        assert!(!screen.hide_cursor() && !screen.bracketed_paste());
        assert_eq!(child.wait().unwrap().code(), Some(101));
        assert!(tcgetattr(&line).unwrap().local_modes.contains(LocalModes::ICANON));
    }
}
