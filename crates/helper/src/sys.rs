//! The calls to the kernel for which there is no safe function: taps, and closing what was inherited.

#![expect(
    unsafe_code,
    reason = "ioctl and close_range have no safe form; each use says why it is sound"
)]

use std::fs::File;
use std::io;
use std::os::fd::RawFd;

use rustix::ioctl::{IntegerSetter, Opcode, Setter, ioctl, opcode};

/// `TUNSETIFF`, `_IOW('T', 202, int)` in `linux/if_tun.h`, though it takes an `ifreq`.
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
/// `TUNSETPERSIST`, `_IOW('T', 203, int)`.
const TUNSETPERSIST: Opcode = opcode::write::<i32>(b'T', 203);
/// `TUNSETOWNER`, `_IOW('T', 204, int)`.
const TUNSETOWNER: Opcode = opcode::write::<i32>(b'T', 204);

/// `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR` in `linux/if_tun.h`: frames of Ethernet, each after a header that
/// virtio's cards use to leave checksums and segments to the host.
const TAP_FLAGS: u16 = 0x0002 | 0x1000 | 0x4000;

/// Longest name of an interface, with the 0 that ends it (`IFNAMSIZ`).
const NAME: usize = 16;

/// `struct ifreq`, with the flags of its union. 40 bytes, as large as the kernel copies.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME],
    flags: u16,
    rest: [u8; 22],
}

/// Makes a tap that stays when `tun` is closed, and that user `owner` may attach to. Until it is made to
/// stay, closing `tun` removes it.
///
/// # Errors
///
/// That of the kernel; `EINVAL` for a name that is too long.
pub fn make_tap(tun: &File, name: &str, owner: u32) -> io::Result<()> {
    let mut request = InterfaceRequest { name: [0; NAME], flags: TAP_FLAGS, rest: [0; 22] };
    if name.is_empty() || name.len() >= NAME {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes an `ifreq`, which `InterfaceRequest` has the size and the layout
    // of; `Setter` hands over its own copy, which lives and may be written until the call returns.
    unsafe { ioctl(tun, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) }?;
    // SAFETY: TUNSETOWNER takes the user's number itself in place of a pointer.
    unsafe { ioctl(tun, IntegerSetter::<TUNSETOWNER>::new_usize(owner as usize)) }?;
    // SAFETY: TUNSETPERSIST takes a truth value itself in place of a pointer.
    unsafe { ioctl(tun, IntegerSetter::<TUNSETPERSIST>::new_usize(1)) }?;
    Ok(())
}

/// Closes all descriptors from `first` on, for a process that outlives whoever started it.
///
/// The caller owns none of them in a value that would use or close it again.
///
/// # Errors
///
/// That of the kernel.
pub fn close_from(first: RawFd) -> io::Result<()> {
    let first = u32::try_from(first).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: close_range takes three numbers and touches no memory. That nobody uses the descriptors
    // any more is what the caller answers for.
    let done = unsafe { nix::libc::syscall(nix::libc::SYS_close_range, first, u32::MAX, 0_u32) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
