//! From what was asked to what will be done: everything decided, nothing touched.
//!
//! `CreateVm` + configuration + inventory + entropy → [`VmPlan`]. A request that is wrong in
//! itself is refused here, before anything is recorded.

mod error;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use banger_link::Magic;
use banger_proto::api::{
    Backend, CreateVm, Entrypoint, MAX_PUBLISHED, Publish, WaitFor, WorkspaceSource,
};
use banger_proto::guest::cmdline;
use banger_proto::helper::{DNS_PORT, MAX_HOST_PORTS};
use banger_proto::{ByteSize, Period, SnapshotName, VmId, VmName};
use serde::{Deserialize, Serialize};

pub use error::PlanError;

use super::memorable::plan_name;
use crate::config::Config;
use crate::hypervisor::{DiskLimits, Features};
use crate::net::Wishes;

/// Least memory in which kernel, agent and a shell work.
pub const MIN_MEMORY: ByteSize = ByteSize::from_mib(128);
/// Least writable disk: an ext4 with its journal, and some room.
pub const MIN_DISK: ByteSize = ByteSize::from_mib(64);
/// Largest writable disk: block numbers of 32 bits.
pub const MAX_DISK: ByteSize = ByteSize::from_mib(16 << 20);
/// Least bytes a second: with less, images with a system of their own do not boot in time.
pub const MIN_DISK_BANDWIDTH: ByteSize = ByteSize::from_mib(1);
/// Least reads and writes a second, for the same reason.
pub const MIN_DISK_IOPS: u32 = 100;
/// Bytes in a block of the disk's file system.
const DISK_BLOCK: u64 = 4096;
/// Most virtual processors that every backend takes (Firecracker's limit).
pub const MAX_VCPU: u32 = 32;

/// What the plan depends on besides request and configuration.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// Names that are taken.
    pub names: BTreeSet<String>,
    /// The kernel that the image asks for, as far as the image is known.
    pub image_kernel: Option<String>,
    /// What runs VMs here.
    pub backend: Features,
}

/// Fresh random bytes for everything in a plan that must be unique.
#[derive(Debug, Clone, Copy)]
pub struct Entropy {
    /// For the id.
    pub id: [u8; 6],
    /// For a generated name.
    pub name: u64,
    /// For `/etc/machine-id`.
    pub machine_id: [u8; 16],
    /// For the guest link.
    pub link_magic: [u8; 16],
}

/// Everything decided about a VM. Stored as JSON: add fields with `#[serde(default)]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmPlan {
    /// Identity.
    pub id: VmId,
    /// Name; also the guest's host name.
    pub name: VmName,
    /// Image name.
    pub image: String,
    /// Kernel name.
    pub kernel: String,
    /// Virtual processors, 1 to [`MAX_VCPU`].
    pub vcpu: u32,
    /// Memory, whole MiB, at least [`MIN_MEMORY`].
    pub memory: ByteSize,
    /// Size of the writable disk, at least [`MIN_DISK`].
    pub disk_size: ByteSize,
    /// How fast it may use each of its disks.
    #[serde(default, skip_serializing_if = "DiskLimits::is_none")]
    pub disk_limits: DiskLimits,
    /// What runs it.
    pub backend: Backend,
    /// What the user should know about the backend.
    pub remark: Option<String>,
    /// The VM's own environment, on top of the image's.
    pub env: BTreeMap<String, String>,
    /// Repository to bring in.
    pub workspace: Option<WorkspaceSource>,
    /// How the image's own program is used.
    #[serde(default)]
    pub entrypoint: Option<Entrypoint>,
    /// What ready means.
    pub wait: WaitFor,
    /// Whether it is made without booting it.
    #[serde(default)]
    pub no_start: bool,
    /// How long it may be idle before it is stopped; absent for ever.
    #[serde(default)]
    pub idle_stop: Option<Period>,
    /// How long it may be idle before it is paused; absent for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_pause: Option<Period>,
    /// Whether it is started when the host has started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub autostart: bool,
    /// 32 hexadecimal digits for `/etc/machine-id`.
    pub machine_id: String,
    /// Marker magic of the guest link, 32 hexadecimal digits.
    pub link_magic: String,
    /// Whether it reaches what lies beyond the host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nat: bool,
    /// Ports of the host's loopback address that it reaches.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub host_ports: BTreeSet<u16>,
    /// Ports of the host that lead to its ports.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub publish: BTreeSet<Publish>,
    /// Which of the network's addresses it has had and has again, as long as nobody else needs it:
    /// the `lease` of [`Subnet::guest`](banger_proto::Subnet::guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u32>,
    /// Ports that its guest listened at when it was paused, or stopped for idleness: who connects there
    /// wakes it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub listened: BTreeSet<u16>,
    /// How often it was given an image after it was made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rebuilds: u32,
    /// Whether it began as a copy of one that had booted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warm: bool,
    /// Snapshot that its disk is being replaced by; whoever starts the VM finishes that first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<SnapshotName>,
    /// The image file before, until a guest has begun its disk anew for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PathBuf>,
    /// What the guest that was started last has of all this; absent for one that was started
    /// before VMs could be changed, and has what was planned then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<InForce>,
}

