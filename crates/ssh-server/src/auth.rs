//! Who logs in (RFC 4252): with a key that is authorized, as a user who may, and no other way.

use crate::key::{self, AuthorizedKeys, SIGNATURES};
use crate::message;
use crate::transport::{Transport, TransportError, body};
use crate::wire::{Malformed, Reader, Writer};

/// Refusals after which a client has tried enough; each key that is not authorized is one.
const TRIES: u32 = 20;
const SERVICE: &str = "ssh-connection";

/// The wait for a user.
#[derive(Debug)]
pub(crate) struct Login<'a> {
    pub(crate) users: &'a [String],
    pub(crate) keys: &'a AuthorizedKeys,
    refused: u32,
}

/// What a request to log in comes to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Accept(String),
    /// The key would do: the client may sign with it.
    Offer(Vec<u8>),
    Refuse,
}

impl<'a> Login<'a> {
    pub(crate) fn new(users: &'a [String], keys: &'a AuthorizedKeys) -> Self {
        Self { users, keys, refused: 0 }
    }

    /// Takes one message and answers it; then the user, once there is one.
    ///
    /// # Errors
    /// When the message has no place here, and after too many refusals.
    pub(crate) fn take(
        &mut self,
        payload: &[u8],
        transport: &mut Transport,
    ) -> Result<Option<String>, TransportError> {
        let (number, mut message) = body(payload);
        match number {
            message::SERVICE_REQUEST => {
                let service = message.text()?;
                if service != "ssh-userauth" {
                    return Err(TransportError::Order(number));
                }
                transport
                    .send(Writer::message(message::SERVICE_ACCEPT).string(service).finish())?;
                Ok(None)
            }
            message::USERAUTH_REQUEST => {
                let session_id = *transport.session_id().ok_or(TransportError::Order(number))?;
                match self.judge(message, &session_id)? {
                    Verdict::Accept(user) => {
                        transport.send(vec![message::USERAUTH_SUCCESS])?;
                        return Ok(Some(user));
                    }
                    Verdict::Offer(answer) => transport.send(answer)?,
                    Verdict::Refuse => self.refuse(transport)?,
                }
                Ok(None)
            }
            _ => Err(TransportError::Order(number)),
        }
    }

    fn refuse(&mut self, transport: &mut Transport) -> Result<(), TransportError> {
        self.refused += 1;
        if self.refused > TRIES {
            return Err(TransportError::Tries);
        }
        let refusal = Writer::message(message::USERAUTH_FAILURE).string("publickey");
        transport.send(refusal.boolean(false).finish())
    }

    fn judge(&self, mut request: Reader<'_>, session_id: &[u8; 32]) -> Result<Verdict, Malformed> {
        let (user, service, method) = (request.text()?, request.text()?, request.text()?);
        if service != SERVICE || method != "publickey" {
            return Ok(Verdict::Refuse);
        }
        let (is_signed, algorithm) = (request.boolean()?, request.text()?);
        let public = request.string()?;
        let may = self.users.iter().any(|known| known == user)
            && SIGNATURES.contains(&algorithm)
            && self.keys.contains(public);
        if !may {
            return Ok(Verdict::Refuse);
        }
        if !is_signed {
            let offer = Writer::message(message::USERAUTH_PK_OK).string(algorithm).string(public);
            return Ok(Verdict::Offer(offer.finish()));
        }
        let signature = request.string()?;
        if !request.is_empty() {
            return Err(Malformed);
        }
        let signed = Writer::new()
            .string(session_id)
            .byte(message::USERAUTH_REQUEST)
            .string(user)
            .string(SERVICE)
            .string("publickey")
            .boolean(true)
            .string(algorithm)
            .string(public)
            .finish();
        Ok(if key::verify(algorithm, public, signature, &signed) {
            Verdict::Accept(user.to_owned())
        } else {
            Verdict::Refuse
        })
    }
}
