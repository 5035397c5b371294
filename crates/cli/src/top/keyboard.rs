//! The keys of our terminal, as they are pressed. Read without a thread, as sessions read: nothing may
//! swallow what is typed for a shell.

use std::io;
use std::time::Duration;

use rustix::termios::{QueueSelector, tcflush};
use tokio::time::{Instant, timeout_at};

use super::keys::{Decoder, Key};
use crate::stdin::Input;

/// How long after ESC the rest of a sequence may come: terminals send it at once, networks do not.
const ESCAPE_WAIT: Duration = Duration::from_millis(50);

/// Standard input as keys.
#[derive(Debug)]
pub(crate) struct Keyboard {
    input: Input,
    decoder: Decoder,
    /// When ESC is a key.
    escape_at: Option<Instant>,
}

impl Keyboard {
    /// Begins to read.
    pub(crate) fn open() -> Self {
        Self { input: Input::open(), decoder: Decoder::default(), escape_at: None }
    }

    /// What was pressed, at least one. Cancel-safe.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(crate) async fn next(&mut self) -> io::Result<Vec<Key>> {
        let mut buffer = [0; 256];
        loop {
            let read = match self.escape_at {
                None => self.input.read(&mut buffer).await,
                Some(at) => match timeout_at(at, self.input.read(&mut buffer)).await {
                    Ok(read) => read,
                    Err(_) => {
                        self.escape_at = None;
                        match self.decoder.give_up() {
                            Some(key) => return Ok(vec![key]),
                            None => continue,
                        }
                    }
                },
            };
            let keys = match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.decoder.take(&buffer[..read]),
            };
            self.escape_at = self.decoder.is_waiting().then(|| Instant::now() + ESCAPE_WAIT);
            if !keys.is_empty() {
                return Ok(keys);
            }
        }
    }

    /// Forgets what was typed and not read: it was meant for somebody else.
    pub(crate) fn forget(&mut self) {
        // A terminal that is gone has nothing to forget.
        let _ = tcflush(rustix::stdio::stdin(), QueueSelector::IFlush);
        *self = Self::open();
    }
}
