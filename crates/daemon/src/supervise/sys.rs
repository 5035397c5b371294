//! What the supervisor needs and no safe interface offers: giving up inherited descriptors,
//! tying a child's life to its own, waiting on any descriptor.
#![expect(unsafe_code, reason = "raw descriptors, and code between fork and exec")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// First descriptor that is not one of the three standard ones.
const FIRST_OTHER_FD: RawFd = 3;

/// Closes every descriptor but the three standard ones: whatever the daemon had open is not the
/// supervisor's to keep alive.
///
/// To be called before the program has opened anything of its own.
///
/// # Errors
/// When the list of descriptors cannot be read.
pub(super) fn close_inherited() -> io::Result<()> {
    let mut inherited = Vec::new();
    for entry in fs_err::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        if let Some(fd) = name.to_str().and_then(|name| name.parse::<RawFd>().ok()) {
            inherited.push(fd);
        }
    }
    for fd in inherited.into_iter().filter(|fd| *fd >= FIRST_OTHER_FD) {
        // SAFETY: only asked whether it is open, and nothing else runs that could close it.
        let open = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_ok();
        if open {
            // SAFETY: no Rust value owns it: the list was made before anything was opened, and
            // the descriptor of the listing itself was closed above and is therefore not open.
            unsafe { rustix::io::close(fd) };
        }
    }
    Ok(())
}

/// Makes the child that `command` starts the leader of its own session, end by SIGKILL when the
/// thread that starts it ends, and inherit `passed` under the same numbers.
///
/// The caller starts it from its main thread: the kernel ties the child to the thread, not to
/// the process.
pub(super) fn bind_child(command: &mut Command, passed: Vec<OwnedFd>) {
    let supervisor = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that ended before the line above sends no signal any more.
        if getppid() != Some(supervisor) {
            return Err(io::ErrorKind::NotFound.into());
        }
        setsid()?;
        for fd in &passed {
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made; nothing is allocated or locked.
    unsafe { command.pre_exec(prepare) };
}

/// Makes `descriptor` something to wait on.
///
/// # Errors
/// When the kernel cannot wait on it, or has no room.
pub(crate) fn wait_on(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives, and it is
    // never taken out of what is returned here while registered.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}
