//! What a VMM is started with, and what a guest is told.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use banger_link::Magic;
use banger_proto::guest::{GuestConfig, InitChoice, SetClock};
use banger_proto::{Code, Problem};

use crate::engine::Host;
use crate::hypervisor::{CardSpec, DiskSpec, Saved, VmmSpec};
use crate::net::Card;
use crate::vm::plan::VmPlan;
use crate::vm::program;
use crate::vm::state::Base;

/// Serial of the image's disk, as the agent looks for it.
const BASE_SERIAL: &str = "base";
/// Serial of the VM's own disk.
pub(crate) const WRITABLE_SERIAL: &str = "writable";
/// Its place among the disks.
pub(crate) const WRITABLE_PLACE: u32 = 1;
/// Serial of the disk with the kernel's modules.
const MODULES_SERIAL: &str = "modules";
/// Serial of the disk of the image before.
const PREVIOUS_SERIAL: &str = "previous";

/// What a guest is made of besides its own disk.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// ELF kernel.
    pub(crate) kernel: PathBuf,
    /// Initramfs with the agent.
    pub(crate) initramfs: PathBuf,
    /// The kernel's modules.
    pub(crate) modules: Option<PathBuf>,
    /// The image.
    pub(crate) base: Base,
}

impl Parts {
    /// Those of a VM that was started before.
    ///
    /// # Errors
    /// When one of them is gone.
    pub(crate) async fn reopen(host: &Host, base: &Base) -> Result<Self, Problem> {
        let base = check_base(base)?;
        let directory = base.kernel.clone().ok_or_else(|| {
            let message = "this VM was made when kernels had no versions";
            Problem::new(Code::Conflict, message).hint("start it anew: banger vm restart")
        })?;
        let kernel = host.kernels.reopen(&directory).await?;
        let initramfs = host.ensure_initramfs(&kernel).await?;
        Ok(Self { kernel: kernel.vmlinux, initramfs, modules: kernel.loadable, base })
    }
}

/// The image a disk was made over must be the very same file ever after.
pub(super) fn check_base(base: &Base) -> Result<Base, Problem> {
    fs_err::metadata(&base.path).map(|_| base.clone()).map_err(|error| {
        Problem::new(Code::OperationFailed, "the image that this VM was made from is gone")
            .because(&error)
    })
}

/// The image file before, as long as it is there: a registered one may have been taken away, and
/// that must not keep the VM from starting.
fn previous_image(plan: &VmPlan) -> Option<PathBuf> {
    plan.previous.clone().filter(|path| path.exists())
}

/// What is a VMM's own.
#[derive(Debug)]
pub(crate) struct Own<'a> {
    /// The writable disk.
    pub(crate) disk: PathBuf,
    /// The console log.
    pub(crate) console_log: PathBuf,
    /// Its place on the network.
    pub(crate) card: Option<&'a Card>,
    /// What its guest goes on from.
    pub(crate) saved: Option<Saved>,
}

/// Renders what a VMM is started with.
///
/// # Errors
/// When the plan is damaged.
pub(crate) fn render_vmm_spec(
    plan: &VmPlan,
    parts: &Parts,
    own: Own<'_>,
) -> Result<VmmSpec, Problem> {
    let link_magic: Magic = plan
        .link_magic
        .parse()
        .map_err(|error| Problem::from_error(Code::OperationFailed, &error))?;
    Ok(VmmSpec {
        vm: plan.id.clone(),
        kernel: parts.kernel.clone(),
        initramfs: parts.initramfs.clone(),
        cmdline: plan.cmdline(),
        vcpu: plan.vcpu,
        memory_mib: plan.memory.mib(),
        disks: render_disks(plan, parts, own.disk),
        disk_limits: plan.disk_limits,
        link_magic,
        console_log: own.console_log,
        card: own.card.map(|card| CardSpec {
            tap: card.tap.clone(),
            mac: card.mac,
            entrance: card.entrance.clone(),
        }),
        saved: own.saved,
    })
}

/// The disks of a VM, by place; `own` is the writable one.
pub(crate) fn render_disks(plan: &VmPlan, parts: &Parts, own: PathBuf) -> Vec<DiskSpec> {
    let disk = |path, serial: &str, read_only| DiskSpec { path, serial: serial.into(), read_only };
    let mut disks =
        vec![disk(parts.base.path.clone(), BASE_SERIAL, true), disk(own, WRITABLE_SERIAL, false)];
    disks.extend(parts.modules.clone().map(|path| disk(path, MODULES_SERIAL, true)));
    disks.extend(previous_image(plan).map(|path| disk(path, PREVIOUS_SERIAL, true)));
    disks
}

/// Renders what a guest is told when it boots.
///
/// # Errors
/// When there is no randomness, or no program to run.
pub(crate) fn render_guest_config(plan: &VmPlan, parts: &Parts) -> Result<GuestConfig, Problem> {
    let SetClock { clock_unix_nanos, random_seed } = render_clock()?;
    let run = &parts.base.run;
    Ok(GuestConfig {
        hostname: plan.name.to_string(),
        machine_id: plan.machine_id.clone(),
        clock_unix_nanos,
        random_seed,
        env: program::plan_env(plan, run),
        working_dir: program::working_dir(run),
        service: program::plan_service(plan, run)?,
        extra_hosts: Vec::new(),
        ssh: None,
        network: None,
        init: InitChoice::Auto,
        base_serial: BASE_SERIAL.to_owned(),
        writable_serial: WRITABLE_SERIAL.to_owned(),
        modules_serial: parts.modules.as_ref().map(|_| MODULES_SERIAL.to_owned()),
        rebuild: plan.rebuilds,
        previous_serial: previous_image(plan).map(|_| PREVIOUS_SERIAL.to_owned()),
    })
}

/// Renders what a guest is told of time and randomness.
///
/// # Errors
/// When there is no randomness.
pub(crate) fn render_clock() -> Result<SetClock, Problem> {
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| Problem::from_error(Code::OperationFailed, &error))?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(SetClock {
        clock_unix_nanos: i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX),
        random_seed: seed.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}