/// What a running guest was given of what can be changed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Virtual processors.
    pub vcpu: u32,
    /// Memory.
    pub memory: ByteSize,
    /// Size of the writable disk.
    pub disk_size: ByteSize,
    /// How fast it may use each of its disks.
    #[serde(default, skip_serializing_if = "DiskLimits::is_none")]
    pub disk_limits: DiskLimits,
    /// The VM's own environment.
    pub env: BTreeMap<String, String>,
    /// Its address; absent where it was started without a network card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The image file before, if that is among its disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PathBuf>,
}

impl InForce {
    /// What a guest gets that is started now.
    pub(super) fn of(plan: &VmPlan) -> Self {
        let VmPlan { vcpu, memory, disk_size, disk_limits, ref env, ref previous, .. } = *plan;
        let (env, previous) = (env.clone(), previous.clone());
        Self { vcpu, memory, disk_size, disk_limits, env, address: None, previous }
    }
}

impl VmPlan {
    /// The plan of the guest that runs, without what waits for the next start.
    pub(crate) fn of_running(&self) -> Self {
        let Some(in_force) = &self.in_force else { return self.clone() };
        let InForce { vcpu, memory, disk_size, disk_limits, ref env, ref previous, .. } = *in_force;
        let (env, previous) = (env.clone(), previous.clone());
        Self { vcpu, memory, disk_size, disk_limits, env, previous, ..self.clone() }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Decides everything about a VM.
///
/// # Errors
/// When the request is wrong in itself or its name is taken.
pub fn plan_vm(
    asked: &CreateVm,
    config: &Config,
    inventory: &Inventory,
    entropy: Entropy,
) -> Result<VmPlan, PlanError> {
    let defaults = &config.vm_defaults;
    let vcpu = asked.vcpu.unwrap_or(defaults.vcpu.value);
    check_vcpu(vcpu)?;
    let memory = asked.memory.unwrap_or(defaults.memory.value);
    check_memory(memory)?;
    let disk_size = asked.disk_size.unwrap_or(defaults.disk_size.value);
    check_disk_size(disk_size)?;
    let disk_limits = DiskLimits { bandwidth: asked.disk_bandwidth, iops: asked.disk_iops };
    check_disk_limits(&disk_limits)?;
    check_env(&asked.env)?;
    check_host_ports(&asked.host_ports)?;
    check_publish(&asked.publish)?;
    if let Some(source) = &asked.workspace
        && !source.path.starts_with('/')
    {
        return Err(PlanError::WorkspacePath(source.path.clone()));
    }
    if asked.no_start
        && (asked.workspace.is_some() || asked.ephemeral || asked.wait == WaitFor::System)
    {
        return Err(PlanError::NeedsStart);
    }
    if asked.autostart && asked.ephemeral {
        return Err(PlanError::EphemeralAutostart);
    }
    let idle = |seconds: Option<u32>, configured: Option<Period>| match seconds {
        Some(seconds) if asked.ephemeral && seconds > 0 => Err(PlanError::EphemeralIdle),
        _ if asked.ephemeral => Ok(None),
        Some(seconds) => Ok(Period::try_from(seconds).ok()),
        None => Ok(configured),
    };
    let idle_stop = idle(asked.idle_stop_seconds, config.idle_stop_after.value)?;
    let idle_pause = idle(asked.idle_pause_seconds, config.idle_pause_after.value)?;
    let taken = |name: &str| inventory.names.contains(name);
    let name = match &asked.name {
        Some(name) if taken(name.as_str()) => return Err(PlanError::NameTaken(name.clone())),
        Some(name) => name.clone().for_new_vm()?,
        None => plan_name(entropy.name, taken).ok_or(PlanError::NoName)?,
    };
    let kernel = [asked.kernel.as_ref(), inventory.image_kernel.as_ref()]
        .into_iter()
        .flatten()
        .next()
        .unwrap_or(&config.default_kernel_name.value);
    Ok(VmPlan {
        id: VmId::from_random(entropy.id),
        name,
        image: image_name(asked, config).to_owned(),
        kernel: kernel.clone(),
        vcpu,
        memory,
        disk_size,
        disk_limits,
        backend: Backend {
            vmm: inventory.backend.vmm.clone(),
            accel: inventory.backend.accel.clone(),
        },
        remark: inventory.backend.remark.clone(),
        env: asked.env.clone(),
        workspace: asked.workspace.clone(),
        entrypoint: asked.entrypoint.clone(),
        wait: asked.wait,
        no_start: asked.no_start,
        idle_stop,
        idle_pause,
        autostart: asked.autostart,
        machine_id: render_machine_id(entropy.machine_id),
        link_magic: Magic::from_bytes(entropy.link_magic).to_string(),
        nat: asked.nat.unwrap_or(defaults.nat.value),
        host_ports: asked.host_ports.clone(),
        publish: asked.publish.clone(),
        lease: None,
        listened: BTreeSet::new(),
        rebuilds: 0,
        warm: false,
        restoring: None,
        previous: None,
        in_force: None,
    })
}

/// The plan of a copy of a VM that runs: another one, with all that it has but what only one can have.
pub(crate) fn plan_copy(of: &VmPlan, name: VmName, entropy: Entropy) -> VmPlan {
    VmPlan {
        id: VmId::from_random(entropy.id),
        name,
        machine_id: render_machine_id(entropy.machine_id),
        workspace: None,
        no_start: false,
        autostart: false,
        publish: BTreeSet::new(),
        lease: None,
        in_force: None,
        ..of.clone()
    }
}

/// Whether a VM can have so many processors.
pub(super) fn check_vcpu(vcpu: u32) -> Result<(), PlanError> {
    if (1..=MAX_VCPU).contains(&vcpu) { Ok(()) } else { Err(PlanError::Vcpu(vcpu)) }
}

/// Whether a VM can have so much memory.
pub(super) fn check_memory(memory: ByteSize) -> Result<(), PlanError> {
    match memory {
        _ if memory < MIN_MEMORY => Err(PlanError::Memory(memory)),
        _ if ByteSize::from_mib(memory.mib()) != memory => Err(PlanError::MemoryFraction(memory)),
        _ => Ok(()),
    }
}

/// Whether a VM can have such a disk.
pub(super) fn check_disk_size(size: ByteSize) -> Result<(), PlanError> {
    match size {
        _ if size < MIN_DISK => Err(PlanError::Disk(size)),
        _ if size >= MAX_DISK => Err(PlanError::DiskTooLarge(size)),
        _ if !size.bytes().is_multiple_of(DISK_BLOCK) => Err(PlanError::DiskFraction(size)),
        _ => Ok(()),
    }
}

/// Whether a VM can do with such limits.
pub(super) fn check_disk_limits(limits: &DiskLimits) -> Result<(), PlanError> {
    match *limits {
        DiskLimits { bandwidth: Some(asked), .. } if asked < MIN_DISK_BANDWIDTH => {
            Err(PlanError::DiskBandwidth(asked))
        }
        DiskLimits { iops: Some(asked), .. } if asked < MIN_DISK_IOPS => {
            Err(PlanError::DiskIops(asked))
        }
        _ => Ok(()),
    }
}

/// Whether an environment can hold these.
pub(super) fn check_env(env: &BTreeMap<String, String>) -> Result<(), PlanError> {
    env.iter().try_for_each(|(name, value)| {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(PlanError::EnvName(name.clone()));
        }
        if value.contains('\0') {
            return Err(PlanError::EnvValue(name.clone()));
        }
        Ok(())
    })
}

/// Whether a VM can be let reach these ports of the host.
fn check_host_ports(ports: &BTreeSet<u16>) -> Result<(), PlanError> {
    if ports.len() > MAX_HOST_PORTS {
        return Err(PlanError::HostPorts(ports.len()));
    }
    let wrong = ports.iter().find(|port| matches!(**port, 0 | DNS_PORT));
    wrong.map_or(Ok(()), |port| Err(PlanError::HostPort(*port)))
}

/// Whether these ports of the host can lead to one VM.
fn check_publish(asked: &BTreeSet<Publish>) -> Result<(), PlanError> {
    if asked.len() > MAX_PUBLISHED {
        return Err(PlanError::Published(asked.len()));
    }
    let mut endpoints = BTreeSet::new();
    asked.iter().try_for_each(|publish| match publish {
        Publish { host: 0, .. } | Publish { guest: 0, .. } => {
            Err(PlanError::PublishedPort(*publish))
        }
        _ if !endpoints.insert(publish.endpoint()) => {
            Err(PlanError::PublishedTwice(publish.endpoint()))
        }
        _ => Ok(()),
    })
}

/// Name of the image that a request means.
#[must_use]
pub fn image_name<'a>(asked: &'a CreateVm, config: &'a Config) -> &'a str {
    asked.image.as_deref().unwrap_or(&config.default_image_name.value)
}

/// A machine id is a random (version 4) UUID without hyphens (machine-id(5)).
fn render_machine_id(mut random: [u8; 16]) -> String {
    random[6] = (random[6] & 0x0f) | 0x40;
    random[8] = (random[8] & 0x3f) | 0x80;
    Magic::from_bytes(random).to_string()
}

impl VmPlan {
    /// The line that tells what the VM will be:
    /// `4 vcpu | 8192 MiB | 8G disk | qemu (no KVM: software emulation, …)`.
    #[must_use]
    pub fn render_spec(&self) -> String {
        let remark = self.remark.as_ref().map(|remark| format!(" ({remark})"));
        format!(
            "{} vcpu | {} MiB | {} disk | {}{}",
            self.vcpu,
            self.memory.mib(),
            self.disk_size,
            self.backend.vmm,
            remark.unwrap_or_default()
        )
    }

