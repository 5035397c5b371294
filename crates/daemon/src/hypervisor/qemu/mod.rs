//! QEMU as a VMM.
//!
//! | module | responsible for |
//! |---|---|
//! | `command` | the command line and a configuration (pure) |
//! | `qmp` | QEMU's control protocol, spoken by the supervisor |
//! | `migration` | saving a guest and going on from that, by the control protocol |

mod command;
mod migration;
pub(crate) mod qmp;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_proto::VmId;
use banger_proto::supervisor::{LinkTransport, VmmControl};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::detect::{self, Accel};
use super::supervised::{Content, Invocation, RuntimeFile, Supervision, script_firmware};
use super::{Features, Found, Hypervisor, HypervisorError, RunningVm, VmmSpec};
use crate::step::Walk;
use command::render_command;

/// Name of the configuration in the VM's runtime directory.
const CONFIG_FILE: &str = "qemu.conf";
/// How much longer than with KVM a boot may take in software.
const TCG_SLOWNESS: u32 = 6;

/// What [`Qemu`] needs to know.
#[derive(Debug, Clone)]
pub struct QemuOptions {
    /// QEMU's program.
    pub program: PathBuf,
    /// How guests are executed.
    pub accel: Accel,
    /// What supervisors are started with.
    pub supervision: Supervision,
    /// Frequency of the host's time stamp counter in kHz
    /// ([`CpuInfo::tsc_khz`](super::detect::CpuInfo::tsc_khz)); without it guests in software
    /// get a machine that boots a little slower.
    pub host_khz: Option<u32>,
}

impl QemuOptions {
    /// What of this the command line depends on, where the configuration is at `config`.
    fn machine<'a>(&'a self, config: &'a Path, firmware: &'a [PathBuf]) -> command::Machine<'a> {
        let Self { program, accel, host_khz, .. } = self;
        command::Machine { program, firmware, config, accel: *accel, host_khz: *host_khz }
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

impl Qemu {
    fn invoke(&self, spec: &VmmSpec) -> Result<Invocation, HypervisorError> {
        let config = self.options.supervision.paths.vm_runtime_dir(&spec.vm).join(CONFIG_FILE);
        let firmware = script_firmware(&self.options.program);
        let machine = self.options.machine(&config, &firmware);
        let rendered = render_command(machine, spec).map_err(|error| {
            let message = format!("cannot write a command line for VM `{}`", spec.vm);
            HypervisorError::because(message, error)
        })?;
        Ok(Invocation {
            metrics: None,
            command: rendered.command,
            link: LinkTransport::Inherited,
            control: VmmControl::Qmp,
            // In a file that the supervisor has, too: to save a guest is to copy it. And whoever breaks out of one
            // guest must not reach what others go on from, which QEMU would open for writing.
            memory: Some(spec.memory_mib << 20),
            files: vec![RuntimeFile {
                name: CONFIG_FILE.to_owned(),
                content: Content::Bytes(rendered.config.into()),
            }],
        })
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
        let Self { options: QemuOptions { accel: host, host_khz, .. } } = self;
        let machine = command::guest_machine(*host, *host_khz);
        Features { vmm: "qemu".to_owned(), accel, remark, slowness, machine }
    }

    fn saved_with(&self) -> Result<String, HypervisorError> {
        detect::tell_apart(&self.options.program, self.options.accel)
    }

    fn launch<'a>(
        &'a self,
        spec: &'a VmmSpec,
        walk: &'a Walk,
    ) -> BoxFuture<'a, Result<Arc<dyn RunningVm>, HypervisorError>> {
        async { self.options.supervision.launch(spec, self.invoke(spec)?, walk).await }.boxed()
    }

    fn adopt<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<Found, HypervisorError>> {
        self.options.supervision.adopt(vm).boxed()
    }

    fn clean<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<(), HypervisorError>> {
        self.options.supervision.clean(vm).boxed()
    }
}
