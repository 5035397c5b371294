//! What goes into the model beside keys, and what comes out of it.

use banger_proto::VmId;
use banger_proto::api::{PortView, StatsReport, VmEvent, VmView};
use bytes::Bytes;

/// What can be done to a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    Start,
    Stop,
    Pause,
    Resume,
    Delete,
}

impl Act {
    /// What is done, as people say it.
    pub(crate) fn doing(self) -> &'static str {
        match self {
            Self::Start => "starting",
            Self::Stop => "stopping",
            Self::Pause => "pausing",
            Self::Resume => "resuming",
            Self::Delete => "deleting",
        }
    }

    /// The same, said of the VM.
    pub(super) fn being_done(self) -> &'static str {
        match self {
            Self::Start => "being started",
            Self::Stop => "being stopped",
            Self::Pause => "being paused",
            Self::Resume => "being resumed",
            Self::Delete => "being deleted",
        }
    }

    /// Whether it ends with whoever asked for it, instead of going on in the daemon.
    pub(super) fn needs_us(self) -> bool {
        // A start is undone, and a VM that is to be deleted is stopped first.
        matches!(self, Self::Start | Self::Delete)
    }
}

/// What comes from the daemon.
#[derive(Debug)]
pub(crate) enum Update {
    /// All VMs, oldest first: the daemon is there.
    Vms(Vec<VmView>),
    /// Something happened to one.
    Event(VmEvent),
    /// What they use.
    Usage(StatsReport),
    /// That is not known any more; with why, unless that is told by another update.
    NoUsage(Option<Vec<String>>),
    /// The daemon went away, and why; it is tried again.
    Away(Vec<String>),
    /// What listens in a VM, or why that is not known.
    Ports(VmId, Result<Vec<PortView>, String>),
    /// More of a VM's console.
    Console(VmId, Bytes),
    /// No more of it, and why.
    ConsoleEnded(VmId, String),
    /// What was asked for is done, or why it is not.
    Done(VmId, Act, Result<(), Vec<String>>),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// The end.
    Quit,
    /// A shell in this VM has the terminal until it ends.
    Shell(Box<VmView>),
    /// This is done in the background; [`Update::Done`] tells how it went.
    Act(Box<VmView>, Act),
    /// From now on what listens in this VM is told, or in none.
    Ports(Option<VmId>),
    /// From now on the console of this VM is told, or of none.
    Console(Option<VmId>),
}