    /// How fast it may use its disks: `100M and 2000 operations a second`.
    fn render_limits(&self) -> Option<String> {
        let DiskLimits { bandwidth, iops } = self.disk_limits;
        let bandwidth = bandwidth.map(|bandwidth| bandwidth.to_string());
        let iops = iops.map(|iops| format!("{iops} operations"));
        let limits: Vec<_> = bandwidth.into_iter().chain(iops).collect();
        (!limits.is_empty()).then(|| format!("{} a second", limits.join(" and ")))
    }

    /// The plan as labels and values, for reading.
    #[must_use]
    pub fn render_rows(&self) -> Vec<(String, String)> {
        let rows = [
            ("name", self.name.to_string()),
            ("image", self.image.clone()),
            ("kernel", self.kernel.clone()),
            ("spec", self.render_spec()),
        ];
        let workspace = self.workspace.as_ref().map(|source| ("workspace", source.path.clone()));
        let nat = self.nat.then(|| ("network", "reaches what lies beyond the host".to_owned()));
        let ports = self.host_ports.iter().map(|port| ("host port", port.to_string()));
        let published = self.publish.iter().map(|publish| {
            ("published", format!("{} leads to port {}", publish.endpoint(), publish.guest))
        });
        let after = |period: Period| format!("after {period}");
        let idle = [("idle pause", self.idle_pause), ("idle stop", self.idle_stop)];
        let idle = idle.into_iter().filter_map(|(what, period)| Some((what, after(period?))));
        let limits = self.render_limits().map(|limits| ("disk limits", limits));
        let autostart = self.autostart.then(|| ("autostart", "with the host".to_owned()));
        let env = self.env.iter().map(|(name, value)| ("env", format!("{name}={value}")));
        let program = self.entrypoint.as_ref().map(|entrypoint| {
            let how = match entrypoint {
                Entrypoint::Attached => "the image's own, as the command",
                Entrypoint::Service(_) => "the image's own, as a service",
            };
            ("program", how.to_owned())
        });
        rows.into_iter()
            .chain(limits)
            .chain(workspace)
            .chain(program)
            .chain(nat)
            .chain(ports)
            .chain(published)
            .chain(idle)
            .chain(autostart)
            .chain(env)
            .map(|(label, value)| (label.to_owned(), value))
            .collect()
    }

