//! What the host has, as far as it suggests sizes for VMs.

use std::thread;

use banger_proto::ByteSize;

/// What was found out about the host; absent parts could not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// Processors this process may use.
    pub cpus: Option<u32>,
    /// Main memory.
    pub memory: Option<ByteSize>,
}

/// Looks at the host.
#[must_use]
pub fn observe_host() -> HostFacts {
    let info = rustix::system::sysinfo();
    // `totalram` counts units of `mem_unit` bytes (sysinfo(2)).
    let memory = info.totalram.saturating_mul(u64::from(info.mem_unit.max(1)));
    HostFacts {
        cpus: thread::available_parallelism().ok().and_then(|n| u32::try_from(n.get()).ok()),
        memory: (memory > 0).then(|| ByteSize::from_bytes(memory)),
    }
}
