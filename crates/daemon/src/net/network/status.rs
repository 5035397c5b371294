//! How the network is, for whoever asks. Nobody who asks waits for what is being done to it.

use banger_proto::api::{NetworkMode, NetworkStatus};
use banger_proto::helper::Observed;
use banger_proto::{Code, Problem};

use super::{NetworkError, State, VmNetwork};
use crate::net::NetworkLeftover;

impl VmNetwork {
    /// How it is.
    #[must_use]
    pub fn status(&self) -> NetworkStatus {
        self.status.borrow().clone()
    }

    /// What the system's service sees of the host's network; none where VMs are in one of the user's own.
    /// The error says why it cannot be asked.
    pub async fn observe_service(&self) -> Option<Result<Observed, String>> {
        match self.privileged.mode() {
            NetworkMode::System => Some(self.observe().await.map_err(|error| render_chain(&error))),
            NetworkMode::User => None,
        }
    }

    /// What is left of networks that nobody is on.
    ///
    /// # Errors
    /// When that cannot be looked for.
    pub async fn observe_leftovers(&self) -> Result<Vec<NetworkLeftover>, NetworkError> {
        self.privileged.observe_leftovers().await
    }

    /// Takes away what was left, if it still is.
    ///
    /// # Errors
    /// When it stays.
    pub async fn remove_leftover(&self, left: &NetworkLeftover) -> Result<(), NetworkError> {
        self.privileged.remove_leftover(left).await
    }

    /// Shows who is on it.
    pub(super) fn show_guests(&self, state: &State) {
        let vms = state.guests.values().filter(|guest| guest.address.is_some()).count();
        self.status.send_modify(|status| {
            status.subnet = state.subnet;
            status.vms = u32::try_from(vms).unwrap_or(u32::MAX);
        });
    }

    /// Shows whether there is one, or why not.
    pub(super) fn show_attempt<T>(&self, attempt: &Result<T, NetworkError>) {
        let problem = attempt.as_ref().err().map(render_chain);
        self.status.send_modify(|status| status.problem = problem);
    }

    /// Shows whether there is a way out of it.
    pub(super) fn show_way_out(&self, open: bool) {
        self.status.send_modify(|status| status.way_out = open);
    }
}

/// The error and what it is due to, in one line.
pub(super) fn render_chain(error: &NetworkError) -> String {
    let problem = Problem::from_error(Code::OperationFailed, error);
    std::iter::once(problem.message).chain(problem.causes).collect::<Vec<_>>().join(": ")
}
