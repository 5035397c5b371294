//! The configuration: what the user wrote, what the host suggests, what is built in.
//!
//! Responsible for reading `config.toml` and for saying where each value came from. Not
//! responsible for what a single request asks for: that is [`crate::vm::plan`]'s.
//!
//! ```text
//! config.toml ──parse_config──▶ ConfigFile ─┐
//!                               HostFacts ──┴─resolve──▶ Config (each value with its Origin)
//! ```

mod file;
mod file_sync;
mod host;
mod resolve;
mod show;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_proto::{BridgeName, ByteSize, Period, Subnet};
use serde::{Deserialize, Serialize};

pub use file::{
    ConfigError, ConfigFile, IdleSetting, KEYS, Key, KeyPath, ListenSetting, SizeSetting,
    SubnetSetting, VmDefaultsFile, parse_config,
};
pub use file_sync::{FileSync, FileSyncEntry, plan_file_sync};
pub use host::{HostFacts, observe_host};
pub use resolve::resolve;
pub use show::{Shown, ShownSetting, show};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration file.
    Config,
    /// Worked out from this host.
    Auto,
    /// The program.
    Builtin,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Config => "config",
            Self::Auto => "auto",
            Self::Builtin => "builtin",
        })
    }
}

/// A value that knows where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Its origin.
    pub origin: Origin,
}

/// Which VMM to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VmmChoice {
    /// The best one of this host.
    #[default]
    Auto,
    /// Firecracker.
    Firecracker,
    /// QEMU.
    Qemu,
}

/// How guest code is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccelChoice {
    /// KVM where it is usable, else software.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Software emulation.
    Tcg,
}

/// How VMs get a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkChoice {
    /// As the system's service does where it is installed, else as the user can.
    #[default]
    Auto,
    /// In a namespace of the user's own, without root.
    User,
    /// In the host's network, by the system's service.
    System,
}

impl NetworkChoice {
    /// Whether a VM must have a network, also where it asks for nothing of it.
    #[must_use]
    pub fn is_required(self) -> bool {
        self != Self::Auto
    }
}

/// How much the daemon logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what is suspicious.
    Warn,
    /// And the life of VMs.
    #[default]
    Info,
    /// And every request.
    Debug,
    /// And everything else.
    Trace,
}

/// Everything that can be configured, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// How much the daemon logs.
    pub log_level: Setting<LogLevel>,
    /// Which VMM to use.
    pub vmm: Setting<VmmChoice>,
    /// How guest code is run.
    pub accel: Setting<AccelChoice>,
    /// Firecracker; absent to look for it on the search path.
    pub firecracker_bin: Setting<Option<PathBuf>>,
    /// QEMU; absent to look for it on the search path.
    pub qemu_bin: Setting<Option<PathBuf>>,
    /// Image of a VM that asks for none.
    pub default_image_name: Setting<String>,
    /// Kernel of a VM when neither it nor its image asks for one.
    pub default_kernel_name: Setting<String>,
    /// Address of a catalog of more images; absent for none.
    pub catalog_url: Setting<Option<String>>,
    /// File with the credentials for registries; absent for that of Docker or Podman.
    pub registry_auth_file: Setting<Option<PathBuf>>,
    /// The user's own private key for SSH into VMs, absolute or beginning with `~/`; absent for
    /// one that banger makes.
    pub ssh_key_path: Setting<Option<PathBuf>>,
    /// How long a VM may take to become ready with hardware virtualisation.
    pub ready_timeout: Setting<Duration>,
    /// How long a VM may be idle before it is stopped, where it does not say itself; absent for
    /// ever.
    pub idle_stop_after: Setting<Option<Period>>,
    /// Whether VMs begin as copies of one that has booted, which is made in the background for every image,
    /// kernel and size when a VM first needs it, and takes as much room as its guest uses.
    pub warm_starts: Setting<bool>,
    /// How long a VM may be idle before it is paused, where it does not say itself; absent for ever.
    pub idle_pause_after: Setting<Option<Period>>,
    /// How VMs get a network.
    pub network: Setting<NetworkChoice>,
    /// What the bridge is called in a network of the user's own.
    pub bridge_name: Setting<BridgeName>,
    /// The network of VMs; absent for a free one.
    pub subnet: Setting<Option<Subnet>>,
    /// Where names of VMs are answered on this host; absent for nowhere.
    pub dns_listen: Setting<Option<SocketAddr>>,
    /// What VMs are like that do not say themselves.
    pub vm_defaults: VmDefaults,
    /// What every VM gets a copy of at each start.
    pub file_sync: Vec<FileSync>,
}

/// What VMs are like that do not say themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct VmDefaults {
    /// Virtual processors.
    pub vcpu: Setting<u32>,
    /// Memory, whole MiB.
    pub memory: Setting<ByteSize>,
    /// Size of the writable disk.
    pub disk_size: Setting<ByteSize>,
    /// Whether it may reach the outside.
    pub nat: Setting<bool>,
}

/// The configuration file's values and what is odd about it. A file that does not exist is an
/// empty one.
///
/// # Errors
/// When the file cannot be read, or is wrong; see [`parse_config`].
pub fn load_config(path: &Path) -> Result<(ConfigFile, Vec<String>), ConfigError> {
    match fs_err::read_to_string(path) {
        Ok(text) => parse_config(&text, path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Default::default()),
        Err(error) => Err(ConfigError::Read(error)),
    }
}

/// Every value as it is on this host, for somebody with this home, and what is odd about the file.
///
/// # Errors
/// As [`load_config`], and when an entry of a list makes no sense.
pub fn load_resolved(
    path: &Path,
    home: Option<&Path>,
    host: HostFacts,
) -> Result<(Config, Vec<String>), ConfigError> {
    let (file, warnings) = load_config(path)?;
    let file_sync = plan_file_sync(&file.file_sync, home, path)?;
    Ok((Config { file_sync, ..resolve(file, host) }, warnings))
}
