//! The user namespace and the network namespace in it: making them, and entering those that there are.
//!
//! The process must have one thread. Inside it is user 0 with all capabilities over these two namespaces,
//! and over nothing else; files are still those of the user outside.

mod create;
mod refusal;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use create::{UserNamespace, create_user};
pub use refusal::Refused;

/// Two namespaces by files that lead to them (`/proc/PID/ns/…`), with the numbers that they must have:
/// another process may have got the id meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrance {
    /// The user namespace.
    pub user: Door,
    /// The network namespace.
    pub network: Door,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// A file that leads to it.
    pub path: PathBuf,
    /// The file's inode number, by which the kernel tells namespaces apart.
    pub inode: u64,
}

/// Why the namespaces were not made or entered.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// They cannot be made on this machine.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is nothing at the path, or not for this user.
    #[error("cannot open the namespace")]
    Open(#[source] io::Error),
    /// It is another namespace than is meant.
    #[error("`{}` leads to namespace {there}, not to {wanted}", path.display())]
    Other {
        /// The path.
        path: PathBuf,
        /// The number of what is there.
        there: u64,
        /// The number that was asked for.
        wanted: u64,
    },
    /// The kernel does not let the process in.
    #[error("cannot enter the namespace `{}`", .0.display())]
    Enter(PathBuf, #[source] io::Error),
}

/// Makes a user namespace and a network namespace in it, and enters both.
///
/// # Errors
///
/// The machine does not let its users do that.
pub fn create() -> Result<(), NamespaceError> {
    create_user()?.create_network()?;
    Ok(())
}

/// Enters both.
///
/// # Errors
///
/// They are not there, are others, or belong to another user.
pub fn enter(entrance: &Entrance) -> Result<(), NamespaceError> {
    // Both are opened before anything changes.
    let user = open(&entrance.user)?;
    let network = open(&entrance.network)?;
    for (door, file, kind) in [
        (&entrance.user, user, LinkNameSpaceType::User),
        (&entrance.network, network, LinkNameSpaceType::Network),
    ] {
        move_into_link_name_space(file.as_fd(), Some(kind))
            .map_err(|errno| NamespaceError::Enter(door.path.clone(), errno.into()))?;
    }
    Ok(())
}

fn open(door: &Door) -> Result<File, NamespaceError> {
    // Should the path lead to a pipe, nobody is waited for.
    let file = fs_err::OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(&door.path)
        .map_err(NamespaceError::Open)?
        .into_file();
    let there = file.metadata().map_err(NamespaceError::Open)?.ino();
    if there != door.inode {
        return Err(NamespaceError::Other { path: door.path.clone(), there, wanted: door.inode });
    }
    Ok(file)
}

/// The numbers of the namespaces that this process is in: user, network.
///
/// # Errors
///
/// `/proc` cannot be read.
pub fn observe_inodes() -> io::Result<(u64, u64)> {
    let inode = |name: &str| {
        fs_err::metadata(Path::new("/proc/self/ns").join(name)).map(|metadata| metadata.ino())
    };
    Ok((inode("user")?, inode("net")?))
}
