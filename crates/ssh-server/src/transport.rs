//! The transport (RFC 4253) without I/O: bytes in and out, messages up and down.
//!
//! ```text
//!   incoming ─▶ first line ─▶ packets ─┬─▶ keys are agreed on here, and again when the client
//!                                      │   asks
//!                                      └─▶ messages for the layers above   (`next`)
//!   outgoing ◀─────────────── packets ◀──── messages from them             (`send`)
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cipher::{Opener, PacketError, Sealer};
use crate::kex::{self, Choice, KexError, Transcript};
use crate::key::{HostKey, SIGNATURES};
use crate::message::{self, disconnect};
use crate::wire::{Malformed, Reader, Writer};

/// How the server introduces itself.
const VERSION: &str = concat!("SSH-2.0-banger_", env!("CARGO_PKG_VERSION"));
/// Longest first line (RFC 4253 §4.2).
const VERSION_LIMIT: usize = 255;

/// Why the transport ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("the client does not speak SSH 2")]
    Version,
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error(transparent)]
    Kex(#[from] KexError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("message {0} came out of its order")]
    Order(u8),
    #[error("too many keys that are not authorized")]
    Tries,
}

impl TransportError {
    /// What the client is told: a reason, or nothing where it could not be understood.
    pub(crate) fn reason(&self) -> Option<u32> {
        match self {
            Self::Version => None,
            Self::Tries => Some(disconnect::NO_MORE_AUTH_METHODS),
            Self::Kex(_) => Some(disconnect::KEY_EXCHANGE_FAILED),
            Self::Packet(_) | Self::Malformed(_) | Self::Order(_) => {
                Some(disconnect::PROTOCOL_ERROR)
            }
        }
    }
}

/// How far an exchange of keys is.
#[derive(Debug)]
enum Exchange {
    /// None goes on.
    None,
    /// The client's half is to come.
    Chosen { choice: Choice, client_kexinit: Vec<u8>, skip: bool },
    /// The client's word is to come that it uses the new keys.
    Changing { choice: Choice, key: Vec<u8>, iv: Vec<u8> },
}

/// One connection's transport.
#[derive(Debug)]
pub(crate) struct Transport {
    host_key: Arc<HostKey>,
    incoming: Vec<u8>,
    /// Bytes at the start of `incoming` that are done with.
    used: usize,
    outgoing: Vec<u8>,
    sealer: Sealer,
    opener: Opener,
    client_version: Option<Vec<u8>>,
    /// Ours for the exchange that goes on or comes first; later ones are made when asked for.
    kexinit: Option<Vec<u8>>,
    exchange: Exchange,
    /// The hash of the first exchange; none before its end.
    session_id: Option<[u8; 32]>,
    strict: bool,
    /// The client has said goodbye.
    is_over: bool,
    /// Messages that wait for the end of an exchange.
    held: VecDeque<Vec<u8>>,
}

impl Transport {
    /// A transport that has said its first words.
    pub(crate) fn new(host_key: Arc<HostKey>) -> Result<Self, TransportError> {
        let mut transport = Self {
            host_key,
            incoming: Vec::new(),
            used: 0,
            outgoing: format!("{VERSION}\r\n").into_bytes(),
            sealer: Sealer::clear(),
            opener: Opener::clear(),
            client_version: None,
            kexinit: None,
            exchange: Exchange::None,
            session_id: None,
            strict: false,
            is_over: false,
            held: VecDeque::new(),
        };
        transport.send_kexinit()?;
        Ok(transport)
    }

    /// Where bytes from the client are put, and bytes for it are taken from the front.
    pub(crate) fn buffers(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        self.incoming.drain(..self.used);
        self.used = 0;
        (&mut self.incoming, &mut self.outgoing)
    }

    /// Bytes that wait for the client.
    pub(crate) fn backlog(&self) -> usize {
        self.outgoing.len()
    }

    /// What users sign; none before there are keys.
    pub(crate) fn session_id(&self) -> Option<&[u8; 32]> {
        self.session_id.as_ref()
    }

    /// Whether the client has said goodbye.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether messages that are sent now have to wait.
    pub(crate) fn is_exchanging(&self) -> bool {
        self.kexinit.is_some()
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, payload: Vec<u8>) -> Result<(), TransportError> {
        if self.is_exchanging() {
            self.held.push_back(payload);
            return Ok(());
        }
        Ok(self.sealer.seal(&payload, &mut self.outgoing)?)
    }

    /// Sends the last message there will be.
    pub(crate) fn disconnect(&mut self, reason: u32, description: &str) {
        let payload = Writer::message(message::DISCONNECT)
            .u32(reason)
            .string(description)
            .string("")
            .finish();
        let _ = self.sealer.seal(&payload, &mut self.outgoing);
    }

    /// Answers a message nobody here knows.
    pub(crate) fn send_unimplemented(&mut self) -> Result<(), TransportError> {
        let sequence = self.opener.last_sequence();
        self.send(Writer::message(message::UNIMPLEMENTED).u32(sequence).finish())
    }