    /// What the VM may reach besides other VMs.
    #[must_use]
    pub fn wishes(&self) -> Wishes {
        Wishes { nat: self.nat, host_ports: self.host_ports.clone() }
    }

    /// The kernel command line of the product; the backend adds what its machine needs.
    ///
    /// Console output is slow under emulation, so the kernel and systemd say only what is
    /// wrong; a panic ends the VM instead of leaving it hanging. The network card keeps the kernel's
    /// name for it, `eth0`, by which the agent and the image's network managers know it.
    #[must_use]
    pub fn cmdline(&self) -> Vec<String> {
        let fixed = ["quiet", "loglevel=3", "panic=-1", "net.ifnames=0"];
        let systemd = ["systemd.show_status=0", "systemd.log_level=warning"];
        fixed
            .into_iter()
            .chain(systemd)
            .map(str::to_owned)
            .chain([format!("{}={}", cmdline::LINK, self.link_magic)])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::{Code, Problem};

    use super::*;
    use crate::config::{ConfigFile, HostFacts, resolve};
    use crate::hypervisor::GuestMachine;

    fn config() -> Config {
        resolve(
            ConfigFile::default(),
            HostFacts { cpus: Some(16), memory: Some(ByteSize::from_mib(64 << 10)) },
        )
    }

    fn inventory() -> Inventory {
        Inventory {
            names: BTreeSet::from(["web".to_owned()]),
            image_kernel: None,
            backend: Features {
                vmm: "qemu".into(),
                accel: "tcg".into(),
                remark: Some("no KVM: software emulation, expect 10-30x slower CPU".into()),
                slowness: 6,
                machine: GuestMachine::Microvm,
            },
        }
    }

    const ENTROPY: Entropy = Entropy {
        id: [0, 0x11, 0x22, 0x33, 0x44, 0x55],
        name: 0x0123_4567_89ab_cdef,
        machine_id: [0xff; 16],
        link_magic: [0xab; 16],
    };

    fn plan(asked: &CreateVm) -> Result<VmPlan, String> {
        plan_vm(asked, &config(), &inventory(), ENTROPY).map_err(|error| error.to_string())
    }

    fn publish(text: &str) -> Publish {
        text.parse().unwrap()
    }

    #[test]
    fn a_bare_request_takes_the_defaults() {
        let plan = plan(&CreateVm::default()).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&plan).unwrap());
        insta::assert_snapshot!(plan.render_spec());
        insta::assert_snapshot!(plan.cmdline().join(" "));
    }

