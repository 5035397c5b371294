//! Forwarded connections, both ways: to where the client wants to go from here (`ssh -L`), and
//! from what it listens on here (`ssh -R`).
//!
//! What is listened on is on the loopback interface only, whatever the client asks for, as
//! sshd has it by default.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Connection, Event, PACKET, WINDOW};
use crate::channel::{Channel, Phase};
use crate::inbox::{Input, Inputs, inbox};
use crate::message::{self, open_failure};
use crate::outlet::{Outputs, Stream};
use crate::session::{Exit, Session};
use crate::transport::TransportError;
use crate::wire::{Malformed, Reader, Writer};

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(20);
/// Ports one client may listen on.
const LISTENER_LIMIT: usize = 32;
const BUFFER: usize = 32 << 10;

/// A host and a port, as the client calls them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    host: String,
    port: u16,
}

impl Destination {
    pub(super) fn read(message: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (host, port) = (message.text()?.to_owned(), message.u32()?);
        Ok(Self { host, port: u16::try_from(port).map_err(|_| Malformed)? })
    }

    /// Connects to it. Names but `localhost` are not looked up: this program sees the resolver
    /// of no guest.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let addresses = if self.host.eq_ignore_ascii_case("localhost") {
            vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        } else {
            let host = self.host.trim_start_matches('[').trim_end_matches(']');
            vec![host.parse().map_err(|_| not_looked_up(host))?]
        };
        let addresses: Vec<_> =
            addresses.into_iter().map(|address| SocketAddr::new(address, self.port)).collect();
        tokio::time::timeout(CONNECT_TIME, TcpStream::connect(&addresses[..])).await?
    }

    /// Listens on it, on the loopback interface.
    fn listen(&self) -> io::Result<TcpListener> {
        let address = match self.host.as_str() {
            "::1" => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let listener = std::net::TcpListener::bind((address, self.port))?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }
}

fn not_looked_up(host: &str) -> io::Error {
    let message = format!(
        "`{host}` is not looked up: only addresses and `localhost` can be connected to through \
         this server"
    );
    io::Error::new(io::ErrorKind::NotFound, message)
}

