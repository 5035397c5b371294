//! The hypervisor that the configuration asks for.
//!
//! What the host offers is looked at anew for every launch: a QEMU installed while the daemon
//! runs is used, one removed is missed with a message that says so. VMs that run are adopted
//! and cleaned up after without any of it.

use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::helper::SYSTEM_SOCKET;
use banger_proto::{Paths, VmId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::detect::{self, Accel, QEMU_PROGRAM};
use super::qemu::{Qemu, QemuOptions};
use super::{Features, Found, Hypervisor, HypervisorError, RunningVm, VmmSpec};
use crate::config::{AccelChoice, Config, VmmChoice};
use crate::exec::HostEnv;
use crate::step::Walk;

/// QEMU as configured.
#[derive(Debug)]
pub struct ConfiguredHypervisor {
    vmm: VmmChoice,
    accel: Option<Accel>,
    qemu_bin: Option<PathBuf>,
    env: HostEnv,
    paths: Paths,
    supervisor: PathBuf,
}

impl ConfiguredHypervisor {
    /// The hypervisor of `config`, with programs found in `env`, and
    /// `supervisor`, the banger executable, to start supervisors from.
    #[must_use]
    pub fn new(config: &Config, env: HostEnv, paths: Paths, supervisor: PathBuf) -> Self {
        let accel = match config.accel.value {
            AccelChoice::Auto => None,
            AccelChoice::Kvm => Some(Accel::Kvm),
            AccelChoice::Tcg => Some(Accel::Tcg),
        };
        let vmm = config.vmm.value;
        let qemu_bin = config.qemu_bin.value.clone();
        Self { vmm, accel, qemu_bin, env, paths, supervisor }
    }

    /// QEMU as it can be launched now.
    fn find(&self) -> Result<Qemu, HypervisorError> {
        if self.vmm == VmmChoice::Firecracker {
            let message = "Firecracker was asked for (`vmm = \"firecracker\"`), \
                           which this build cannot drive; use `vmm = \"auto\"`";
            return Err(HypervisorError::new(message));
        }
        let host = detect::observe_host();
        let accel = detect::detect(self.accel, &host)?;
        let program = detect::find_qemu(self.qemu_bin.as_deref(), &self.env)?;
        Ok(self.qemu(program, accel, host.cpu.tsc_khz))
    }

    /// QEMU for what needs neither its program nor the processor.
    fn any(&self) -> Qemu {
        self.qemu(QEMU_PROGRAM.into(), self.accel.unwrap_or(Accel::Tcg), None)
    }

    fn qemu(&self, program: PathBuf, accel: Accel, host_khz: Option<u32>) -> Qemu {
        let (paths, supervisor) = (self.paths.clone(), self.supervisor.clone());
        // What the daemon's service starts would else end with it.
        let scope_helper = paths.is_serviced().then(|| SYSTEM_SOCKET.into());
        Qemu::new(QemuOptions { program, accel, paths, supervisor, scope_helper, host_khz })
    }
}

impl Hypervisor for ConfiguredHypervisor {
    fn features(&self) -> Features {
        // What cannot be launched is refused then; until then it is described as it was asked.
        let wanted = self.accel.unwrap_or(Accel::Tcg);
        let host = detect::observe_host();
        let accel = detect::detect(self.accel, &host).unwrap_or(wanted);
        self.qemu(QEMU_PROGRAM.into(), accel, host.cpu.tsc_khz).features()
    }

    fn check(&self) -> Result<(), HypervisorError> {
        self.find().map(drop)
    }

    fn launch<'a>(
        &'a self,
        spec: &'a VmmSpec,
        walk: &'a Walk,
    ) -> BoxFuture<'a, Result<Arc<dyn RunningVm>, HypervisorError>> {
        async { self.find()?.launch(spec, walk).await }.boxed()
    }

    fn adopt<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<Found, HypervisorError>> {
        async { self.any().adopt(vm).await }.boxed()
    }

    fn clean<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<(), HypervisorError>> {
        async { self.any().clean(vm).await }.boxed()
    }
}
