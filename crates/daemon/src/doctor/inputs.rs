//! What the checks look at.

use std::path::PathBuf;

use banger_proto::api::{DnsStatus, Garbage, NetworkStatus};
use banger_proto::helper::{Observed, ProbeReport};
use banger_proto::{Paths, Problem};

use crate::artifact::mmdebstrap::find_user_name;
use crate::config::{AccelChoice, NetworkChoice, VmmChoice};
use crate::exec::HostEnv;

/// What the checks look at, handed in by whoever runs them.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Environment of host programs.
    pub env: HostEnv,
    /// banger's own places.
    pub paths: Paths,
    /// The host.
    pub host: HostFacts,
    /// QEMU as configured, when it is.
    pub qemu: Option<PathBuf>,
    /// Firecracker as configured; absent to look for it on the search path.
    pub firecracker: Option<PathBuf>,
    /// How VMs are to be accelerated.
    pub accel: AccelChoice,
    /// The agent that VMs boot with.
    pub agent: PathBuf,
    /// The image that VMs get when nobody names one.
    pub image: DefaultItem,
    /// The kernel that VMs get when nobody names one.
    pub kernel: DefaultItem,
    /// What belongs to no VM, or why that is not known.
    pub garbage: Result<Garbage, Problem>,
    /// What VMs are made with when nobody says otherwise.
    pub defaults: Vec<DefaultValue>,
    /// Whether names of VMs are answered.
    pub dns: DnsStatus,
    /// Which VMM is to run VMs.
    pub vmm: VmmChoice,
    /// The network of VMs.
    pub network: NetworkFacts,
}

/// The network of VMs.
#[derive(Debug, Clone)]
pub struct NetworkFacts {
    /// As configured.
    pub choice: NetworkChoice,
    /// Whether VMs reach what lies beyond the host when nobody says otherwise.
    pub nat_by_default: bool,
    /// The program that changes networks.
    pub helper: PathBuf,
    /// What that found when it tried everything, or why it did not.
    pub probe: Result<ProbeReport, String>,
    /// How it is now.
    pub status: NetworkStatus,
    /// What the system's service sees, or why it does not answer; none where VMs are in a network of the
    /// user's own.
    pub service: Option<Result<Observed, String>>,
}

/// The host: who asks, and where the system keeps what the checks read.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Machine type as `uname -m` says it.
    pub machine: String,
    /// The user's id.
    pub uid: u32,
    /// The user's name, when known.
    pub user: Option<String>,
    /// `/dev/kvm`.
    pub kvm: PathBuf,
    /// `/dev/net/tun`.
    pub tun: PathBuf,
    /// `/proc/cpuinfo`.
    pub cpuinfo: PathBuf,
    /// `/proc/sys`.
    pub sysctl: PathBuf,
    /// `/etc`, for `os-release`, `subuid` and `subgid`.
    pub etc: PathBuf,
}

/// A default image or kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultItem {
    /// Its name.
    pub name: String,
    /// Whether it can be used.
    pub availability: Availability,
}

/// Whether something can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It is here.
    Local,
    /// It is here, and getting it again brings more; the text is a fragment that says what it lacks.
    Outdated(String),
    /// It is obtained at first use; the text is a fragment that says how.
    Obtainable(String),
    /// Neither; the text is a fragment that says why.
    Missing(String),
    /// That could not be found out; the text says why.
    Unknown(String),
}

/// A default value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultValue {
    /// What it is for: `vcpu`.
    pub name: String,
    /// The value as it is shown.
    pub value: String,
    /// `config`, `auto` or `builtin`.
    pub origin: String,
}

