//! The states of a VM, each with just the data that is valid in it.
//!
//! ```text
//!   create
//!     │            failed before the VMM ran, or cancelled: undone, nothing is left
//!     ▼          ┌────────────▲───────────────▲
//!  Created ──▶ Preparing ──▶ Booting ──▶ Running ──▶ Stopping ──▶ Stopped
//!                 ▲             │          ▲│  │                    ▲ │
//!                 │             │    Paused┘◀  └─ ended by itself ──┘ │
//!                 │             │ failed                              │
//!                 │             ▼                                     │
//!                 ├─────────── Error  (kept for a post-mortem)        │
//!                 └───────────────────────── start ───────────────────┘
//! ```
//!
//! `Paused` and `Stopped` for idleness lead back to `Running` as soon as somebody wants something of the
//! VM ([`wake`](super::wake)).
//!
//! A VM that is made without being started goes from `Preparing` to `Stopped`.
//!
//! `Created` to `Booting` of a creation are never met at rest: a daemon that finds them in its
//! database was killed half-way and undoes them. In `Stopped` and `Error` no VMM runs.

use std::net::Ipv4Addr;

use banger_proto::api::{
    ChangeCause, CreateVm, EndReason, GuestView, RunConfig, StateName, VmChange, VmWorkspace,
};
use banger_proto::supervisor::VmmExit;
use banger_proto::{OpId, Period, Problem, VmId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::plan::VmPlan;
use crate::net::{Attached, VmNetwork};

/// State of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmState {
    /// Recorded, nothing made yet.
    Created,
    /// Kernel, image or disk are being made.
    Preparing,
    /// The VMM is being started, or runs while the agent is not configured yet.
    Booting,
    /// Commands run.
    Running {
        /// What the agent told last; absent before it told anything.
        guest: Option<GuestView>,
    },
    /// It stands still, with all that runs in it.
    Paused {
        /// What the agent told last; absent before it told anything.
        guest: Option<GuestView>,
        /// For how long nobody had used it, if that is why; whoever wants something of it wakes it.
        idle: Option<Period>,
    },
    /// On its way down.
    Stopping,
    /// Down; its disk is kept.
    Stopped {
        /// How it came down.
        ended: EndReason,
    },
    /// Something failed; its disk and console are kept.
    Error {
        /// What failed.
        problem: Box<Problem>,
    },
}

impl VmState {
    /// The state as one word.
    #[must_use]
    pub fn name(&self) -> StateName {
        match self {
            Self::Created => StateName::Created,
            Self::Preparing => StateName::Preparing,
            Self::Booting => StateName::Booting,
            Self::Running { .. } => StateName::Running,
            Self::Paused { .. } => StateName::Paused,
            Self::Stopping => StateName::Stopping,
            Self::Stopped { .. } => StateName::Stopped,
            Self::Error { .. } => StateName::Error,
        }
    }

    /// Whether the guest's agent does what it is asked in this state.
    #[must_use]
    pub fn runs_commands(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Whether it is so because nobody used the VM: then whoever wants something of it wakes it.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        matches!(
            self,
            Self::Paused { idle: Some(_), .. } | Self::Stopped { ended: EndReason::Idle(_) }
        )
    }

    /// For how long nobody had used the VM, where it stands still for that.
    #[must_use]
    pub fn paused_idle(&self) -> Option<Period> {
        match self {
            Self::Paused { idle, .. } => *idle,
            _ => None,
        }
    }

    /// Whether a VMM may run in this state.
    #[must_use]
    pub fn has_vmm(&self) -> bool {
        matches!(self, Self::Booting | Self::Running { .. } | Self::Paused { .. } | Self::Stopping)
    }
}

/// How a VM ended, from how its VMM did. A VMM that exits well was told to by its guest.
#[must_use]
pub fn ended_by(exit: &VmmExit) -> EndReason {
    if exit.killed {
        return EndReason::Killed;
    }
    let how = match (exit.code, exit.signal) {
        (Some(0), _) => return EndReason::PoweredOff,
        (Some(code), _) => format!("the VMM exited with code {code}"),
        (None, Some(signal)) => format!("the VMM was ended by signal {signal}"),
        (None, None) => return EndReason::Lost,
    };
    let stderr = exit.stderr.trim();
    EndReason::Failed(if stderr.is_empty() { how } else { format!("{how}: {stderr}") })
}

/// What a VM was made from. It keeps that, whatever becomes of the names of image and kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// SHA-256 of the image's file, hexadecimal.
    pub digest: String,
    /// The image's read-only ext4 file.
    pub path: std::path::PathBuf,
    /// What the image says about running it.
    #[serde(default)]
    pub run: RunConfig,
    /// Directory of the kernel's files; absent for a VM that was made when kernels had no versions.
    #[serde(default)]
    pub kernel: Option<std::path::PathBuf>,
}

/// What is made of a VM and has to be taken away again; recorded before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// Its state directory with disk and console log.
    Disk,
    /// A VMM with its supervisor and runtime directory.
    Vmm,
}

/// Why something is done with a VM, for its history.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    /// What brought it about.
    pub(crate) what: ChangeCause,
    /// The request that asked for it.
    pub(crate) op: Option<OpId>,
    /// When it began; none for what was only noticed.
    pub(crate) since: Option<Instant>,
}

