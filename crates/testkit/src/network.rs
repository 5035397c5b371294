//! A network that is a list in memory. It is stricter than a real one: what was not made before it is
//! used, or is left when it is taken away, is an error.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use banger_daemon::net::{Answer, NetworkError, NetworkLeftover, Privileged};
use banger_proto::api::NetworkMode;
use banger_proto::helper::{Network, Observed, Reply, Request, Rules};
use banger_proto::{Subnet, VmId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};

/// The network. It outlives the daemons of a test, as a namespace does.
#[derive(Debug, Default)]
pub struct FakeNetwork {
    state: Mutex<State>,
    uplink_ended: Notify,
    uplink_made: watch::Sender<u32>,
    /// The ports to which names were routed, in order.
    routed: watch::Sender<Vec<u16>>,
}

#[derive(Debug, Default)]
struct State {
    made: bool,
    subnet: Option<Subnet>,
    taps: BTreeSet<VmId>,
    rules: Option<Rules>,
    uplink: bool,
    /// What is of no network.
    leftovers: Vec<NetworkLeftover>,
    mode: NetworkMode,
    /// Why the host's resolver is told nothing.
    resolver_broken: Option<String>,
    /// Why nothing can be done.
    broken: Option<String>,
    /// Why nothing can be done any more once the next tap is made, which is not told, either.
    broken_after_tap: Option<String>,
}

impl FakeNetwork {
    /// It is in the host's network, for daemons that are started from now on.
    pub fn be_the_systems(&self) {
        self.state().mode = NetworkMode::System;
    }

    /// The ports to which names were to be routed, once that was asked for `count` times.
    pub async fn names_routed(&self, count: usize) -> Vec<u16> {
        let mut routed = self.routed.subscribe();
        // The sender is in `self`: it cannot be gone.
        routed.wait_for(|routed| routed.len() >= count).await.map(|r| r.clone()).unwrap_or_default()
    }

    /// From now on the host's resolver is told nothing, for this reason.
    pub fn break_resolver(&self, reason: &str) {
        self.state().resolver_broken = Some(reason.to_owned());
    }

    /// From now on the host refuses everything, for this reason.
    pub fn break_it(&self, reason: &str) {
        self.state().broken = Some(reason.to_owned());
    }

    /// The host makes one more tap, of which it does not tell, and then refuses everything, for this
    /// reason.
    pub fn break_after_tap(&self, reason: &str) {
        self.state().broken_after_tap = Some(reason.to_owned());
    }

    /// Everything works again.
    pub fn mend(&self) {
        self.state().broken = None;
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.state().made
    }

    /// Whether there is a way out of it.
    #[must_use]
    pub fn has_uplink(&self) -> bool {
        self.state().uplink
    }

    /// The VMs that have a tap.
    #[must_use]
    pub fn taps(&self) -> Vec<VmId> {
        self.state().taps.iter().cloned().collect()
    }

    /// The rules that were applied last.
    #[must_use]
    pub fn rules(&self) -> Option<Rules> {
        self.state().rules.clone()
    }

    /// Ends the way out, as if its process were killed.
    pub fn end_uplink(&self) {
        self.state().uplink = false;
        self.uplink_ended.notify_one();
    }

    /// Waits until the way out has been opened `count` times.
    pub async fn uplink_opened(&self, count: u32) {
        // The sender is in `self`: it cannot be gone.
        let _ = self.uplink_made.subscribe().wait_for(|made| *made >= count).await;
    }

    /// All of it is gone, as if every process in it were killed.
    pub fn lose(&self) {
        let mut state = self.state();
        *state = State { mode: state.mode, ..State::default() };
    }

    /// Makes a tap that nobody asked for, as a daemon leaves one that was killed.
    pub fn leave_tap(&self, vm: VmId) {
        self.state().taps.insert(vm);
    }

