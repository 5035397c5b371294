//! SSH into the guest: who is let in, and the image's own server for connections that come over
//! the guest link. Nothing listens on a network for it.
//!
//! ```text
//!   configuration ─▶ entrance: authorized_keys, posture for a server that the image runs itself
//!              └───▶ account: a root without a password is no locked one
//!   stream ─────────▶ builtin, for images without a server
//!              └────▶ sshd: one `sshd -i` with banger's configuration, its input and output the stream
//! ```

mod account;
pub(crate) mod builtin;
pub(crate) mod entrance;
pub(crate) mod sshd;

use std::path::PathBuf;

/// Where things are in the guest's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPlaces {
    /// For banger's files about its server, root's alone.
    pub dir: PathBuf,
    /// Who is let in as root.
    pub authorized_keys: PathBuf,
}

impl Default for SshPlaces {
    /// Those of a booted guest: `/run` goes with the boot, and the image's `/etc/ssh` stays its own.
    fn default() -> Self {
        Self { dir: "/run/banger/ssh".into(), authorized_keys: "/root/.ssh/authorized_keys".into() }
    }
}

/// How a server lets people in, whoever starts it: with a key or not at all.
const POSTURE: &str = "\
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes yes
";
