//! The host's terminal: its size, and raw mode that is left on every way out.

use std::sync::{Mutex, Once, PoisonError};

use banger_proto::guest::TerminalSize;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::errors::CliError;

/// Size told to the guest when no stream of ours is a terminal that knows its own.
const DEFAULT_SIZE: TerminalSize = TerminalSize { rows: 24, cols: 80 };

/// How the terminal was before it was made raw. Not a field of [`RawMode`]: a panic ends the
/// process without dropping anything, and its hook must find this.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// Size of the terminal we are on.
pub(crate) fn size() -> TerminalSize {
    [tcgetwinsize(stdout()), tcgetwinsize(stdin()), tcgetwinsize(stderr())]
        .into_iter()
        .flatten()
        .map(|size| TerminalSize { rows: size.ws_row, cols: size.ws_col })
        .find(|size| size.rows > 0 && size.cols > 0)
        .unwrap_or(DEFAULT_SIZE)
}

/// Standard input's terminal in raw mode, as long as this lives: every key, Ctrl-C included,
/// is a byte for the guest.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Makes the terminal raw.
    pub(crate) fn enter() -> Result<Self, CliError> {
        let failed = |error: &dyn std::error::Error| {
            CliError::failure("cannot make the terminal raw").because(error)
        };
        let original = tcgetattr(stdin()).map_err(|error| failed(&error))?;
        let mut raw = original.clone();
        raw.make_raw();
        *ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(original);
        restore_on_panic();
        let guard = Self(());
        tcsetattr(stdin(), OptionalActions::Drain, &raw).map_err(|error| failed(&error))?;
        Ok(guard)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let original = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(original) = original {
        // At once, not after draining: a terminal that hangs must not hang us. A terminal that
        // is gone needs nothing.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &original);
    }
}

fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
}