impl HostFacts {
    /// The host this program runs on.
    #[must_use]
    pub fn observe() -> Self {
        let uid = rustix::process::getuid().as_raw();
        // A file that cannot be read is one that does not know the user.
        let passwd = fs_err::read_to_string("/etc/passwd").unwrap_or_default();
        Self {
            machine: rustix::system::uname().machine().to_string_lossy().into_owned(),
            uid,
            user: find_user_name(&passwd, uid).map(str::to_owned),
            kvm: "/dev/kvm".into(),
            tun: "/dev/net/tun".into(),
            cpuinfo: "/proc/cpuinfo".into(),
            sysctl: "/proc/sys".into(),
            etc: "/etc".into(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// A host in a directory, on which everything is as it should be.
    pub(in crate::doctor) struct Host {
        directory: tempfile::TempDir,
        pub(in crate::doctor) inputs: Inputs,
    }

    impl Host {
        pub(in crate::doctor) fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let at = |path: &str| directory.path().join(path);
            let (bin, home) = (at("bin").into_os_string(), at("home").into_os_string());
            let inputs = Inputs {
                env: HostEnv::from_env(|name| match name {
                    "PATH" => Some(bin.clone()),
                    "HOME" => Some(home.clone()),
                    _ => None,
                }),
                paths: Paths {
                    config_file: at("config/config.toml"),
                    state_dir: at("state"),
                    data_dir: at("data"),
                    cache_dir: at("cache"),
                    runtime_dir: at("run/banger"),
                },
                host: HostFacts {
                    machine: "x86_64".into(),
                    uid: rustix::process::getuid().as_raw(),
                    user: Some("user".into()),
                    kvm: at("kvm"),
                    tun: at("tun"),
                    cpuinfo: at("cpuinfo"),
                    sysctl: at("sys"),
                    etc: at("etc"),
                },
                qemu: None,
                firecracker: None,
                accel: AccelChoice::Auto,
                agent: at("banger-agent"),
                image: DefaultItem { name: "img".into(), availability: Availability::Local },
                kernel: DefaultItem { name: "krn".into(), availability: Availability::Local },
                garbage: Ok(Garbage::default()),
                defaults: Vec::new(),
                dns: DnsStatus { listen: Some("127.0.0.1:42069".into()), problem: None },
                vmm: VmmChoice::Auto,
                network: NetworkFacts {
                    choice: NetworkChoice::Auto,
                    nat_by_default: false,
                    helper: at("banger-helper"),
                    probe: Ok(ProbeReport::default()),
                    status: NetworkStatus::default(),
                    service: None,
                },
            };
            let host = Self { directory, inputs };
            host.write("kvm", "");
            host.write("cpuinfo", "processor\t: 0\nflags\t\t: fpu vmx sse\n");
            host.write("banger-agent", b"\x7fELF...");
            host.write("etc/os-release", "ID=debian\n");
            host.write("etc/subuid", "user:100000:65536\n");
            host.write("etc/subgid", "user:100000:65536\n");
            host.program("qemu-system-x86_64", "echo 'QEMU emulator version 8.2.0 (x)'");
            host.write("banger-helper", b"\x7fELF...");
            host.program("pasta", "echo 'pasta 2026_05_01'");
            host.program("ssh", "");
            host.program("git", "echo git version 2.47.3");
            host.program("mmdebstrap", "echo mmdebstrap 1.3.5");
            host.program("newuidmap", "");
            host.program("newgidmap", "");
            host
        }

        pub(in crate::doctor) fn path(&self, path: &str) -> PathBuf {
            self.directory.path().join(path)
        }

        pub(in crate::doctor) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
            let path = self.path(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }

        pub(in crate::doctor) fn set_mode(&self, path: &str, mode: u32) {
            let mode = std::fs::Permissions::from_mode(mode);
            fs_err::set_permissions(self.path(path), mode).unwrap();
        }

        /// Puts a shell script on the search path. A shell writes it: were it open for writing
        /// here, a child that another test forks at this moment would hold it open, too, and the
        /// script could not be started (`ETXTBSY`).
        pub(in crate::doctor) fn program(&self, name: &str, script: &str) {
            let path = self.path("bin").join(name);
            fs_err::create_dir_all(self.path("bin")).unwrap();
            let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
            let mut shell = std::process::Command::new("sh");
            let written = shell.args(["-c", write, "sh"]).arg(path).arg(script).status();
            assert!(written.unwrap().success());
        }

        pub(in crate::doctor) fn remove(&self, path: &str) {
            let path: &Path = &self.path(path);
            fs_err::remove_file(path).unwrap();
        }
    }
}
