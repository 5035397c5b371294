//! QEMU as a VMM.
//!
//! | module | responsible for |
//! |---|---|
//! | `command` | the command line (pure) |
//! | `launch` | starting a supervisor, so that a start given up half-way leaves nothing |
//! | `handle` | a VM that runs, through its supervisor's sockets |
//! | `leftovers` | what an earlier life of the daemon left: adopting and cleaning |
//! | `qmp` | QEMU's control protocol, spoken by the supervisor |

mod command;
mod handle;
mod launch;
mod leftovers;
pub(crate) mod qmp;

use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::{Paths, VmId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::detect::Accel;
use super::{Features, Found, Hypervisor, HypervisorError, RunningVm, VmmSpec};
use crate::step::Walk;

/// How much longer than with KVM a boot may take in software.
const TCG_SLOWNESS: u32 = 6;

/// What [`Qemu`] needs to know.
#[derive(Debug, Clone)]
pub struct QemuOptions {
    /// QEMU's program.
    pub program: PathBuf,
    /// How guests are executed.
    pub accel: Accel,
    /// Where VMs are.
    pub paths: Paths,
    /// The program that is started as supervisor: the banger executable.
    pub supervisor: PathBuf,
    /// Socket of the helper that gives each supervisor a scope of its own, where the daemon is a
    /// service of the system.
    pub scope_helper: Option<PathBuf>,
    /// Frequency of the host's time stamp counter in kHz
    /// ([`CpuInfo::tsc_khz`](super::detect::CpuInfo::tsc_khz)); without it guests in software
    /// get a machine that boots a little slower.
    pub host_khz: Option<u32>,
}

impl QemuOptions {
    /// What of this the command line depends on.
    fn machine(&self) -> command::Machine<'_> {
        let Self { program, accel, host_khz, .. } = self;
        command::Machine { program, accel: *accel, host_khz: *host_khz }
    }
}

/// VMs run by QEMU.
#[derive(Debug)]
pub struct Qemu {
    options: QemuOptions,
}

impl Qemu {
    /// VMs run as `options` say.
    #[must_use]
    pub fn new(options: QemuOptions) -> Self {
        Self { options }
    }
}

impl Hypervisor for Qemu {
    fn features(&self) -> Features {
        let (remark, slowness) = match self.options.accel {
            Accel::Kvm => (None, 1),
            Accel::Tcg => {
                let remark = "no KVM: software emulation, expect 10-30x slower CPU";
                (Some(remark.to_owned()), TCG_SLOWNESS)
            }
        };
        let accel = self.options.accel.as_str().to_owned();
        let machine = command::guest_machine(self.options.machine());
        Features { vmm: "qemu".to_owned(), accel, remark, slowness, machine }
    }

    fn launch<'a>(
        &'a self,
        spec: &'a VmmSpec,
        walk: &'a Walk,
    ) -> BoxFuture<'a, Result<Arc<dyn RunningVm>, HypervisorError>> {
        async {
            Ok(Arc::new(launch::launch(&self.options, spec, walk).await?) as Arc<dyn RunningVm>)
        }
        .boxed()
    }

    fn adopt<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<Found, HypervisorError>> {
        let dir = self.options.paths.vm_runtime_dir(vm);
        async move { leftovers::adopt(&dir, vm).await }.boxed()
    }

    fn clean<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<(), HypervisorError>> {
        let dir = self.options.paths.vm_runtime_dir(vm);
        async move { leftovers::clean(&dir, vm).await }.boxed()
    }
}
