//! The guest's network card, set up before anything of the image's runs.
//!
//! ```text
//!   loopback up ─ card by its address ─ no IPv6 ─ MTU ─ address ─ up ─ default route   (`card`)
//!                                                                                  └─ `rtnetlink`
//!   /etc/resolv.conf ─ and the image's own network managers told to leave the card alone (`files`)
//! ```
//!
//! A guest that becomes another VM has its card with the address of the one it is a copy of:
//!
//! ```text
//!   the card as it was ─ down ─ no addresses ─ the new MAC ─ and from there as above   (`renewal`)
//! ```
//!
//! Responsible for the card that the host describes, and for no other: what an image does with
//! further interfaces is its own affair. What cannot be set up is a warning: a guest without a
//! network still runs commands, which need none.

mod card;
mod files;
#[cfg(test)]
mod namespace;
mod renewal;
mod rtnetlink;

use std::io;
use std::time::Duration;

use banger_proto::guest::GuestNetwork;

pub(super) use files::{keep_managers_away, write_resolver};
pub(super) use renewal::renew;

use card::SYSTEM;
use rtnetlink::RouteSocket;

/// How long the card may take to be announced. It is there before the agent in every boot that
/// works; this is for slow buses.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why a card is not set up.
#[derive(Debug, thiserror::Error)]
enum NetworkError {
    /// The kernel cannot be asked.
    #[error("cannot speak to the kernel about interfaces")]
    Netlink(#[source] io::Error),
    /// No interface has that address.
    #[error("no network card with the address `{0}`; the kernel may lack its driver")]
    NoCard(banger_proto::MacAddress),
    /// The kernel refused.
    #[error("cannot set {what} of `{interface}`")]
    Refused {
        /// What was to be changed.
        what: &'static str,
        /// Name of the interface.
        interface: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl NetworkError {
    /// A closure that wraps the kernel's answer about `interface`.
    fn refusing(what: &'static str, interface: &str) -> impl FnOnce(io::Error) -> Self {
        let interface = interface.to_owned();
        move |source| Self::Refused { what, interface, source }
    }
}

/// Brings up the loopback interface, and the card if there is to be one. Returns what did not
/// work.
pub(super) fn set_up(network: Option<&GuestNetwork>) -> Vec<String> {
    let mut socket = match RouteSocket::open() {
        Ok(socket) => socket,
        Err(error) => return vec![render(&NetworkError::Netlink(error))],
    };
    let loopback = card::raise_loopback(&mut socket);
    let card = network.map_or(Ok(()), |network| {
        let card = card::find(&SYSTEM, network.mac, DEADLINE)?;
        card::configure(&mut socket, &SYSTEM, &card, network)
    });
    [loopback, card].into_iter().filter_map(Result::err).map(|error| render(&error)).collect()
}

fn render(error: &NetworkError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
