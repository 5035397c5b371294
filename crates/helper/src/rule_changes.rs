//! Changes of nftables' rules, whoever makes them, as the kernel tells of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::rules::TABLE;

/// The group of those who hear of rules: the bit of `NFNLGRP_NFTABLES` (linux/netfilter/nfnetlink.h).
const GROUP: u32 = 1 << (7 - 1);
/// The message that ends a transaction: `NFT_MSG_NEWGEN` of `NFNL_SUBSYS_NFTABLES`.
const GENERATION: u16 = 10 << 8 | 15;
/// Bytes of a message's header, `struct nlmsghdr`.
const HEADER: usize = 16;
/// More than the kernel puts into one packet.
const PACKET: usize = 64 << 10;

/// What is heard of changes, from now on. It takes `CAP_NET_ADMIN`.
#[derive(Debug)]
pub struct RuleChanges(OwnedFd);

/// What was heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Transactions that banger's tables were in.
    pub transactions: usize,
    /// Whether there was more than the kernel could keep.
    pub lost: bool,
}

impl RuleChanges {
    /// From now on.
    ///
    /// # Errors
    ///
    /// The kernel does not tell.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = socket_with(family, kind, flags, Some(NETFILTER))?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
        Ok(Self(socket))
    }

    /// All that there is to hear, without waiting.
    #[must_use]
    pub fn take(&self) -> Heard {
        let mut packet = vec![0; PACKET];
        let (mut heard, mut named) = (Heard::default(), false);
        loop {
            match recv(&self.0, packet.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _)) => heard.transactions += count(&packet[..length], &mut named),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => heard.lost = true,
                Err(Errno::AGAIN) => break,
                // There is nothing more to hear, so anything can have happened.
                Err(_) => {
                    heard.lost = true;
                    break;
                }
            }
        }
        // The end of the last one is still to come.
        heard.transactions += usize::from(named);
        heard
    }
}

impl AsFd for RuleChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How many transactions end in the packet that banger's tables were in; `named` is whether they are in the
/// one that has not ended.
fn count(packet: &[u8], named: &mut bool) -> usize {
    let (mut rest, mut ended) = (packet, 0);
    while let Some((length, kind)) = parse_header(rest) {
        let message = &rest[HEADER..length];
        if kind == GENERATION {
            ended += usize::from(std::mem::take(named));
        } else {
            // Every message names its table. That of somebody else who writes this word into a rule is
            // looked at for nothing.
            let name = format!("{TABLE}\0");
            *named |= message.windows(name.len()).any(|word| word == name.as_bytes());
        }
        // Each begins at a multiple of four, the last may end before one.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    ended
}

/// The length of the first message, header included, and its kind.
fn parse_header(packet: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(*packet.first_chunk()?);
    let kind = u16::from_ne_bytes(*packet.get(4..)?.first_chunk()?);
    let length = usize::try_from(length).ok()?;
    (HEADER..=packet.len()).contains(&length).then_some((length, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = HEADER + body.len();
        let mut packet = u32::try_from(length).unwrap().to_ne_bytes().to_vec();
        packet.extend(kind.to_ne_bytes());
        packet.resize(HEADER, 0);
        packet.extend(body);
        packet.resize(length.next_multiple_of(4), 0);
        packet
    }

    #[test]
    fn transactions_with_bangers_tables() {
        let (ours, others) = (message(0xa00, b"....banger\0"), message(0xa00, b"....bangers\0"));
        let end = message(GENERATION, b"....");
        let seen = |parts: &[&Vec<u8>]| {
            let packet: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            let mut named = false;
            (count(&packet, &mut named), named)
        };
        assert_eq!(seen(&[]), (0, false));
        assert_eq!(seen(&[&others, &end]), (0, false));
        assert_eq!(seen(&[&ours, &others, &ours, &end, &others, &end]), (1, false));
        assert_eq!(seen(&[&ours, &end, &ours, &end, &ours]), (2, true));
    }

    #[test]
    fn what_is_no_message_is_nothing() {
        for length in [0, 1, 15, 17, u32::MAX] {
            let mut packet = length.to_ne_bytes().to_vec();
            packet.resize(HEADER, 0);
            assert_eq!(count(&packet, &mut false), 0, "{length}");
        }
        assert_eq!(count(&[7; 5], &mut false), 0);
    }
}
