//! What a command writes into a pipe or terminal, to the end: its own, and not that of whoever
//! else holds the pipe open.
//!
//! After the command's end its output is what its pipe holds then, and what comes within
//! [`GRACE`]: a background process that keeps a pipe open does not hold the exit.

use std::time::Duration;

use banger_proto::guest::frame::DATA_CHUNK;
use tokio::time::{Instant, sleep_until};

use super::stream::Stream;

/// How long an ended command's output is waited for while others hold it open.
const GRACE: Duration = Duration::from_millis(250);

/// One output of a command.
#[derive(Debug)]
pub(crate) struct Output {
    /// None after its end.
    stream: Option<Stream>,
    buffer: Vec<u8>,
    /// Set by the command's end.
    deadline: Option<Instant>,
    /// Bytes that were in the pipe when the command ended and are not read yet.
    owed: u64,
}

impl Output {
    /// The output that comes from `stream`; of none, nothing.
    pub(crate) fn new(stream: Option<Stream>) -> Self {
        let buffer = if stream.is_some() { vec![0; DATA_CHUNK] } else { Vec::new() };
        Self { stream, buffer, deadline: None, owed: 0 }
    }

    /// Notes that the command has ended.
    pub(crate) fn note_end(&mut self) {
        self.owed = self.stream.as_ref().map_or(0, Stream::unread);
        self.deadline = Some(Instant::now() + GRACE);
    }

    /// Whether nothing comes any more.
    pub(crate) fn is_over(&self) -> bool {
        self.stream.is_none()
    }

    /// The next piece; empty once, at the end, and waits for ever after it. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &[u8] {
        let Some(stream) = &self.stream else { return std::future::pending().await };
        let late = async {
            match self.deadline.filter(|_| self.owed == 0) {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let length = tokio::select! {
            // First, so that what is there is never taken for late.
            biased;
            read = stream.read(&mut self.buffer) => read.unwrap_or(0),
            () = late => 0,
        };
        self.owed = self.owed.saturating_sub(length as u64);
        if length == 0 {
            self.stream = None;
        }
        &self.buffer[..length]
    }
}
