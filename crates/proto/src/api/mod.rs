//! The daemon's HTTP interface: JSON under `/v1` on a unix socket.
//!
//! | call | body → answer |
//! |---|---|
//! | `GET /v1/daemon` | – → [`DaemonStatus`] |
//! | `POST /v1/daemon/stop` | – → `{}`; VMs keep running |
//! | `GET /v1/doctor` | – → [`DoctorReport`] |
//! | `POST /v1/system/gc` | [`CollectGarbage`] → [`Garbage`] |
//! | `GET /v1/vms` | – → [`VmList`] |
//! | `POST /v1/vms` | [`CreateVm`] → [`Event`] lines, the last `vm_ready` or `failed` |
//! | `GET /v1/vms/{vm}` | – → [`VmView`] |
//! | `PATCH /v1/vms/{vm}` | [`SetVm`] → [`VmView`] as it is then |
//! | `DELETE /v1/vms/{vm}?…` | [`DeleteVm`] in the query → [`VmView`] as it was |
//! | `POST /v1/vms/{vm}/start` | [`StartVm`] → [`Event`] lines |
//! | `POST /v1/vms/{vm}/stop` | [`StopVm`] → [`VmView`] |
//! | `POST /v1/vms/{vm}/pause` | – → [`VmView`] |
//! | `POST /v1/vms/{vm}/resume` | – → [`VmView`] |
//! | `POST /v1/vms/{vm}/fork` | [`ForkVm`] → [`Forked`] |
//! | `GET /v1/snapshots?vm=VM` | – → [`SnapshotList`] |
//! | `POST /v1/vms/{vm}/snapshots` | [`TakeSnapshot`] → [`SnapshotView`] |
//! | `POST /v1/vms/{vm}/snapshots/{snapshot}/restore` | [`RestoreSnapshot`] → [`Event`] lines |
//! | `DELETE /v1/vms/{vm}/snapshots/{snapshot}` | – → [`SnapshotView`] as it was |
//! | `POST /v1/vms/{vm}/kill` | – → [`VmView`] |
//! | `POST /v1/vms/{vm}/restart` | [`RestartVm`] → [`Event`] lines |
//! | `POST /v1/vms/{vm}/wait` | [`WaitVm`] → [`VmView`] when it is so |
//! | `GET /v1/vms/{vm}/logs?tail=N&follow=true` | – → console bytes |
//! | `POST /v1/vms/{vm}/exec` | [`ExecVm`], `Upgrade: banger-frames` → 101, then exec frames of [`crate::guest`] |
//! | `GET /v1/vms/{vm}/ssh` | `Upgrade: banger-ssh` → 101, then the bytes of an SSH connection |
//! | `GET /v1/vms/{vm}/jobs` | – → [`JobList`] |
//! | `POST /v1/vms/{vm}/jobs` | [`ExecVm`] → [`JobView`] of the job that was started |
//! | `GET /v1/vms/{vm}/jobs/{job}` | – → [`JobView`] |
//! | `POST /v1/vms/{vm}/jobs/{job}/attach` | [`AttachToJob`], `Upgrade: banger-frames` → 101, then frames as [`crate::guest::AttachJob`] tells |
//! | `POST /v1/vms/{vm}/jobs/{job}/kill` | [`SignalJob`] → [`JobView`] |
//! | `POST /v1/vms/{vm}/workspace/prepare` | [`PrepareWorkspace`] → [`Event`] lines, the last `workspace_ready` or `failed` |
//! | `PUT /v1/vms/{vm}/files?path=P` | a tar stream → [`Event`] lines, the last `copied` or `failed` |
//! | `GET /v1/vms/{vm}/files?path=P` | – → a tar stream, then the last [`Event`] in the trailer [`END_TRAILER`] |
//! | `GET /v1/vms/{vm}/workspace` | – → [`WorkspaceStatus`] |
//! | `GET /v1/vms/{vm}/workspace/patch?form=F` | – → a patch, then the last [`Event`] in the trailer [`END_TRAILER`] |
//! | `POST /v1/vms/{vm}/workspace/apply` | – → [`Applied`] |
//! | `POST /v1/vms/{vm}/workspace/branch` | [`BringBranch`] → [`Branched`] |
//! | `GET /v1/vms/{vm}/ping?timeout_ms=N` | – → [`Pong`] |
//! | `GET /v1/vms/{vm}/health?timeout_ms=N` | – → [`VmHealth`] |
//! | `GET /v1/vms/{vm}/ports` | – → [`VmPorts`] |
//! | `GET /v1/stats?vms=A,B&interval_ms=N&follow=true` | – → [`StatsReport`] lines; one without `follow` |
//! | `GET /v1/events?since=N` | – → [`VmEvent`] lines without end |
//! | `GET /v1/images` · `POST /v1/images/build` | – · [`ObtainImage`] → [`ImageList`] · [`Event`] lines |
//! | `POST /v1/images/pull` | [`ObtainImage`] → [`Event`] lines |
//! | `POST /v1/images/import` | [`ImportImage`] → [`Event`] lines |
//! | `POST /v1/images/upload?…` | an archive, [`ImportImage`] in the query → [`Event`] lines |
//! | `POST /v1/images/register` | [`RegisterImage`] → [`ImageView`] |
//! | `POST /v1/images/prune` | – → [`Pruned`] |
//! | `GET /v1/images/{image}` | – → [`ImageDetails`] |
//! | `POST /v1/images/{image}/promote` | – → [`Event`] lines |
//! | `DELETE /v1/images/{image}` | – → [`ImageView`] as it was |
//! | `GET /v1/kernels` · `POST /v1/kernels/pull` | – · [`ObtainKernel`] → [`KernelList`] · [`Event`] lines |
//! | `POST /v1/kernels/import` | [`ImportKernel`] → [`Event`] lines |
//! | `GET /v1/kernels/{kernel}` | – → [`KernelDetails`] |
//! | `DELETE /v1/kernels/{kernel}` | – → [`KernelView`] as it was |
//! | `GET /v1/openapi.json` | – → the description of all this |
//!
//! `{vm}` is a name, an id or an unambiguous prefix of an id; `{image}` a name with `/` written as
//! `%2F`. Every answer carries
//! [`VERSION_HEADER`] and [`OP_ID_HEADER`]; a request that carries another [`VERSION_HEADER`]
//! is refused with `bad_version`. Errors are a [`Problem`](crate::Problem) with a fitting HTTP
//! status. A request whose client goes away is cancelled and undone; `stop`, `kill`, `restart`,
//! `PATCH` and `DELETE` go on to their end.