impl<F, Fut> Connection<'_, F>
where
    F: Fn(Session) -> Fut,
    Fut: Future<Output = Exit> + Send + 'static,
{
    /// Takes a request that concerns no channel.
    pub(super) fn take_global(&mut self, mut message: Reader<'_>) -> Result<(), TransportError> {
        let (kind, wants_reply) = (message.text()?, message.boolean()?);
        let success = Writer::message(message::REQUEST_SUCCESS);
        let reply = match kind {
            "tcpip-forward" => {
                let wanted = Destination::read(&mut message)?;
                let chosen = wanted.port == 0;
                self.listen(wanted).map(
                    |port| {
                        if chosen { success.u32(port.into()) } else { success }
                    },
                )
            }
            "cancel-tcpip-forward" => {
                let listener = self.listeners.remove(&Destination::read(&mut message)?);
                listener.map(|listener| {
                    listener.abort();
                    success
                })
            }
            // Among them `keepalive@openssh.com`, whose sender is content with any answer.
            _ => None,
        };
        if !wants_reply {
            return Ok(());
        }
        let reply = reply.unwrap_or_else(|| Writer::message(message::REQUEST_FAILURE));
        self.transport.send(reply.finish())
    }

    /// Listens for the client; then on which port, or none when that is not possible.
    fn listen(&mut self, wanted: Destination) -> Option<u16> {
        if self.listeners.len() >= LISTENER_LIMIT || self.listeners.contains_key(&wanted) {
            return None;
        }
        let listener = wanted.listen().ok()?;
        let port = listener.local_addr().ok()?.port();
        let destination = Destination { host: wanted.host, port };
        let (events, name) = (self.events.clone(), destination.clone());
        let task = self.tasks.spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let destination = name.clone();
                let accepted = Event::Accepted { destination, stream, peer };
                if events.send(accepted).await.is_err() {
                    return;
                }
            }
        });
        self.listeners.insert(destination, task);
        Some(port)
    }

    /// Offers a connection that somebody made to the client. When it cannot be, it is closed.
    pub(super) fn offer(
        &mut self,
        destination: &Destination,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<(), TransportError> {
        if self.channels.len() >= super::CHANNEL_LIMIT || !self.listeners.contains_key(destination)
        {
            return Ok(());
        }
        let (inbox, inputs) = inbox();
        let id = self.insert(Channel::new(inbox, Phase::Offered(stream, inputs)));
        let open = Writer::message(message::CHANNEL_OPEN)
            .string("forwarded-tcpip")
            .u32(id)
            .u32(WINDOW)
            .u32(PACKET)
            .string(&destination.host)
            .u32(destination.port.into())
            .string(peer.ip().to_string())
            .u32(peer.port().into());
        self.transport.send(open.finish())
    }

    /// The client takes a connection that was offered.
    pub(super) fn take_confirmation(
        &mut self,
        id: u32,
        mut message: Reader<'_>,
    ) -> Result<(), TransportError> {
        let out_of_order = TransportError::Order(message::CHANNEL_OPEN_CONFIRMATION);
        let (remote, window, packet) = (message.u32()?, message.u32()?, message.u32()?);
        let Some(channel) = self.channels.get_mut(&id) else { return Err(out_of_order) };
        match std::mem::replace(&mut channel.phase, Phase::InUse) {
            Phase::Offered(stream, inputs) => {
                channel.accept(remote, window, packet);
                self.carry(id, stream, inputs);
                Ok(())
            }
            _ => Err(out_of_order),
        }
    }

    /// Where the channel leads was reached, or not.
    pub(super) fn connected(
        &mut self,
        id: u32,
        result: io::Result<TcpStream>,
    ) -> Result<(), TransportError> {
        let Some(channel) = self.channels.get_mut(&id) else { return Ok(()) };
        let remote = channel.remote;
        match (result, std::mem::replace(&mut channel.phase, Phase::InUse)) {
            (Ok(stream), Phase::Connecting(inputs)) => {
                self.carry(id, stream, inputs);
                self.confirm_open(id, remote)
            }
            (Ok(_), _) => Ok(()),
            (Err(error), _) => {
                self.channels.remove(&id);
                self.refuse_open(remote, open_failure::CONNECT_FAILED, &error.to_string())
            }
        }
    }

    fn carry(&mut self, id: u32, stream: TcpStream, inputs: Inputs) {
        let Some(channel) = self.channels.get(&id) else { return };
        let (outputs, events) = (self.outputs(id, channel), self.events.clone());
        self.tasks.spawn(async move {
            carry(stream, inputs, &outputs).await;
            let _ = events.send(Event::Finished { channel: id }).await;
        });
    }
}

/// Carries the bytes of one connection until both sides have said that they are done, or one
/// is gone.
async fn carry(mut stream: TcpStream, mut inputs: Inputs, outputs: &Outputs) {
    // What is typed must not wait for more.
    let _ = stream.set_nodelay(true);
    let (mut from, mut to) = stream.split();
    let (client_done, here_done) = (AtomicBool::new(false), AtomicBool::new(false));
    let there = async {
        while let Some(input) = inputs.next().await {
            match input {
                Input::Bytes(bytes) => {
                    let told = outputs.taken(bytes.len());
                    if to.write_all(&bytes).await.is_err() || told.await.is_err() {
                        return;
                    }
                }
                Input::End => {
                    let _ = to.shutdown().await;
                    client_done.store(true, Ordering::Relaxed);
                    if here_done.load(Ordering::Relaxed) {
                        return;
                    }
                }
                Input::Resize(_) | Input::Signal(_) => {}
            }
        }
    };
    let back = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = match from.read(&mut buffer).await {
                Ok(0) => break,
                Ok(length) => length,
                Err(_) => return,
            };
            if outputs.write(Stream::Output, &buffer[..length]).await.is_err() {
                return;
            }
        }
        here_done.store(true, Ordering::Relaxed);
        if outputs.end().await.is_err() || client_done.load(Ordering::Relaxed) {
            return;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}
