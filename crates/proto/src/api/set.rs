//! Changing a VM that is there.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// Asks for a VM to be changed; what is absent stays as it is. Either all of it is taken or, when
/// one thing is wrong, nothing.
///
/// A larger disk is there at once, also in a VM that runs. Processors, memory, environment and limits of
/// the disks of one that runs are in force from its next start, and told as [`VmView::pending`] until then.
///
/// [`VmView::pending`]: super::VmView::pending
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetVm {
    /// Virtual processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// Memory in bytes, whole MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Size of the writable disk in bytes; it can only grow. The size that it has already is
    /// taken, and makes sure that the guest has it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<ByteSize>,
    /// Bytes a second that it reads and writes of each of its disks at most; 0 for as fast as it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bandwidth: Option<ByteSize>,
    /// Reads and writes a second, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_iops: Option<u32>,
    /// Image name, for a VM that is down: its next start is over this image, without the changes
    /// that were made to the old one, but with what was in `/root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Variables of the VM's own to set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Names of variables of the VM's own to take away; those of the image are seen again then.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unset_env: BTreeSet<String>,
    /// Whether it reaches what lies beyond the host: from now on, also for connections that there
    /// are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<bool>,
    /// Whether it is started when the host has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// Seconds of idleness after which it is stopped; 0 for never. At once, also while it sleeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_stop_seconds: Option<u32>,
    /// Seconds of idleness after which it is paused; 0 for never. At once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_pause_seconds: Option<u32>,
}

/// Something about a VM that can be changed while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Setting {
    /// Virtual processors.
    Vcpu,
    /// Memory.
    Memory,
    /// Size of the writable disk, when the running guest could not be given it.
    DiskSize,
    /// How fast it may use its disks.
    DiskLimits,
    /// The VM's own environment.
    Env,
    /// Whether it reaches what lies beyond the host, when it was started without a network card.
    Nat,
}
