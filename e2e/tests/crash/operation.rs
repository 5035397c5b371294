//! What is done to a VM, and what must have become of it when somebody was killed meanwhile.

use banger_e2e::{Home, SMALL};

use super::victim::Victim;

/// Name of the VM that it is done to.
pub(crate) const VM: &str = "target";

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Start,
    Exec,
    /// Its disk is made larger while it runs.
    Set,
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
    Stopped,
    /// Kept for a post-mortem.
    Error,
}

impl Rest {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
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
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::Recover => "recover",
        }
    }

    /// What the user types; a disk is made as large as `mib` MiB.
    pub(crate) fn args(self, guest: Guest, repository: &str, mib: u32) -> Vec<String> {
        let size = format!("{mib}M");
        let words = match self {
            Self::Create => {
                return [&["vm", "create", repository, "--name", VM], &guest.machine()[..]]
                    .concat()
                    .iter()
                    .map(ToString::to_string)
                    .chain(["--wait".to_owned(), "system".to_owned()])
                    .collect();
            }
            Self::Start => ["vm", "start", VM].as_slice(),
            Self::Exec => &["vm", "exec", VM, "--", "cat", "/root/marker"],
            Self::Set => &["vm", "set", VM, "--disk-size", &size],
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
            Self::Create | Self::Recover => Rest::Absent,
            Self::Start => Rest::Stopped,
            Self::Exec | Self::Set | Self::Stop | Self::Kill | Self::Delete => Rest::Running,
        }
    }

    /// How it is after an undisturbed run.
    pub(crate) fn leads_to(self) -> Rest {
        match self {
            Self::Create | Self::Start | Self::Exec | Self::Set => Rest::Running,
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
            (Self::Create, Victim::Daemon) if step != "answer" => Rest::Absent,
            // Before it is kept, it was not there; then it may tell why it did not come up.
            (Self::Create, _) if victim.is_of_vm() && matches!(step, "report" | "keep") => {
                Rest::Absent
            }
            (Self::Create, _) if victim.is_of_vm() && !done => Rest::Error,
            (Self::Start, Victim::Cli) if !done => Rest::Stopped,
            (Self::Start, Victim::Daemon) if step != "answer" => Rest::Stopped,
            (Self::Start, _) if victim.is_of_vm() && matches!(step, "report" | "keep") => {
                Rest::Stopped
            }
            (Self::Start, _) if victim.is_of_vm() && !done => Rest::Error,
            (Self::Create | Self::Start | Self::Exec | Self::Set, _) if victim.is_of_vm() => {
                Rest::Stopped
            }
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
    /// The machine that every VM here has, as arguments.
    pub(crate) fn machine(self) -> [&'static str; 8] {
        let (image, memory) = match self {
            Self::Small => (SMALL, "160M"),
            Self::System => ("debian-bookworm", "512M"),
        };
        ["--image", image, "--memory", memory, "--vcpu", "1", "--disk-size", "256M"]
    }
}

/// Makes the VM, with something on its disk that must never go.
pub(crate) fn make(home: &Home, guest: Guest) {
    let _ = home.create(VM, &guest.machine());
    home.exec(VM, &["sh", "-c", "echo kept > /root/marker; sync"]).expect_code(0);
}