    /// The next message for the layers above; none when more bytes are needed, and after the
    /// client's goodbye.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        if self.client_version.is_none() && !self.take_version()? {
            return Ok(None);
        }
        while !self.is_over
            && let Some((payload, used)) = self.opener.open(&mut self.incoming[self.used..])?
        {
            self.used += used;
            if let Some(payload) = self.dispatch(payload)? {
                return Ok(Some(payload));
            }
        }
        Ok(None)
    }

    /// Takes the client's first line, if it is there.
    fn take_version(&mut self) -> Result<bool, TransportError> {
        let Some(end) = self.incoming.iter().position(|byte| *byte == b'\n') else {
            let waits = self.incoming.len() < VERSION_LIMIT;
            return if waits { Ok(false) } else { Err(TransportError::Version) };
        };
        let line = &self.incoming[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if end >= VERSION_LIMIT || !line.starts_with(b"SSH-2.0-") {
            return Err(TransportError::Version);
        }
        self.client_version = Some(line.to_vec());
        self.used = end + 1;
        Ok(true)
    }

    /// Keeps what is the transport's own, and gives back the rest.
    fn dispatch(&mut self, payload: Vec<u8>) -> Result<Option<Vec<u8>>, TransportError> {
        let number = payload[0];
        if let Exchange::Chosen { skip: skip @ true, .. } = &mut self.exchange {
            *skip = false;
            return Ok(None);
        }
        match (number, &self.exchange) {
            (message::DISCONNECT, _) => self.is_over = true,
            // Of no use at any time, and in the strict first exchange a sign of tampering.
            (message::IGNORE | message::DEBUG | message::UNIMPLEMENTED, _)
                if !(self.strict && self.session_id.is_none()) => {}
            (message::KEXINIT, Exchange::None) => self.take_kexinit(payload)?,
            (message::KEX_ECDH_INIT, Exchange::Chosen { .. }) => self.take_half(&payload)?,
            (message::NEWKEYS, Exchange::Changing { .. }) => self.take_newkeys()?,
            // Once the client has begun an exchange it sends nothing else before its end.
            (message::SERVICE_REQUEST | message::USERAUTH_REQUEST.., Exchange::None)
                if self.session_id.is_some() =>
            {
                return Ok(Some(payload));
            }
            (message::EXT_INFO, Exchange::None) if self.session_id.is_some() => {}
            _ => return Err(TransportError::Order(number)),
        }
        Ok(None)
    }

    fn send_kexinit(&mut self) -> Result<(), TransportError> {
        let kexinit = kex::make_kexinit()?;
        self.sealer.seal(&kexinit, &mut self.outgoing)?;
        self.kexinit = Some(kexinit);
        Ok(())
    }

    fn take_kexinit(&mut self, client_kexinit: Vec<u8>) -> Result<(), TransportError> {
        let choice = kex::choose(&client_kexinit)?;
        if self.session_id.is_none() {
            self.strict = choice.strict;
            if self.strict && self.opener.last_sequence() != 0 {
                return Err(TransportError::Order(message::KEXINIT));
            }
        }
        if self.kexinit.is_none() {
            self.send_kexinit()?;
        }
        self.exchange = Exchange::Chosen { choice, client_kexinit, skip: choice.skip_next };
        Ok(())
    }

    /// Takes the client's half, answers with ours, and uses the new keys from then on.
    fn take_half(&mut self, init: &[u8]) -> Result<(), TransportError> {
        let exchange = std::mem::replace(&mut self.exchange, Exchange::None);
        let (Exchange::Chosen { choice, client_kexinit, .. }, Some(client), Some(ours)) =
            (exchange, &self.client_version, self.kexinit.take())
        else {
            return Err(TransportError::Order(message::KEX_ECDH_INIT));
        };
        let transcript = Transcript {
            client_version: client,
            server_version: VERSION.as_bytes(),
            client_kexinit: &client_kexinit,
            server_kexinit: &ours,
        };
        let exchanged = kex::exchange(&self.host_key, choice.hybrid, &transcript, init)?;
        let is_first = self.session_id.is_none();
        let session_id = *self.session_id.get_or_insert(exchanged.hash);
        let derive = |letter, length| exchanged.derive(&session_id, letter, length);
        self.sealer.seal(&exchanged.reply, &mut self.outgoing)?;
        self.sealer.seal(&[message::NEWKEYS], &mut self.outgoing)?;
        let (key, iv) = (derive(b'D', choice.to_client.key_len()), derive(b'B', 12));
        self.sealer
            .change(choice.to_client, &key, &iv, self.strict)
            .ok_or(PacketError::Length(key.len()))?;
        let (key, iv) = (derive(b'C', choice.to_server.key_len()), derive(b'A', 12));
        self.exchange = Exchange::Changing { choice, key, iv };
        if is_first && choice.extensions {
            // Without it, clients with RSA keys would sign with SHA-1 or not at all.
            let extensions = Writer::message(message::EXT_INFO)
                .u32(1)
                .string("server-sig-algs")
                .string(SIGNATURES.join(","));
            self.send(extensions.finish())?;
        }
        while let Some(payload) = self.held.pop_front() {
            self.sealer.seal(&payload, &mut self.outgoing)?;
        }
        Ok(())
    }

    fn take_newkeys(&mut self) -> Result<(), TransportError> {
        let exchange = std::mem::replace(&mut self.exchange, Exchange::None);
        let Exchange::Changing { choice, key, iv } = exchange else {
            return Err(TransportError::Order(message::NEWKEYS));
        };
        let changed = self.opener.change(choice.to_server, &key, &iv, self.strict);
        Ok(changed.ok_or(PacketError::Length(key.len()))?)
    }
}

/// A message's number, and what follows it.
pub(crate) fn body(payload: &[u8]) -> (u8, Reader<'_>) {
    match payload.split_first() {
        Some((number, rest)) => (*number, Reader::new(rest)),
        None => (0, Reader::new(payload)),
    }
}
