//! How the network is, for whoever asks. Nobody who asks waits for what is being done to it.

use banger_proto::api::NetworkStatus;

use super::{NetworkError, State, VmNetwork};
use crate::net::NetworkLeftover;

impl VmNetwork {
    /// How it is.
    #[must_use]
    pub fn status(&self) -> NetworkStatus {
        self.status.borrow().clone()
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
        let problem = attempt.as_ref().err().map(|error| {
            let problem =
                banger_proto::Problem::from_error(banger_proto::Code::OperationFailed, error);
            std::iter::once(problem.message).chain(problem.causes).collect::<Vec<_>>().join(": ")
        });
        self.status.send_modify(|status| status.problem = problem);
    }

    /// Shows whether there is a way out of it.
    pub(super) fn show_way_out(&self, open: bool) {
        self.status.send_modify(|status| status.way_out = open);
    }
}
