//! The host's network, which a service of the system changes for this user.
//!
//! ```text
//!  bangerd ──packets──▶ SYSTEM_SOCKET ──the service manager starts──▶ banger-helper, one a connection
//! ```
//!
//! VMMs are started where the daemon is, and what leads out is the host's own. So all there is to do is
//! to ask, and to take away what was asked for.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use banger_proto::api::NetworkMode;
use banger_proto::helper::{Observed, Reply, Request};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::client::HelperClient;
use super::privileged::{Answer, NetworkError, Privileged};
use super::user::NetworkLeftover;

/// The host's network.
#[derive(Debug)]
pub struct SystemNetwork {
    socket: PathBuf,
    /// The connection, once there is one. Nothing waits while this is locked.
    client: Mutex<Option<HelperClient>>,
}

impl SystemNetwork {
    /// That of the service that listens at `socket`.
    #[must_use]
    pub fn at(socket: PathBuf) -> Self {
        Self { socket, client: Mutex::default() }
    }

    /// Whether somebody listens who lets this user connect.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.connect().is_ok()
    }

    fn connect(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(&self.socket)?)?;
        Ok(socket)
    }

    fn kept(&self) -> MutexGuard<'_, Option<HelperClient>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Result<HelperClient, NetworkError> {
        let mut kept = self.kept();
        if let Some(client) = kept.as_ref() {
            return Ok(client.clone());
        }
        let client = self.connect().and_then(HelperClient::new).map_err(|source| {
            NetworkError::Service { socket: self.socket.display().to_string(), source }
        })?;
        Ok(kept.insert(client).clone())
    }

    /// Asks by another connection from now on, unless that is so already.
    fn give_up(&self, client: &HelperClient) {
        self.kept().take_if(|kept| kept.is(client));
    }

    async fn ask_service(&self, request: Request) -> Result<Answer, NetworkError> {
        let client = self.client()?;
        match client.ask(&request).await {
            // It has ended, like all do when the service is restarted; the next one does what this one has
            // not done, and nothing twice.
            Err(NetworkError::Gone(_) | NetworkError::Silent(_)) => {
                self.give_up(&client);
                self.client()?.ask(&request).await
            }
            answered => answered,
        }
    }

    async fn observe(&self) -> Result<Observed, NetworkError> {
        match self.ask_service(Request::Observe {}).await?.reply {
            Reply::Observed(observed) => Ok(observed),
            _ => Err(NetworkError::Protocol),
        }
    }

    /// Takes away what is banger's: taps while there are rules for them, and rules last.
    async fn remove_all(&self) -> Result<(), NetworkError> {
        let observed = self.observe().await?;
        if observed.bridge.is_some()
            && let Err(error) = self.ask_service(Request::UnrouteNames {}).await
        {
            // The resolver forgets what is about the bridge when that goes.
            tracing::debug!(error = &error as &dyn std::error::Error, "names not unrouted");
        }
        for vm in observed.taps {
            self.ask_service(Request::RemoveTap { vm }).await?;
        }
        if observed.bridge.is_some() {
            self.ask_service(Request::RemoveBridge {}).await?;
        }
        self.ask_service(Request::RevertRules {}).await?;
        *self.kept() = None;
        tracing::info!("network removed");
        Ok(())
    }
}

impl Privileged for SystemNetwork {
    fn mode(&self) -> NetworkMode {
        NetworkMode::System
    }

    fn find(&self) -> BoxFuture<'_, Result<bool, NetworkError>> {
        async { Ok(self.observe().await?.bridge.is_some()) }.boxed()
    }

    fn ensure(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        async { self.client().map(drop) }.boxed()
    }

    fn entrance(&self) -> Result<Vec<String>, NetworkError> {
        Ok(Vec::new())
    }

    fn ask(&self, request: Request) -> BoxFuture<'_, Result<Answer, NetworkError>> {
        self.ask_service(request).boxed()
    }

    fn ensure_uplink(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        async { Ok(()) }.boxed()
    }

    fn uplink_gone(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }

    fn remove(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        self.remove_all().boxed()
    }

    fn observe_leftovers(&self) -> BoxFuture<'_, Result<Vec<NetworkLeftover>, NetworkError>> {
        // What is left in the host's network is found, and removed, when the daemon starts.
        async { Ok(Vec::new()) }.boxed()
    }

    fn remove_leftover<'a>(
        &'a self,
        _: &'a NetworkLeftover,
    ) -> BoxFuture<'a, Result<(), NetworkError>> {
        async { Ok(()) }.boxed()
    }
}

#[cfg(test)]
mod tests;
