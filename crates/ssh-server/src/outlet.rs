//! The way of a channel's output to the client: never more than the client has room for.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::connection::Event;

/// The channel is gone; nobody reads what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has closed the channel")]
pub struct Gone;

/// One of a command's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or everything of a terminal.
    Output,
    /// Standard error.
    Error,
}

/// The user's end of a channel's output.
#[derive(Debug)]
pub struct Outputs {
    pub(crate) channel: u32,
    /// One permit for each byte the client has room for. Closed when the channel is.
    pub(crate) window: Arc<Semaphore>,
    /// Most bytes of one message, at least one.
    pub(crate) packet: usize,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Outputs {
    /// Sends all of `bytes`, as the client makes room for them.
    ///
    /// # Errors
    /// When the channel is gone.
    pub async fn write(&self, stream: Stream, bytes: &[u8]) -> Result<(), Gone> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = self.reserve(rest.len()).await?;
            let (now, later) = rest.split_at(length);
            let channel = self.channel;
            self.tell(Event::Data { channel, stream, bytes: now.to_vec() }).await?;
            rest = later;
        }
        Ok(())
    }

    /// Tells that nothing will be written any more.
    ///
    /// # Errors
    /// When the channel is gone.
    pub async fn end(&self) -> Result<(), Gone> {
        self.tell(Event::End { channel: self.channel }).await
    }

    /// Tells that so many bytes of input were taken: the client may send as many again.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn taken(&self, bytes: usize) -> Result<(), Gone> {
        self.tell(Event::Taken { channel: self.channel, bytes }).await
    }

    /// Room for some bytes, at least one and at most `wanted`.
    async fn reserve(&self, wanted: usize) -> Result<usize, Gone> {
        self.window.acquire().await.map_err(|_| Gone)?.forget();
        let more = wanted.min(self.packet) - 1;
        // Nobody else takes permits of this channel.
        Ok(1 + self.window.forget_permits(more))
    }

    async fn tell(&self, event: Event) -> Result<(), Gone> {
        self.events.send(event).await.map_err(|_| Gone)
    }
}