mod daemon;
mod doctor;
mod event;
mod history;
mod image;
mod job;
mod kernel;
mod ports;
mod prepare;
mod set;
mod snapshot;
mod stats;
mod system;
mod vm;
mod vm_event;
mod workspace;

pub use daemon::{DaemonStatus, DnsStatus, NetworkMode, NetworkStatus};
pub use doctor::{CheckResult, CheckStatus, DoctorReport, Repair};
pub use event::{Event, Stage};
pub use history::{ChangeCause, VmChange};
pub use image::{
    ImageDetails, ImageList, ImageView, ImportImage, ObtainImage, Pruned, RegisterImage, RunConfig,
};
pub use job::{AttachToJob, JobList, JobView, SignalJob};
pub use kernel::{ImportKernel, KernelDetails, KernelList, KernelView, ModulesFrom, ObtainKernel};
pub use ports::{MAX_PUBLISHED, ParsePublishError, PortView, Publish, VmPorts};
pub use prepare::{GuestBranch, PrepareWorkspace, WorkspaceMode};
pub use set::{SetVm, Setting};
pub use snapshot::{
    FORK_INDEX, ForkVm, Forked, MAX_FORKS, RestoreSnapshot, SnapshotList, SnapshotView,
    TakeSnapshot,
};
pub use stats::{
    GroupStats, GuestUse, HostStats, Pong, ProcessStats, StatsReport, Usage, VmHealth, VmStats,
};
pub use system::{CollectGarbage, Garbage, Leftover, LeftoverKind};
pub use vm::{
    Backend, CreateVm, DeleteVm, EndReason, Entrypoint, EntrypointOptions, ExecVm, GuestView,
    RestartVm, StartVm, StateName, StopVm, VmCondition, VmList, VmView, VmWorkspace, WaitFor,
    WaitVm, WorkspaceSource,
};
pub use vm_event::VmEvent;
pub use workspace::{
    Applied, Branched, BringBranch, Exported, PatchForm, WorkspaceSide, WorkspaceStatus,
};

/// Header with the version of the interface, a decimal number.
pub const VERSION_HEADER: &str = "banger-api-version";
/// Header with the id of the operation.
pub const OP_ID_HEADER: &str = "banger-op-id";
/// Trailer of an answer that is a copy or a patch out of a guest: its last [`Event`] as JSON.
pub const END_TRAILER: &str = "banger-end";
/// Value of the `Upgrade` header of an exec call.
pub const UPGRADE_FRAMES: &str = "banger-frames";
/// Value of the `Upgrade` header of a connection to a guest's SSH server.
pub const UPGRADE_SSH: &str = "banger-ssh";