impl Cause {
    /// Work that begins now.
    pub(crate) fn begin(what: ChangeCause, op: Option<OpId>) -> Self {
        Self { what, op, since: Some(Instant::now()) }
    }

    /// Something that has happened.
    pub(crate) fn noticed(what: ChangeCause) -> Self {
        Self { what, op: None, since: None }
    }
}

/// A VM as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmRecord {
    /// What was asked.
    pub spec: CreateVm,
    /// What was decided.
    pub plan: VmPlan,
    /// Its image, once known.
    pub base: Option<Base>,
    /// Where it is in its life.
    pub state: VmState,
    /// Its workspace, once brought in.
    pub workspace: Option<VmWorkspace>,
    /// Whether it goes when the request that made it ends.
    pub ephemeral: bool,
    /// What may have been made of it, in the order of making.
    pub intents: Vec<Intent>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it became ready last; absent if it never was.
    pub started_at: Option<Timestamp>,
    /// What became of it since it was last recorded; recorded with it, and read by
    /// [`Store::load_history`](crate::store::Store::load_history) only.
    pub changes: Vec<VmChange>,
}

impl VmRecord {
    /// Its identity.
    #[must_use]
    pub fn id(&self) -> &VmId {
        &self.plan.id
    }

    /// Where the host reaches it, while it may run or sleeps.
    #[must_use]
    pub fn loopback(&self, network: &VmNetwork) -> Option<Ipv4Addr> {
        let reached = self.state.has_vmm() || self.state.is_asleep();
        self.plan.lease.filter(|_| reached).map(|lease| network.loopback(lease))
    }

    /// Its place on the network, if it has had one: that which it has, or has again.
    pub(crate) fn attached(&self) -> Option<Attached> {
        Some(Attached {
            vm: self.id().clone(),
            name: self.plan.name.clone(),
            lease: self.plan.lease?,
            address: self.plan.in_force.as_ref().and_then(|given| given.address),
            wishes: self.plan.wishes(),
        })
    }

    /// Its address, while it may run and has a network card.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.plan.in_force.as_ref().filter(|_| self.state.has_vmm())?.address
    }

    /// Notes for its history what brought it into its state.
    pub(crate) fn note_change(&mut self, cause: &Cause) {
        let (mut ended, mut problem) = (None, None);
        match &self.state {
            VmState::Stopped { ended: how } => ended = Some(how.clone()),
            VmState::Error { problem: what } => problem = Some(what.message.clone()),
            _ => {}
        }
        let paused = matches!(self.state, VmState::Paused { .. });
        let rests = ended.is_some() || problem.is_some() || self.state.runs_commands() || paused;
        let took = cause.since.filter(|_| rests).map(|since| since.elapsed().as_millis());
        self.changes.push(VmChange {
            at: Timestamp::now().to_string(),
            state: self.state.name(),
            cause: cause.what,
            op: cause.op.clone(),
            took_ms: took.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX)),
            ended,
            problem,
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{ConfigFile, HostFacts, resolve};
    use crate::hypervisor::{Features, GuestMachine};
    use crate::vm::plan::{Entropy, Inventory, plan_vm};

    /// A record of a VM just asked for; equal names give equal ids.
    pub(crate) fn record(name: &str) -> VmRecord {
        let spec = CreateVm { name: Some(name.parse().unwrap()), ..Default::default() };
        let backend = Features {
            vmm: "qemu".into(),
            accel: "tcg".into(),
            remark: None,
            slowness: 6,
            machine: GuestMachine::Microvm,
        };
        let inventory = Inventory { names: Default::default(), image_kernel: None, backend };
        let id = std::array::from_fn(|index| name.as_bytes().get(index).copied().unwrap_or(0));
        let entropy = Entropy { id, name: 0, machine_id: [1; 16], link_magic: [2; 16] };
        let config = resolve(ConfigFile::default(), HostFacts::default());
        VmRecord {
            plan: plan_vm(&spec, &config, &inventory, entropy).unwrap(),
            spec,
            base: None,
            state: VmState::Created,
            workspace: None,
            ephemeral: false,
            intents: vec![],
            created_at: Timestamp::UNIX_EPOCH,
            started_at: None,
            changes: Vec::new(),
        }
    }

    fn exit(code: Option<i32>, signal: Option<i32>, killed: bool, stderr: &str) -> EndReason {
        ended_by(&VmmExit { code, signal, killed, stderr: stderr.to_owned() })
    }

    #[test]
    fn tells_how_it_ended() {
        assert_eq!(exit(Some(0), None, false, ""), EndReason::PoweredOff);
        assert_eq!(exit(None, Some(9), true, ""), EndReason::Killed);
        assert_eq!(exit(None, None, false, ""), EndReason::Lost);
        assert_eq!(
            exit(Some(1), None, false, "qemu: no memory\n"),
            EndReason::Failed("the VMM exited with code 1: qemu: no memory".to_owned())
        );
        assert_eq!(
            exit(None, Some(11), false, ""),
            EndReason::Failed("the VMM was ended by signal 11".to_owned())
        );
    }
}