    #[test]
    fn the_kernel_is_the_requests_then_the_images_then_the_default() {
        let mut asked = CreateVm::default();
        let mut inventory = inventory();
        let mut kernel = |asked: &CreateVm, of_image: Option<&str>| {
            inventory.image_kernel = of_image.map(str::to_owned);
            plan_vm(asked, &config(), &inventory, ENTROPY).unwrap().kernel
        };
        assert_eq!(kernel(&asked, None), config().default_kernel_name.value);
        assert_eq!(kernel(&asked, Some("of-image")), "of-image");
        asked.kernel = Some("mine".into());
        assert_eq!(kernel(&asked, Some("of-image")), "mine");
    }

    #[test]
    fn refuses_what_cannot_work() {
        let base = CreateVm::default;
        let mib = |n| Some(ByteSize::from_mib(n));
        let refused = [
            CreateVm { memory: mib(1), ..base() },
            CreateVm { memory: Some(ByteSize::from_bytes((256 << 20) + 1)), ..base() },
            CreateVm { vcpu: Some(0), ..base() },
            CreateVm { vcpu: Some(33), ..base() },
            CreateVm { disk_size: mib(63), ..base() },
            CreateVm { disk_size: Some(ByteSize::from_bytes((64 << 20) + 1)), ..base() },
            CreateVm { disk_size: Some(MAX_DISK), ..base() },
            CreateVm { disk_bandwidth: Some(ByteSize::from_bytes((1 << 20) - 1)), ..base() },
            CreateVm { disk_iops: Some(99), ..base() },
            CreateVm { name: Some("web".parse().unwrap()), ..base() },
            CreateVm { name: Some("host".parse().unwrap()), ..base() },
            CreateVm { env: BTreeMap::from([("A=B".into(), String::new())]), ..base() },
            CreateVm { env: BTreeMap::from([("A".into(), "\0".into())]), ..base() },
            CreateVm { publish: [publish("80:80"), publish("80:81")].into(), ..base() },
            CreateVm { publish: [Publish { guest: 0, ..publish("80:80") }].into(), ..base() },
            CreateVm {
                publish: (1..=65).map(|host| Publish { host, ..publish("80:80") }).collect(),
                ..base()
            },
            CreateVm {
                workspace: Some(WorkspaceSource {
                    path: "repo".into(),
                    ..WorkspaceSource::default()
                }),
                ..base()
            },
        ];
        let messages: Vec<_> = refused.iter().map(|asked| plan(asked).unwrap_err()).collect();
        insta::assert_snapshot!(messages.join("\n"));
    }

    #[test]
    fn a_bare_number_that_is_too_small_gets_a_hint() {
        let problem = Problem::from(PlanError::Memory(ByteSize::from_mib(1)));
        assert_eq!(problem.code, Code::BadRequest);
        assert_eq!(problem.hints, ["a bare number means MiB; write 1G for a gibibyte"]);
    }
}
