//! Who is killed.

use banger_e2e::Home;

/// A process that takes part in what is done to a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The command that asked for it.
    Cli,
    Daemon,
    Supervisor,
    Vmm,
    /// The agent in the guest.
    Agent,
}

impl Victim {
    /// Those on the host.
    pub(crate) const HOST: [Self; 4] = [Self::Cli, Self::Daemon, Self::Supervisor, Self::Vmm];
    pub(crate) const ALL: [Self; 5] =
        [Self::Cli, Self::Daemon, Self::Supervisor, Self::Vmm, Self::Agent];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "command",
            Self::Daemon => "daemon",
            Self::Supervisor => "supervisor",
            Self::Vmm => "VMM",
            Self::Agent => "agent",
        }
    }

    /// Whether it is one of the two that are the VM's own.
    pub(crate) fn is_of_vm(self) -> bool {
        matches!(self, Self::Supervisor | Self::Vmm)
    }

    /// Its process id on the host, if there is one now; `command` is the command's.
    pub(crate) fn find(self, home: &Home, vm_id: Option<&str>, command: u32) -> Option<i32> {
        let find = |program: &str, argument: &str| {
            let lines = home.processes();
            let line = lines.iter().find(|line| {
                let mut words = line.split(' ').skip(1);
                words.next().is_some_and(|word| word.contains(program)) && line.contains(argument)
            })?;
            line.split(' ').next()?.parse().ok()
        };
        match self {
            Self::Cli => i32::try_from(command).ok(),
            Self::Daemon => find("bangerd", ""),
            Self::Supervisor => find("banger-supervisor", vm_id?),
            Self::Vmm => find("qemu-system", vm_id?),
            Self::Agent => None,
        }
    }
}
