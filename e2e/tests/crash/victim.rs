//! Who is killed.

use banger_e2e::Home;

use super::operation::Operation;

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
    /// The helper that changes the VMs' network.
    Helper,
    /// Who keeps the namespace that this network is in.
    Holder,
}

impl Victim {
    /// Those on the host.
    pub(crate) const HOST: [Self; 6] =
        [Self::Cli, Self::Daemon, Self::Supervisor, Self::Vmm, Self::Helper, Self::Holder];
    pub(crate) const ALL: [Self; 7] = [
        Self::Cli,
        Self::Daemon,
        Self::Supervisor,
        Self::Vmm,
        Self::Agent,
        Self::Helper,
        Self::Holder,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "command",
            Self::Daemon => "daemon",
            Self::Supervisor => "supervisor",
            Self::Vmm => "VMM",
            Self::Agent => "agent",
            Self::Helper => "helper",
            Self::Holder => "holder",
        }
    }

    /// Whether it is one of the two that are the VM's own.
    pub(crate) fn is_of_vm(self) -> bool {
        matches!(self, Self::Supervisor | Self::Vmm)
    }

    /// Whether it is one of the two that are the network's.
    pub(crate) fn is_of_network(self) -> bool {
        matches!(self, Self::Helper | Self::Holder)
    }

    /// Whether it matters at `step` that it is there. Nobody asks anything of the network but where a VM
    /// gets its place on it, has its VMM started there, is changed, or loses its place; `settle` is when
    /// that has been done, and comes before the change.
    pub(crate) fn takes_part(self, operation: Operation, step: &str) -> bool {
        !self.is_of_network()
            || match step {
                // Before a VM is started, a new daemon has a network only if others run.
                "network" => matches!(operation, Operation::Create | Operation::Fork),
                // Nothing is asked of it for a guest that stands still, or goes on.
                _ if matches!(operation, Operation::Pause | Operation::Resume) => false,
                step => matches!(step, "launch" | "unplug" | "settle"),
            }
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
            Self::Vmm => find("qemu-system", vm_id?).or_else(|| find("firecracker", vm_id?)),
            Self::Agent => None,
            Self::Helper => find("banger-helper", " serve "),
            Self::Holder => find("banger-helper", " hold "),
        }
    }
}
