//! Whose network VMs are in.

use std::path::Path;
use std::sync::Arc;

use banger_proto::helper::SYSTEM_SOCKET;

use super::privileged::Privileged;
use super::system::SystemNetwork;
use super::user::{UserNamespace, UserOptions};
use crate::config::NetworkChoice;

/// The network that is configured. Left to itself, that is the host's for the daemon that is a service of
/// the system, whose runtime directory is `system_dir`, if the service for networks lets it connect; another
/// daemon of the same user would take the rules of the first one's VMs away.
#[must_use]
pub fn choose(
    choice: NetworkChoice,
    system_dir: &Path,
    options: UserOptions,
) -> Arc<dyn Privileged> {
    let system = SystemNetwork::at(SYSTEM_SOCKET.into());
    let is_system = match choice {
        NetworkChoice::System => true,
        NetworkChoice::User => false,
        NetworkChoice::Auto => options.runtime_dir == system_dir && system.is_offered(),
    };
    if is_system { Arc::new(system) } else { Arc::new(UserNamespace::new(options)) }
}
