//! Why a request cannot be planned, and the way out.

use std::net::SocketAddr;

use banger_proto::api::{MAX_PUBLISHED, Publish};
use banger_proto::helper::{DNS_PORT, MAX_HOST_PORTS};
use banger_proto::name::ParseNameError;
use banger_proto::{ByteSize, Code, Problem, VmName};

use super::{MAX_DISK, MAX_VCPU, MIN_DISK, MIN_DISK_BANDWIDTH, MIN_DISK_IOPS, MIN_MEMORY};

/// Why a request cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The name is taken.
    #[error("a VM named `{0}` exists already")]
    NameTaken(VmName),
    /// The name is not for VMs.
    #[error(transparent)]
    Name(#[from] ParseNameError),
    /// No name could be made up.
    #[error("every generated name is taken")]
    NoName,
    /// No or too many processors.
    #[error("`{0}` virtual processors cannot be given to a VM: 1 to {MAX_VCPU} can")]
    Vcpu(u32),
    /// Too little memory.
    #[error("memory of `{0}` is too small for a VM: at least {MIN_MEMORY} is needed")]
    Memory(ByteSize),
    /// Memory that is no whole number of MiB.
    #[error("memory of `{0}` is not a whole number of MiB")]
    MemoryFraction(ByteSize),
    /// Too small a disk.
    #[error("a disk of `{0}` is too small for a VM: at least {MIN_DISK} is needed")]
    Disk(ByteSize),
    /// Too large a disk.
    #[error("a disk of `{0}` is too large for a VM: less than {MAX_DISK} can be")]
    DiskTooLarge(ByteSize),
    /// A disk that no file system fits exactly.
    #[error("a disk of `{0}` is not a whole number of 4 KiB blocks")]
    DiskFraction(ByteSize),
    /// So slow a disk that a guest might not come up.
    #[error("`{0}` a second is too slow for a disk: at least {MIN_DISK_BANDWIDTH} is needed")]
    DiskBandwidth(ByteSize),
    /// Likewise.
    #[error(
        "`{0}` operations a second are too few for a disk: at least {MIN_DISK_IOPS} are needed"
    )]
    DiskIops(u32),
    /// A variable name that no environment can hold.
    #[error("`{0}` cannot be the name of an environment variable")]
    EnvName(String),
    /// A value that no environment can hold.
    #[error("the value of environment variable `{0}` contains a NUL byte")]
    EnvValue(String),
    /// A workspace or an ephemeral life for a VM that does not run.
    #[error(
        "a VM that is not started cannot have a workspace, wait for its system, or be ephemeral"
    )]
    NeedsStart,
    /// An end by idleness for a VM that ends with its request.
    #[error("a VM that goes when its command ends cannot be paused or stopped when it is idle")]
    EphemeralIdle,
    /// A start with the host for a VM that ends with its request.
    #[error("a VM that goes when its command ends cannot start with the host (autostart)")]
    EphemeralAutostart,
    /// More ports of the host than a VM can have.
    #[error("`{0}` ports of the host are more than a VM can reach: {MAX_HOST_PORTS} at most")]
    HostPorts(usize),
    /// A port of the host that cannot be offered to a VM.
    #[error("port `{0}` of the host cannot be given to a VM: 1 to 65535 can, but not {DNS_PORT}")]
    HostPort(u16),
    /// More ports of the host than can lead to a VM.
    #[error("`{0}` published ports are more than a VM can have: {MAX_PUBLISHED} at most")]
    Published(usize),
    /// A published port that is none.
    #[error("`{0}` cannot be published: ports are 1 to 65535")]
    PublishedPort(Publish),
    /// One port of the host for two of the VM.
    #[error("port `{0}` of the host cannot lead to two ports of the VM")]
    PublishedTwice(SocketAddr),
    /// A workspace that is not named by an absolute path.
    #[error("workspace path `{0}` is not absolute")]
    WorkspacePath(String),
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        let code = match error {
            PlanError::NameTaken(_) => Code::AlreadyExists,
            PlanError::NoName => Code::OperationFailed,
            _ => Code::BadRequest,
        };
        let problem = Self::from_error(code, &error);
        match &error {
            PlanError::NameTaken(name) => {
                problem.hint(format!("choose another name, or delete it: banger vm delete {name}"))
            }
            PlanError::Memory(asked) if asked.mib() < 16 => {
                problem.hint("a bare number means MiB; write 1G for a gibibyte")
            }
            PlanError::NoName => problem.hint("give the VM a name: --name NAME"),
            _ => problem,
        }
    }
}
