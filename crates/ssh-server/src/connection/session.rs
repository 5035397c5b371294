//! What a client asks of a session: variables, a terminal, and then one command.

use super::{Connection, Event};
use crate::channel::Phase;
use crate::inbox::TerminalSize;
use crate::message;
use crate::session::{Command, Exit, Session, is_variable_accepted, signal_number};
use crate::transport::TransportError;
use crate::wire::{Malformed, Reader, Writer};

/// Variables of one session.
const VARIABLE_LIMIT: usize = 64;
/// Bytes of a variable's name and value.
const VARIABLE_LEN: usize = 4096;

impl<F, Fut> Connection<'_, F>
where
    F: Fn(Session) -> Fut,
    Fut: Future<Output = Exit> + Send + 'static,
{
    pub(super) fn take_request(
        &mut self,
        id: u32,
        mut message: Reader<'_>,
    ) -> Result<(), TransportError> {
        let (kind, wants_reply) = (message.text()?, message.boolean()?);
        let is_done = self.do_request(id, kind, message)?;
        let Some(channel) = self.live(id).filter(|_| wants_reply) else { return Ok(()) };
        let number = if is_done { message::CHANNEL_SUCCESS } else { message::CHANNEL_FAILURE };
        let reply = Writer::message(number).u32(channel.remote);
        self.transport.send(reply.finish())
    }

    /// Whether the request was one that is granted. Forwarding of agents and X11 is none.
    fn do_request(
        &mut self,
        id: u32,
        kind: &str,
        mut message: Reader<'_>,
    ) -> Result<bool, Malformed> {
        let Some(channel) = self.channels.get_mut(&id) else { return Ok(false) };
        match (kind, &mut channel.phase) {
            ("env", Phase::Preparing(setup)) => {
                let (name, value) = (message.text()?, message.text()?);
                let fits = setup.env.len() < VARIABLE_LIMIT
                    && name.len() + value.len() <= VARIABLE_LEN
                    && !value.contains('\0');
                if !(fits && is_variable_accepted(name)) {
                    return Ok(false);
                }
                setup.env.insert(name.to_owned(), value.to_owned());
                Ok(true)
            }
            ("pty-req", Phase::Preparing(setup)) => {
                let term = message.text()?;
                setup.terminal = Some(read_size(&mut message)?);
                // The modes that follow are the terminal's defaults in all that matters.
                if !term.is_empty() && term.len() <= VARIABLE_LEN && !term.contains('\0') {
                    setup.env.insert("TERM".to_owned(), term.to_owned());
                }
                Ok(true)
            }
            ("shell", Phase::Preparing(_)) => Ok(self.start(id, Command::Shell)),
            ("exec", Phase::Preparing(_)) => match message.text() {
                Ok(command) if !command.contains('\0') => {
                    let command = command.to_owned();
                    Ok(self.start(id, Command::Line(command)))
                }
                _ => Ok(false),
            },
            ("subsystem", Phase::Preparing(_)) if message.text()? == "sftp" => {
                Ok(self.start(id, Command::Sftp))
            }
            ("window-change", Phase::InUse) => {
                let size = read_size(&mut message)?;
                channel.inbox.iter().for_each(|inbox| inbox.resize(size));
                Ok(true)
            }
            ("signal", Phase::InUse) => {
                let number = signal_number(message.text()?);
                let (Some(inbox), Some(number)) = (&channel.inbox, number) else {
                    return Ok(false);
                };
                inbox.signal(number);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn start(&mut self, id: u32, command: Command) -> bool {
        let Some(channel) = self.channels.get_mut(&id) else { return false };
        let Phase::Preparing(setup) = std::mem::replace(&mut channel.phase, Phase::InUse) else {
            return false;
        };
        let Some(channel) = self.channels.get(&id) else { return false };
        let session = Session {
            user: self.user.clone(),
            command,
            env: setup.env,
            terminal: setup.terminal,
            input: setup.inputs,
            output: self.outputs(id, channel),
        };
        let (running, events) = ((self.sessions)(session), self.events.clone());
        self.tasks.spawn(async move {
            let exit = running.await;
            let _ = events.send(Event::Exited { channel: id, exit }).await;
        });
        true
    }
}

/// Columns and rows, and the same in pixels, which nobody needs.
fn read_size(message: &mut Reader<'_>) -> Result<TerminalSize, Malformed> {
    let clamp = |cells| u16::try_from(cells).unwrap_or(u16::MAX);
    let (cols, rows) = (clamp(message.u32()?), clamp(message.u32()?));
    let _pixels = (message.u32()?, message.u32()?);
    Ok(TerminalSize { rows, cols })
}
