//! The calls to the kernel for which there is no safe function: taps, what was inherited, processes beside
//! this one, flags of mounts.

#![expect(unsafe_code, reason = "these calls have no safe form; each use says why it is sound")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};

use nix::libc;
use rustix::io::{FdFlags, fcntl_setfd};
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
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0_u32) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes descriptor `number`, which this program was started with, and which no program that it executes
/// gets.
///
/// To be called once for a number, which the caller has not opened itself.
///
/// # Errors
///
/// There is none.
pub fn take_inherited(number: RawFd) -> io::Result<File> {
    // SAFETY: only asked and marked, which fails for one that is not open.
    fcntl_setfd(unsafe { BorrowedFd::borrow_raw(number) }, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and no other value of this program owns it, which the caller answers for.
    Ok(unsafe { File::from_raw_fd(number) })
}

/// A process that begins here as a copy of this one, in the namespace of processes that this one's children
/// are to be in. Its parent is this process's own parent. `None` in the copy.
///
/// The calling process must have one thread.
///
/// # Errors
///
/// That of the kernel.
pub fn fork_sibling() -> io::Result<Option<u32>> {
    fork(libc::CLONE_PARENT)
}

/// A process that begins here as a copy of this one, and is its child. `None` in the copy.
///
/// The calling process must have one thread.
///
/// # Errors
///
/// That of the kernel.
pub fn fork_child() -> io::Result<Option<u32>> {
    fork(0)
}

fn fork(flags: libc::c_int) -> io::Result<Option<u32>> {
    let flags = libc::c_ulong::from((flags | libc::SIGCHLD).cast_unsigned());
    // SAFETY: without memory that is shared and with no stack of its own, the copy goes on as after `fork`;
    // the other arguments are pointers that are not used without their flags. There is no other thread
    // whose locks could be held in the copy.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_u64, 0_u64, 0_u64, 0_u64) };
    match u32::try_from(pid) {
        Ok(0) => Ok(None),
        Ok(pid) => Ok(Some(pid)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// How far a change of a mount reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It alone.
    Mount,
    /// It, and all mounts in it.
    Tree,
}

/// Sets `flags` (`MOUNT_ATTR_…`) of a mount; none is taken away.
///
/// # Errors
///
/// That of the kernel.
pub fn restrict_mount(mount: impl AsFd, flags: u64, reach: Reach) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: flags, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let how = match reach {
        Reach::Mount => libc::AT_EMPTY_PATH,
        Reach::Tree => libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
    };
    // SAFETY: the path is an empty string that ends with 0, and the structure is as large as is said; both
    // live until the call returns, which only reads them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            how.cast_unsigned(),
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets go of the keys of the user's session, for an empty keyring.
///
/// # Errors
///
/// That of the kernel, which may have no keys at all.
pub fn leave_session_keyring() -> io::Result<()> {
    let name = std::ptr::null::<libc::c_char>();
    // SAFETY: without a name, nothing is read; the call takes nothing else.
    let keyring =
        unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name) };
    if keyring < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
