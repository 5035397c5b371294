//! Everything after the login (RFC 4254): channels, what runs in them, and the bytes between.
//!
//! ```text
//!   client ──▶ transport ──▶ connection ──▶ inboxes ──▶ tasks: sessions, forwarded connections
//!   client ◀── transport ◀── connection ◀── events ◀────┘
//! ```
//!
//! The client's messages are always read, however little any task takes: what may wait for a
//! task is bounded by its channel's window, which is opened again by what the task has taken and
//! not by what has arrived. So one stuck channel stops no other, and a command that writes
//! before it reads gets the room for that.

mod forward;
mod session;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use self::forward::Destination;
use crate::channel::{Channel, Overrun, Phase, Setup};
use crate::inbox::inbox;
use crate::message::{self, open_failure};
use crate::outlet::{Outputs, Stream};
use crate::pump::{Pump, Pumped};
use crate::session::{Exit, Session};
use crate::transport::{Transport, TransportError, body};
use crate::wire::{Reader, Writer};
use crate::{Ending, Error};

/// Bytes a client may send on a channel beyond those that were taken.
pub const WINDOW: u32 = 256 << 10;
/// Longest message of data a client may send.
const PACKET: u32 = 32 << 10;
/// Channels of one connection: each can make this side store its window.
const CHANNEL_LIMIT: usize = 128;
/// Bytes that may wait for the client before tasks have to.
const BACKLOG: usize = 256 << 10;
/// Messages of tasks that may wait.
const EVENTS: usize = 8;

/// What tasks tell the connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// Bytes for the client, which has room for them.
    Data { channel: u32, stream: Stream, bytes: Vec<u8> },
    /// No more bytes for the client.
    End { channel: u32 },
    /// Input was taken.
    Taken { channel: u32, bytes: usize },
    /// A session's command has ended.
    Exited { channel: u32, exit: Exit },
    /// A forwarded connection has ended.
    Finished { channel: u32 },
    /// Where a channel leads was reached, or not.
    Connected { channel: u32, result: std::io::Result<TcpStream> },
    /// Somebody connected to what the client listens on.
    Accepted { destination: Destination, stream: TcpStream, peer: SocketAddr },
}

/// One connection after its login.
pub(crate) struct Connection<'a, F> {
    transport: &'a mut Transport,
    user: String,
    sessions: F,
    channels: BTreeMap<u32, Channel>,
    next_channel: u32,
    events: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    /// What the client listens on.
    listeners: HashMap<Destination, AbortHandle>,
}

