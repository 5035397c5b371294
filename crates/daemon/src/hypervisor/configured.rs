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
use super::firecracker::Firecracker;
use super::firecracker::version::KnownVersion;
use super::qemu::{Qemu, QemuOptions};
use super::{Features, Found, Hypervisor, HypervisorError, RunningVm, Supervision, VmmSpec};
use crate::config::{AccelChoice, Config, VmmChoice};
use crate::exec::HostEnv;
use crate::step::Walk;

/// Firecracker or QEMU: the one that is asked for, else Firecracker where it is and KVM is usable.
#[derive(Debug)]
pub struct ConfiguredHypervisor {
    vmm: VmmChoice,
    accel: Option<Accel>,
    firecracker_bin: Option<PathBuf>,
    firecracker_version: Arc<KnownVersion>,
    qemu_bin: Option<PathBuf>,
    env: HostEnv,
    supervision: Supervision,
}

impl ConfiguredHypervisor {
    /// The hypervisor of `config`, with programs found in `env`, and
    /// `supervisor`, the banger executable, to start supervisors from. Their VMMs are in jails that
    /// `helper` makes.
    #[must_use]
    pub fn new(
        config: &Config,
        env: HostEnv,
        paths: Paths,
        supervisor: PathBuf,
        helper: PathBuf,
    ) -> Self {
        let accel = match config.accel.value {
            AccelChoice::Auto => None,
            AccelChoice::Kvm => Some(Accel::Kvm),
            AccelChoice::Tcg => Some(Accel::Tcg),
        };
        let vmm = config.vmm.value;
        let firecracker_bin = config.firecracker_bin.value.clone();
        let qemu_bin = config.qemu_bin.value.clone();
        // What the daemon's service starts would else end with it.
        let scope_helper = paths.is_serviced().then(|| SYSTEM_SOCKET.into());
        let supervision =
            Supervision { paths, program: supervisor, helper: Some(helper), scope_helper };
        let firecracker_version = Arc::default();
        Self { vmm, accel, firecracker_bin, firecracker_version, qemu_bin, env, supervision }
    }

    /// The VMM as it can be launched now.
    fn find(&self) -> Result<Box<dyn Hypervisor>, HypervisorError> {
        let host = detect::observe_host();
        let accel = detect::detect(self.accel, &host)?;
        if self.vmm == VmmChoice::Firecracker && accel != Accel::Kvm {
            let reason = host.kvm_usable().err();
            let reason = reason.unwrap_or_else(|| "`accel = \"tcg\"` forbids it".to_owned());
            return Err(HypervisorError::new(format!(
                "Firecracker was asked for (`vmm = \"firecracker\"`), and it needs KVM: {reason}; \
                 use `vmm = \"auto\"`"
            )));
        }
        let firecracker = self.find_firecracker();
        if detect::is_firecracker(self.vmm, accel, firecracker.is_ok()) {
            let (env, version) = (self.env.clone(), Arc::clone(&self.firecracker_version));
            let supervision = self.supervision.clone();
            return Ok(Box::new(Firecracker::known(firecracker?, env, version, supervision)));
        }
        let program = detect::find_qemu(self.qemu_bin.as_deref(), &self.env)?;
        Ok(Box::new(self.qemu(program, accel, host.cpu.tsc_khz)))
    }

    fn find_firecracker(&self) -> Result<PathBuf, HypervisorError> {
        detect::find_firecracker(self.firecracker_bin.as_deref(), &self.env)
    }

    fn qemu(&self, program: PathBuf, accel: Accel, host_khz: Option<u32>) -> Qemu {
        Qemu::new(QemuOptions { program, accel, supervision: self.supervision.clone(), host_khz })
    }
}

impl Hypervisor for ConfiguredHypervisor {
    fn features(&self) -> Features {
        // What cannot be launched is refused then; until then it is described as it was asked.
        let wanted = self.accel.unwrap_or(Accel::Tcg);
        let host = detect::observe_host();
        let accel = detect::detect(self.accel, &host).unwrap_or(wanted);
        if detect::is_firecracker(self.vmm, accel, self.find_firecracker().is_ok()) {
            return Firecracker::describe();
        }
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

    fn saved_with(&self) -> Result<String, HypervisorError> {
        self.find()?.saved_with()
    }

    fn adopt<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<Found, HypervisorError>> {
        self.supervision.adopt(vm).boxed()
    }

    fn clean<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<(), HypervisorError>> {
        self.supervision.clean(vm).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HostFacts, parse_config, resolve};

    #[test]
    fn firecracker_without_kvm_is_refused_with_what_does_without() {
        let text = "vmm = \"firecracker\"\naccel = \"tcg\"\n";
        let (file, _) = parse_config(text, "config.toml".as_ref()).unwrap();
        let config = resolve(file, HostFacts::default());
        let place = || PathBuf::from("/none");
        let paths = Paths {
            config_file: place(),
            state_dir: place(),
            data_dir: place(),
            cache_dir: place(),
            runtime_dir: place(),
        };
        let env = HostEnv::from_env(|_| None);
        let hypervisor = ConfiguredHypervisor::new(&config, env, paths, place(), place());
        let refused = hypervisor.check().unwrap_err().to_string();
        let told = "Firecracker was asked for (`vmm = \"firecracker\"`), and it needs KVM: ";
        assert!(refused.starts_with(told), "{refused}");
        assert!(refused.ends_with("; use `vmm = \"auto\"`"), "{refused}");
    }
}
