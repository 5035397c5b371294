//! What a long request says while it works: one JSON object a line.

use serde::{Deserialize, Serialize};

use super::{Exported, ImageView, KernelView, VmView};
use crate::Problem;
use crate::guest::Copied;

/// A stage of work, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Stage {
    /// Shutting the guest down, before a restart.
    Stop,
    /// Getting the kernel.
    Kernel,
    /// Getting the image.
    Image,
    /// Making the writable disk.
    Disk,
    /// Starting the VMM and waiting for the agent's call.
    Boot,
    /// Telling the guest its configuration.
    Configure,
    /// Bringing the workspace in.
    Workspace,
    /// Waiting for the image's own init, when asked.
    System,
}

/// One line of a progress stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Event {
    /// The VM has the disk of a snapshot, and is down.
    Restored {
        /// The VM as it is.
        vm: Box<VmView>,
    },
    /// The request was accepted and planned; `spec` is the line to show.
    Planned {
        /// The VM as it will be.
        vm: Box<VmView>,
        /// `4 vcpu | 8192 MiB | 8G disk | qemu (…)`.
        spec: String,
    },
    /// A stage begins.
    StageStarted {
        /// Which.
        stage: Stage,
    },
    /// A stage ended well.
    StageFinished {
        /// Which.
        stage: Stage,
        /// How long it took.
        millis: u64,
    },
    /// Work inside a stage.
    Progress {
        /// What is being done, a fragment.
        label: String,
        /// Bytes done; zero for work that is named and not measured.
        done: u64,
        /// Of how many bytes, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// Something the user should know.
    Notice {
        /// A sentence.
        text: String,
    },
    /// End: the VM is ready.
    VmReady {
        /// The VM as it is.
        vm: Box<VmView>,
        /// From the request to readiness.
        millis: u64,
    },
    /// End: the image is there.
    ImageReady {
        /// The image.
        image: Box<ImageView>,
    },
    /// End: the kernel is there.
    KernelReady {
        /// The kernel.
        kernel: KernelView,
    },
    /// End: the workspace is in the guest.
    WorkspaceReady {
        /// The VM as it is.
        vm: Box<VmView>,
    },
    /// End: the files are there.
    Copied {
        /// What was copied.
        copied: Copied,
    },
    /// End: the patch is whole.
    Exported {
        /// What was exported.
        exported: Exported,
    },
    /// End: it failed.
    Failed {
        /// Why.
        problem: Problem,
    },
}