impl<'a, F, Fut> Connection<'a, F>
where
    F: Fn(Session) -> Fut,
    Fut: Future<Output = Exit> + Send + 'static,
{
    /// Serves `user` to the end, and until everything that was started has ended.
    pub(crate) async fn serve<S>(
        user: String,
        transport: &'a mut Transport,
        pump: &mut Pump<S>,
        sessions: F,
    ) -> Result<Ending, Error>
    where
        S: AsyncRead + AsyncWrite,
    {
        let (events, mut told) = mpsc::channel(EVENTS);
        let mut connection = Self {
            transport,
            user,
            sessions,
            channels: BTreeMap::new(),
            next_channel: 0,
            events,
            tasks: JoinSet::new(),
            listeners: HashMap::new(),
        };
        let ending = connection.run(pump, &mut told).await;
        let Self { mut tasks, channels, listeners, .. } = connection;
        for listener in listeners.into_values() {
            listener.abort();
        }
        // Tells the tasks that nobody is there, which is for commands to be hung up.
        drop((channels, told));
        while tasks.join_next().await.is_some() {}
        ending
    }

    async fn run<S>(
        &mut self,
        pump: &mut Pump<S>,
        told: &mut mpsc::Receiver<Event>,
    ) -> Result<Ending, Error>
    where
        S: AsyncRead + AsyncWrite,
    {
        loop {
            while let Some(payload) = self.transport.next()? {
                self.take(&payload)?;
            }
            if self.transport.is_over() {
                return Ok(Ending::Disconnected);
            }
            let has_room = !self.transport.is_exchanging() && self.transport.backlog() < BACKLOG;
            tokio::select! {
                pumped = pump.pump(self.transport) => {
                    if pumped? == Pumped::Closed {
                        return Ok(Ending::Closed);
                    }
                }
                Some(event) = told.recv(), if has_room => self.apply(event)?,
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
            }
        }
    }

    /// Takes a message from the client.
    fn take(&mut self, payload: &[u8]) -> Result<(), TransportError> {
        let (number, mut message) = body(payload);
        match number {
            message::GLOBAL_REQUEST => return self.take_global(message),
            message::CHANNEL_OPEN => return self.take_open(message),
            message::CHANNEL_OPEN_CONFIRMATION..=message::CHANNEL_FAILURE => {}
            // Answers to requests that are not made here, and late tries to log in.
            message::REQUEST_SUCCESS | message::REQUEST_FAILURE | message::USERAUTH_REQUEST => {
                return Ok(());
            }
            _ => return self.transport.send_unimplemented(),
        }
        let id = message.u32()?;
        // One that is closed already on this side and forgotten on none is still here.
        let channel = self.channels.get_mut(&id).ok_or(TransportError::Order(number))?;
        let overrun = |_: Overrun| TransportError::Order(number);
        match number {
            message::CHANNEL_OPEN_CONFIRMATION => return self.take_confirmation(id, message),
            message::CHANNEL_OPEN_FAILURE if matches!(channel.phase, Phase::Offered(..)) => {
                self.channels.remove(&id);
            }
            message::CHANNEL_CLOSE if channel.is_open() => {
                if !channel.sent_close {
                    let close = Writer::message(message::CHANNEL_CLOSE).u32(channel.remote);
                    self.transport.send(close.finish())?;
                }
                self.channels.remove(&id);
            }
            _ if !channel.is_open() => return Err(TransportError::Order(number)),
            message::CHANNEL_WINDOW_ADJUST => channel.widen(message.u32()?).map_err(overrun)?,
            message::CHANNEL_DATA => channel.receive(message.string()?).map_err(overrun)?,
            message::CHANNEL_EXTENDED_DATA => {
                // Nothing takes a second input: it is dropped, and its room given back.
                let (_kind, bytes) = (message.u32()?, message.string()?);
                let inbox = channel.inbox.take();
                channel.receive(bytes).map_err(overrun)?;
                channel.inbox = inbox;
                let length = bytes.len();
                self.apply(Event::Taken { channel: id, bytes: length })?;
            }
            message::CHANNEL_EOF => channel.inbox.iter().for_each(|inbox| inbox.end()),
            message::CHANNEL_REQUEST => return self.take_request(id, message),
            _ => {}
        }
        Ok(())
    }

    fn take_open(&mut self, mut message: Reader<'_>) -> Result<(), TransportError> {
        let kind = message.text()?;
        let (remote, window, packet) = (message.u32()?, message.u32()?, message.u32()?);
        if self.channels.len() >= CHANNEL_LIMIT {
            let reason = open_failure::RESOURCE_SHORTAGE;
            return self.refuse_open(remote, reason, "too many channels");
        }
        let (inbox, inputs) = inbox();
        let phase = match kind {
            "session" => {
                let setup = Setup { inputs, env: BTreeMap::new(), terminal: None };
                Phase::Preparing(Box::new(setup))
            }
            "direct-tcpip" => {
                let to = Destination::read(&mut message)?;
                let (events, channel) = (self.events.clone(), self.next_channel);
                self.tasks.spawn(async move {
                    let result = to.connect().await;
                    let _ = events.send(Event::Connected { channel, result }).await;
                });
                Phase::Connecting(inputs)
            }
            // No X11, nobody's agent, and no sockets by path.
            _ => {
                let reason = open_failure::UNKNOWN_TYPE;
                return self.refuse_open(remote, reason, "there are no such channels here");
            }
        };
        let is_connecting = matches!(phase, Phase::Connecting(_));
        let mut channel = Channel::new(inbox, phase);
        channel.accept(remote, window, packet);
        let id = self.insert(channel);
        if is_connecting { Ok(()) } else { self.confirm_open(id, remote) }
    }

    fn insert(&mut self, channel: Channel) -> u32 {
        let id = self.next_channel;
        // A number is used again after four billion others.
        self.next_channel = self.next_channel.wrapping_add(1);
        self.channels.insert(id, channel);
        id
    }

    fn confirm_open(&mut self, id: u32, remote: u32) -> Result<(), TransportError> {
        let confirmation = Writer::message(message::CHANNEL_OPEN_CONFIRMATION);
        self.transport.send(confirmation.u32(remote).u32(id).u32(WINDOW).u32(PACKET).finish())
    }

    fn refuse_open(&mut self, remote: u32, reason: u32, text: &str) -> Result<(), TransportError> {
        let refusal = Writer::message(message::CHANNEL_OPEN_FAILURE).u32(remote).u32(reason);
        self.transport.send(refusal.string(text).string("").finish())
    }

    /// The way out of the channel `id`, for a task.
    fn outputs(&self, id: u32, channel: &Channel) -> Outputs {
        Outputs {
            channel: id,
            window: channel.window.clone(),
            packet: channel.packet,
            events: self.events.clone(),
        }
    }

    /// Does what a task asks for. Of a channel that is gone it asks nothing.
    fn apply(&mut self, event: Event) -> Result<(), TransportError> {
        match event {
            Event::Data { channel: id, stream, bytes } => {
                let Some(channel) = self.live(id) else { return Ok(()) };
                let data = match stream {
                    Stream::Output => Writer::message(message::CHANNEL_DATA).u32(channel.remote),
                    Stream::Error => {
                        Writer::message(message::CHANNEL_EXTENDED_DATA).u32(channel.remote).u32(1)
                    }
                };
                self.transport.send(data.string(bytes).finish())
            }
            Event::End { channel } => self.send_end(channel),
            Event::Taken { channel: id, bytes } => {
                let Some(channel) = self.live(id) else { return Ok(()) };
                let remote = channel.remote;
                let Some(grant) = channel.take(bytes) else { return Ok(()) };
                let adjust = Writer::message(message::CHANNEL_WINDOW_ADJUST).u32(remote);
                self.transport.send(adjust.u32(grant).finish())
            }
            Event::Exited { channel: id, exit } => {
                let Some(channel) = self.live(id) else { return Ok(()) };
                let exit = exit.message(channel.remote);
                self.send_end(id)?;
                self.transport.send(exit)?;
                self.send_close(id)
            }
            Event::Finished { channel } => {
                self.send_end(channel)?;
                self.send_close(channel)
            }
            Event::Connected { channel, result } => self.connected(channel, result),
            Event::Accepted { destination, stream, peer } => self.offer(&destination, stream, peer),
        }
    }

    /// The channel, unless this side has closed it.
    fn live(&mut self, id: u32) -> Option<&mut Channel> {
        self.channels.get_mut(&id).filter(|channel| !channel.sent_close)
    }

    fn send_end(&mut self, id: u32) -> Result<(), TransportError> {
        let Some(channel) = self.live(id).filter(|channel| !channel.sent_end) else {
            return Ok(());
        };
        channel.sent_end = true;
        let end = Writer::message(message::CHANNEL_EOF).u32(channel.remote);
        self.transport.send(end.finish())
    }

    /// Closes this side; the channel is kept until the client has closed its own.
    fn send_close(&mut self, id: u32) -> Result<(), TransportError> {
        let Some(channel) = self.live(id) else { return Ok(()) };
        channel.sent_close = true;
        channel.inbox = None;
        let close = Writer::message(message::CHANNEL_CLOSE).u32(channel.remote);
        self.transport.send(close.finish())
    }
}
