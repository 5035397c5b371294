//! The daemon's one table of names, and its server for programs on this host.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use banger_proto::VmName;
use banger_proto::api::DnsStatus;
use tokio::sync::{mpsc, watch};

use super::server::{BindError, DnsServer, Face, Sockets};
use super::zone::Zone;

/// Names that were asked for and not heard of yet; there need not be many, as they are asked again.
const ASKED_AHEAD: usize = 64;

/// The names of VMs, for all servers of the daemon.
#[derive(Debug, Default)]
pub struct Names {
    zone: watch::Sender<Arc<Zone>>,
    status: Mutex<DnsStatus>,
    /// Who is told which VMs programs on this host ask for.
    asked: OnceLock<mpsc::Sender<VmName>>,
}

impl Names {
    /// Replaces all names; questions from now on are answered from these.
    pub fn publish(&self, zone: Zone) {
        self.zone.send_replace(Arc::new(zone));
    }

    /// The names at any time, for a server.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Zone>> {
        self.zone.subscribe()
    }

    /// The VMs whose addresses programs on this host ask for, once there is a server for them. Only who
    /// calls this first is told.
    pub(crate) fn asked(&self) -> mpsc::Receiver<VmName> {
        let (sender, asked) = mpsc::channel(ASKED_AHEAD);
        // One that is not taken is dropped, and tells its receiver so.
        let _ = self.asked.set(sender);
        asked
    }

    /// Whether programs on this host get answers, and where.
    #[must_use]
    pub fn status(&self) -> DnsStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where programs on this host get answers.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.status().listen?.parse().ok()
    }

    /// Starts the server for programs on this host. VMs do without names there, so a failure is
    /// remembered for [`Names::status`] and is not the caller's; nor is there a server when `listen`
    /// is none.
    #[must_use]
    pub fn serve_host(&self, listen: Option<SocketAddr>) -> Option<DnsServer> {
        let listen = listen?;
        let started = Sockets::bind(listen).and_then(|sockets| {
            DnsServer::start(Face::Host(self.asked.get().cloned()), sockets, self.subscribe())
                .map_err(|source| BindError::Other { address: listen, source })
        });
        let (server, status) = match started {
            Ok(server) => {
                tracing::info!(address = %server.address(), "answers names");
                let listen = Some(server.address().to_string());
                (Some(server), DnsStatus { listen, problem: None })
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "does not answer names");
                (None, DnsStatus { listen: None, problem: Some(render(&error)) })
            }
        };
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        server
    }
}

fn render(error: &BindError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
