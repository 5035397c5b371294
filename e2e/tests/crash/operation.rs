//! What is done to a VM, and what must have become of it when somebody was killed meanwhile.

use banger_e2e::{Home, SMALL};

use super::network::host_port;
use super::victim::Victim;

/// Name of the VM that it is done to.
pub(crate) const VM: &str = "target";
/// Name of its copy.
pub(crate) const COPY: &str = "target-1";
/// Its snapshot that nothing must happen to.
pub(crate) const OLD: &str = "old";
/// Its snapshot that is taken.
pub(crate) const NEW: &str = "new";

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Start,
    Exec,
    /// Its disk is made larger and the rules of the network are given anew, while it runs.
    Set,
    Pause,
    Resume,
    /// It is saved while it runs.
    Snapshot,
    /// While it runs, it is taken back to when it ran.
    Restore,
    /// A copy of it is made, which is the VM that everything is told of.
    Fork,
    Stop,
    Kill,
    Delete,
    /// A daemon is started that finds a creation which the one before it did not finish.
    Recover,
}

/// How the VM is when all is quiet again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Absent,
    Running,
    Paused,
    Stopped,
    /// Kept for a post-mortem.
    Error,
}

impl Rest {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }

    /// Whether it has a VMM.
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl Operation {
    /// Its name in the steps.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Exec => "exec",
            Self::Set => "set",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Snapshot => "snapshot",
            Self::Restore => "restore",
            Self::Fork => "fork",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::Recover => "recover",
        }
    }

    /// What its steps are told as: a copy is made like any VM.
    pub(crate) fn told_as(self) -> &'static str {
        if self == Self::Fork { Self::Create.as_str() } else { self.as_str() }
    }

    /// The VM that everything is told of.
    pub(crate) fn vm(self) -> &'static str {
        if self == Self::Fork { COPY } else { VM }
    }

    /// Whether the VM has snapshots before.
    pub(crate) fn has_snapshots(self) -> bool {
        matches!(self, Self::Snapshot | Self::Restore)
    }

    /// Whether the guest's agent is killed, too. One that stands still kills nobody, and whatever of these
    /// goes by the agent it is told a second time.
    pub(crate) fn kills_agents(self) -> bool {
        !matches!(
            self,
            Self::Recover
                | Self::Pause
                | Self::Resume
                | Self::Snapshot
                | Self::Restore
                | Self::Fork
        )
    }

    /// What the user types; a disk is made as large as `mib` MiB.
    pub(crate) fn args(self, guest: Guest, repository: &str, mib: u32) -> Vec<String> {
        let size = format!("{mib}M");
        let create = ["vm", "create", repository, "--name", VM, "--wait", "system"];
        let create = [&create[..], &guest.machine()].concat();
        let words = match self {
            Self::Create => create.as_slice(),
            Self::Start => &["vm", "start", VM],
            Self::Exec => &["vm", "exec", VM, "--", "cat", "/root/marker"],
            Self::Set => &["vm", "set", VM, "--disk-size", &size, "--nat"],
            Self::Pause => &["vm", "pause", VM],
            Self::Resume => &["vm", "resume", VM],
            Self::Snapshot => &["snapshot", "create", VM, NEW],
            Self::Restore => &["snapshot", "restore", "-f", VM, OLD],
            Self::Fork => &["vm", "fork", VM],
            Self::Stop => &["vm", "stop", VM],
            Self::Kill => &["vm", "kill", VM],
            Self::Delete => &["vm", "delete", "-f", VM],
            Self::Recover => &["daemon", "start"],
        };
        words.iter().map(ToString::to_string).collect()
    }

    /// How the VM has to be before; an absent one is made by the operation itself.
    pub(crate) fn needs(self) -> Rest {
        match self {
            Self::Create | Self::Recover | Self::Fork => Rest::Absent,
            Self::Start => Rest::Stopped,
            Self::Resume => Rest::Paused,
            Self::Exec | Self::Set | Self::Stop | Self::Kill | Self::Delete => Rest::Running,
            Self::Pause | Self::Snapshot | Self::Restore => Rest::Running,
        }
    }

    /// How it is after an undisturbed run.
    pub(crate) fn leads_to(self) -> Rest {
        match self {
            Self::Create | Self::Start | Self::Exec | Self::Set => Rest::Running,
            Self::Resume | Self::Snapshot | Self::Restore | Self::Fork => Rest::Running,
            Self::Pause => Rest::Paused,
            Self::Stop | Self::Kill => Rest::Stopped,
            Self::Delete | Self::Recover => Rest::Absent,
        }
    }

    /// How it must be when `victim` was killed as `step` was about to happen.
    pub(crate) fn expect(self, step: &str, victim: Victim) -> Rest {
        // From its last words on, what was asked is done, and nobody takes it back.
        let done = matches!(step, "settle" | "answer");
        match (self, victim) {
            // Nobody is told of a VM that nobody knows to be there.
            (Self::Create, Victim::Cli) if !done => Rest::Absent,
            (Self::Create | Self::Fork, Victim::Daemon) if step != "answer" => Rest::Absent,
            // Before it is kept, it was not there; then it may tell why it did not come up.
            (Self::Create | Self::Fork, _)
                if victim.is_of_vm() && matches!(step, "report" | "keep") =>
            {
                Rest::Absent
            }
            (Self::Create | Self::Fork, _) if victim.is_of_vm() && !done => Rest::Error,
            (Self::Start, Victim::Cli) if !done => Rest::Stopped,
            (Self::Start | Self::Restore, Victim::Daemon) if step != "answer" => Rest::Stopped,
            // It is going to be ended all the same.
            (Self::Restore, _) if victim.is_of_vm() && step == "end-vmm" => Rest::Running,
            (Self::Start | Self::Restore, _)
                if victim.is_of_vm() && matches!(step, "report" | "keep") =>
            {
                Rest::Stopped
            }
            (Self::Start | Self::Restore, _) if victim.is_of_vm() && !done => Rest::Error,
            // What stood still for a moment, as far as anybody had told, goes on.
            (Self::Pause, Victim::Daemon) if step != "answer" => Rest::Running,
            (Self::Resume, Victim::Daemon) if step == "free-guest" => Rest::Paused,
            // The way to the namespace has been told already, and leads by its holder.
            (Self::Create | Self::Fork, Victim::Holder) if step == "launch" => Rest::Absent,
            (Self::Start | Self::Restore, Victim::Holder) if step == "launch" => Rest::Stopped,
            (Self::Stop | Self::Kill | Self::Delete | Self::Recover, _) => self.leads_to(),
            (_, victim) if victim.is_of_vm() => Rest::Stopped,
            _ => self.leads_to(),
        }
    }

    /// Whether a guest that is brought down by it gets to write everything.
    pub(crate) fn keeps_unwritten(self, victim: Victim) -> bool {
        self == Self::Stop && !victim.is_of_vm()
    }
}

/// What runs in the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guest {
    /// The agent as process 1, which nobody in the guest can kill, and a shell.
    Small,
    /// The default image, with systemd, and the agent beside it.
    System,
}

impl Guest {
    /// The machine that every VM here has, as arguments. It wishes for something of the network, so
    /// that it is not started without one.
    pub(crate) fn machine(self) -> Vec<&'static str> {
        let (image, memory) = match self {
            Self::Small => (SMALL, "160M"),
            Self::System => ("debian-bookworm", "512M"),
        };
        let size = ["--memory", memory, "--vcpu", "1", "--disk-size", "256M"];
        let network = ["--nat", "--host-port", host_port()];
        [&["--image", image], &size[..], &network].concat()
    }
}

/// Makes the VM, with something on its disk that must never go.
pub(crate) fn make(home: &Home, guest: Guest) {
    let _ = home.create(VM, &guest.machine());
    home.exec(VM, &["sh", "-c", "echo kept > /root/marker; sync"]).expect_code(0);
}
