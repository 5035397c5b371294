//! What the VMM is asked for while it runs, whichever it is.

use std::time::Duration;

use crate::hypervisor::firecracker::api::{Api, ApiError};
use crate::hypervisor::qemu::qmp::{Qmp, QmpError};

/// The way to the VMM.
#[derive(Debug)]
pub(super) enum Control {
    /// QEMU's.
    Qmp(Qmp),
    /// Firecracker's.
    Firecracker {
        /// Its API.
        api: Api,
        /// Files of the disks, by place.
        disks: Vec<String>,
    },
}

/// Why the VMM did not do it, in its own words where it has some.
#[derive(Debug, thiserror::Error)]
pub(super) enum ControlError {
    /// QEMU did not.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Firecracker did not.
    #[error(transparent)]
    Firecracker(#[from] ApiError),
    /// A disk that the VM does not have.
    #[error("the VM has no disk {0}")]
    NoDisk(u32),
}

impl Control {
    /// Waits until the VMM answers.
    pub(super) async fn answers(&self, deadline: Duration) -> Result<(), ControlError> {
        match self {
            Self::Qmp(qmp) => Ok(qmp.negotiate(deadline).await?),
            Self::Firecracker { api, .. } => Ok(api.answers(deadline).await?),
        }
    }

    /// Presses the power button, or what the machine has in its place.
    pub(super) async fn power_button(&self, deadline: Duration) -> Result<(), ControlError> {
        match self {
            Self::Qmp(qmp) => Ok(qmp.power_button(deadline).await?),
            Self::Firecracker { api, .. } => Ok(api.power_button(deadline).await?),
        }
    }

    /// Has the guest see the disk at place `disk` as large as `bytes`, which its file is already for
    /// Firecracker.
    pub(super) async fn resize_disk(
        &self,
        disk: u32,
        bytes: u64,
        deadline: Duration,
    ) -> Result<(), ControlError> {
        match self {
            Self::Qmp(qmp) => Ok(qmp.resize_disk(disk, bytes, deadline).await?),
            Self::Firecracker { api, disks } => {
                let place = usize::try_from(disk).ok();
                let path = place.and_then(|place| disks.get(place));
                let path = path.ok_or(ControlError::NoDisk(disk))?;
                Ok(api.resize_disk(disk, path, deadline).await?)
            }
        }
    }
}
