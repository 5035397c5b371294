//! How many files the forwarding of all VMs may have open: a guest's fault must not cost the daemon
//! the descriptors that it needs for its own socket, database and programs.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Files of a connection: the client's socket and the stream to the guest.
const FILES_EACH: usize = 2;
/// Most files, whatever the limit.
const MOST: u64 = 16_384;

/// Places for sockets and connections. Clones are the same.
#[derive(Debug, Clone)]
pub struct Budget {
    doors: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

/// A place, until it is dropped.
pub(super) type Permit = OwnedSemaphorePermit;

impl Budget {
    /// What a process has that may have `open_files` for forwarding: half of them for listening.
    #[must_use]
    pub fn new(open_files: u64) -> Self {
        let files = usize::try_from(open_files.min(MOST)).unwrap_or(usize::MAX);
        let places = |count: usize| Arc::new(Semaphore::new(count.max(1)));
        Self { doors: places(files / 2), connections: places(files / 2 / FILES_EACH) }
    }

    /// A place for a socket that listens, if there is one.
    pub(super) fn door(&self) -> Option<Permit> {
        Arc::clone(&self.doors).try_acquire_owned().ok()
    }

    /// A place for a connection, as soon as there is one. Cancel-safe, apart from the place in the
    /// queue.
    pub(super) async fn connection(&self) -> Permit {
        match Arc::clone(&self.connections).acquire_owned().await {
            Ok(permit) => permit,
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }
}
