//! What waits for whoever uses a channel: bounded, whatever the client sends.
//!
//! Bytes are bounded by the channel's window. Of sizes only the last counts, and signals beyond
//! a handful are dropped: a client can send those without end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Signals that may wait.
const SIGNAL_LIMIT: usize = 16;

/// Size of a terminal in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Height.
    pub rows: u16,
    /// Width.
    pub cols: u16,
}

/// Something from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Bytes. They count against the client's window until they are told as taken.
    Bytes(Vec<u8>),
    /// No bytes will come any more.
    End,
    /// The terminal has this size now.
    Resize(TerminalSize),
    /// A signal by its Linux number.
    Signal(u8),
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    signals: Vec<u8>,
    size: Option<TerminalSize>,
    end: End,
    /// Nobody is there any more.
    gone: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    ToCome,
    Here,
    Told,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the connection puts things. Dropping it tells that the channel is gone.
#[derive(Debug)]
pub(crate) struct Inbox(Arc<Shared>);

/// The user's end of a channel's input.
#[derive(Debug)]
pub struct Inputs(Arc<Shared>);

/// Both ends.
pub(crate) fn inbox() -> (Inbox, Inputs) {
    let shared = Arc::default();
    (Inbox(Arc::clone(&shared)), Inputs(shared))
}

impl Inbox {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state());
        self.0.wake.notify_one();
    }

    pub(crate) fn add(&self, bytes: &[u8]) {
        self.change(|state| state.bytes.extend_from_slice(bytes));
    }

    pub(crate) fn end(&self) {
        self.change(|state| {
            if state.end == End::ToCome {
                state.end = End::Here;
            }
        });
    }

    pub(crate) fn resize(&self, size: TerminalSize) {
        self.change(|state| state.size = Some(size));
    }

    pub(crate) fn signal(&self, signal: u8) {
        self.change(|state| {
            if state.signals.len() < SIGNAL_LIMIT {
                state.signals.push(signal);
            }
        });
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.change(|state| state.gone = true);
    }
}

impl Inputs {
    /// The next input; none once the channel is gone and everything was given out. Cancel-safe.
    pub async fn next(&mut self) -> Option<Input> {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.0.wake.notified().await;
        }
    }

    fn try_next(&self) -> Option<Option<Input>> {
        let mut state = self.0.state();
        if !state.signals.is_empty() {
            return Some(Some(Input::Signal(state.signals.remove(0))));
        }
        if let Some(size) = state.size.take() {
            return Some(Some(Input::Resize(size)));
        }
        if !state.bytes.is_empty() {
            return Some(Some(Input::Bytes(std::mem::take(&mut state.bytes))));
        }
        if state.end == End::Here {
            state.end = End::Told;
            return Some(Some(Input::End));
        }
        state.gone.then_some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_before_the_end_and_the_end_once() {
        let (inbox, mut inputs) = inbox();
        inbox.add(b"a");
        inbox.end();
        inbox.add(b"b");
        inbox.end();
        drop(inbox);
        assert_eq!(inputs.next().await, Some(Input::Bytes(b"ab".to_vec())));
        assert_eq!(inputs.next().await, Some(Input::End));
        assert_eq!(inputs.next().await, None);
        assert_eq!(inputs.next().await, None);
    }

    #[tokio::test]
    async fn floods_of_sizes_and_signals_do_not_pile_up() {
        let (inbox, mut inputs) = inbox();
        for rows in 0..1000 {
            inbox.resize(TerminalSize { rows, cols: 80 });
            inbox.signal(15);
        }
        drop(inbox);
        let mut all = Vec::new();
        while let Some(input) = inputs.next().await {
            all.push(input);
        }
        assert_eq!(all.len(), SIGNAL_LIMIT + 1);
        assert_eq!(all.last(), Some(&Input::Resize(TerminalSize { rows: 999, cols: 80 })));
    }
}
