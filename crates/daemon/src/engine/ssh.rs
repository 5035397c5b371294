//! Connections to the SSH servers of guests. Keys and configuration are [`crate::ssh`]'s.

use std::fmt;

use banger_proto::{Code, Problem};

use super::{Engine, Host, START_DEADLINE};
use crate::guest::{GuestClient, GuestError};
use crate::hypervisor::GuestStream;
use crate::vm::state::VmRecord;
use crate::vm::uses::Use;

/// A connection to the SSH server of a guest.
pub struct SshConnection {
    /// Its bytes. Each direction has an end of its own.
    pub stream: GuestStream,
    /// What keeps its VM in use.
    pub in_use: Use,
}

impl fmt::Debug for SshConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshConnection").finish_non_exhaustive()
    }
}

impl Engine {
    /// Connects to the SSH server of a VM that runs.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM does not run, or there is no server.
    pub async fn ssh(&self, reference: &str) -> Result<SshConnection, Problem> {
        let (record, vmm, in_use) = self.use_awake(reference).await?;
        let name = &record.plan.name;
        let guest = GuestClient::new(vmm).within(START_DEADLINE);
        let stream = guest.ssh().await.map_err(|error| match error {
            GuestError::Refused(problem) if problem.code == Code::UnknownMethod => {
                let message = format!("the agent of VM `{name}` is too old for SSH");
                Problem::new(Code::Conflict, message)
                    .hint(format!("it gets a new one when it starts: banger vm restart {name}"))
            }
            GuestError::Refused(problem) => problem,
            error => {
                let message = format!("cannot connect to the SSH server of VM `{name}`");
                Problem::new(Code::OperationFailed, message)
                    .because(&error)
                    .hint(format!("how it is: banger vm show {name}"))
            }
        })?;
        Ok(SshConnection { stream, in_use })
    }
}

/// Makes the VMs that are known to SSH clients those of the records. A start of the daemon does
/// not depend on it: a VM that is not known is not spoken to.
pub(super) async fn settle(host: &Host, records: impl Iterator<Item = &VmRecord>) {
    let vms: Vec<_> =
        records.map(|record| (record.id().clone(), record.plan.name.clone())).collect();
    let ssh = host.ssh.clone();
    let settled = tokio::task::spawn_blocking(move || ssh.settle(&vms)).await;
    if let Ok(Err(error)) = settled {
        tracing::warn!(error = &error as &dyn std::error::Error, "cannot settle the known hosts");
    }
}
