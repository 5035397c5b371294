//! From the initramfs to the guest's own root, and to another VM.
//!
//! ```text
//!   process 1: early (kernel file systems) ── starts the agent
//!   agent:     modules ─ port ─ link ─ … Configure:
//!              identity of the kernel (clock, seed, host name)
//!              network card
//!              disks ─ overlay at /newroot ─ device files ─ interfaces of the kernel in it ─ files in /etc
//!                ├─ systemd in the image: masks, READY socket ─▶ process 1 becomes it
//!                └─ else:                                     ─▶ process 1 enters and stays
//! ```
//!
//! A guest that was copied while it ran has its configuration's identity, card and files once more
//! ([`renewal`]).
//!
//! The disks' own mount points are taken away as soon as the overlay stands, so that unmounting
//! the new root is all it takes to leave both file systems clean.

mod device_files;
mod disks;
mod early;
mod files;
mod grow;
mod identity;
mod machine;
mod masks;
mod modules;
mod mounts;
mod network;
mod newroot;
mod overlay;
mod rebuild;
mod renewal;
mod systemd;

use std::io;

pub(crate) use early::mount_kernel_interfaces;
pub(crate) use machine::GuestMachine;
pub(crate) use modules::{Need, load as load_modules};

/// Where the new root is put together, in the initramfs. Process 1 moves it from there.
pub(crate) const NEW_ROOT: &str = "/newroot";

/// Signals that make systemd as process 1 power off or reboot: `SIGRTMIN+4` and `SIGRTMIN+5`
/// (systemd(1)), with the C library's `SIGRTMIN` of 34. Process 1 of this program heeds them too.
pub(crate) const SYSTEMD_POWER_OFF: i32 = 38;
/// See [`SYSTEMD_POWER_OFF`].
pub(crate) const SYSTEMD_REBOOT: i32 = 39;

/// Why a guest could not be configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// The host named a disk that the machine does not have.
    #[error("no disk with the serial `{serial}`")]
    NoDisk {
        /// As in the configuration.
        serial: String,
        /// Serials that there are.
        #[source]
        seen: disks::Seen,
    },
    /// A mount.
    #[error("cannot mount {what} on `{target}`")]
    Mount {
        /// What was to be seen there.
        what: String,
        /// Where.
        target: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file or directory of the new root.
    #[error("cannot prepare {what}")]
    Prepare {
        /// Which one.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The hand-over to the new root.
    #[error("cannot enter the new root")]
    Enter(#[from] crate::door::DoorError),
}

impl BootError {
    /// A closure that wraps an I/O error of preparing `what`.
    fn preparing(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Prepare { what, source }
    }
}