    /// Leaves a file that is about nothing, as a daemon does that was killed.
    pub fn leave_file(&self, path: &str) {
        self.state().leftovers.push(NetworkLeftover::file(path.into()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn work(&mut self) -> Result<&mut Self, NetworkError> {
        match &self.broken {
            Some(reason) => Err(NetworkError::Forbidden { reason: reason.clone() }),
            None => Ok(self),
        }
    }

    fn answer(&mut self, request: Request) -> Result<(Reply, Vec<OwnedFd>), NetworkError> {
        let failed = |reason: &str| NetworkError::Failed { reason: reason.into(), causes: vec![] };
        let state = self.work()?;
        if !state.made {
            return Err(NetworkError::Gone(std::io::ErrorKind::NotFound.into()));
        }
        match request {
            Request::Observe {} => {
                let of = |subnet: &Subnet| {
                    vec![Network { address: subnet.gateway(), prefix: subnet.prefix() }]
                };
                let observed = Reply::Observed(Observed {
                    bridge_name: Default::default(),
                    bridge: state.subnet.as_ref().map(of),
                    taps: state.taps.iter().cloned().collect(),
                    uplink: state.uplink,
                    rules: state.rules.is_some(),
                    dropping: Vec::new(),
                    version: "test".to_owned(),
                });
                return Ok((observed, Vec::new()));
            }
            Request::EnsureBridge { subnet } => state.subnet = Some(subnet),
            Request::EnsureTap { vm } => {
                let known = state.rules.iter().flat_map(|rules| &rules.guests);
                if !known.into_iter().any(|guest| guest.vm == vm) {
                    return Err(failed("a tap that no rule knows"));
                }
                state.taps.insert(vm);
                if let Some(reason) = state.broken_after_tap.take() {
                    state.broken = Some(reason);
                    state.work()?;
                }
            }
            Request::RemoveTap { vm } => {
                state.taps.remove(&vm);
            }
            Request::ApplyRules(rules) => {
                if state.subnet != Some(rules.subnet) {
                    return Err(failed("rules of another network"));
                }
                state.rules = Some(rules);
            }
            Request::ListenDns { .. } => {
                let any = (std::net::Ipv4Addr::LOCALHOST, 0);
                let failed = |error: std::io::Error| failed(&error.to_string());
                let udp = std::net::UdpSocket::bind(any).map_err(failed)?;
                let tcp = std::net::TcpListener::bind(any).map_err(failed)?;
                return Ok((Reply::Done {}, vec![udp.into(), tcp.into()]));
            }
            request => return Err(failed(&format!("{request:?} is not done here"))),
        }
        Ok((Reply::Done {}, Vec::new()))
    }
}

impl Privileged for FakeNetwork {
    fn mode(&self) -> NetworkMode {
        self.state().mode
    }

    fn find(&self) -> BoxFuture<'_, Result<bool, NetworkError>> {
        async { Ok(self.state().made) }.boxed()
    }

    fn ensure(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        async {
            self.state().work()?.made = true;
            Ok(())
        }
        .boxed()
    }

    fn entrance(&self) -> Result<Vec<String>, NetworkError> {
        Ok(Vec::new())
    }

    fn ask(&self, request: Request) -> BoxFuture<'_, Result<Answer, NetworkError>> {
        async {
            if let Request::RouteNames { port } = request {
                let broken = self.state().work()?.resolver_broken.clone();
                self.routed.send_modify(|routed| routed.push(port));
                if let Some(reason) = broken {
                    return Err(NetworkError::Failed { reason, causes: Vec::new() });
                }
                return Ok(Answer { reply: Reply::Done {}, descriptors: Vec::new() });
            }
            let (reply, descriptors) = self.state().answer(request)?;
            Ok(Answer { reply, descriptors })
        }
        .boxed()
    }

    fn ensure_uplink(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        async {
            let mut state = self.state();
            if !state.work()?.made {
                return Err(NetworkError::Protocol);
            }
            if !std::mem::replace(&mut state.uplink, true) {
                self.uplink_made.send_modify(|made| *made += 1);
            }
            Ok(())
        }
        .boxed()
    }

    fn uplink_gone(&self) -> BoxFuture<'_, ()> {
        self.uplink_ended.notified().boxed()
    }

    fn remove(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        async {
            let mut state = self.state();
            if !state.taps.is_empty() {
                let reason = "VMs are left on the network".to_owned();
                return Err(NetworkError::Failed { reason, causes: Vec::new() });
            }
            *state = State { mode: state.mode, ..State::default() };
            Ok(())
        }
        .boxed()
    }

    fn observe_leftovers(&self) -> BoxFuture<'_, Result<Vec<NetworkLeftover>, NetworkError>> {
        async { Ok(self.state().leftovers.clone()) }.boxed()
    }

    fn remove_leftover<'a>(
        &'a self,
        left: &'a NetworkLeftover,
    ) -> BoxFuture<'a, Result<(), NetworkError>> {
        async move {
            self.state().work()?.leftovers.retain(|there| there != left);
            Ok(())
        }
        .boxed()
    }
}
