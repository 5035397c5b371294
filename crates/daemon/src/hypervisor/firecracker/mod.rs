//! Firecracker as a VMM.
//!
//! | module | responsible for |
//! |---|---|
//! | `config` | the configuration that it boots from (pure) |
//! | `api` | its API while the VM runs, spoken by the supervisor |
//!
//! ```text
//!   supervisor ──CONNECT 1023──▶ vsock.sock      ──▶ Firecracker ──vsock──▶ agent
//!              ◀──a ring──────── vsock.sock_1023 ◀──             ◀──vsock──
//!              ──HTTP──────────▶ api.sock        ──▶
//! ```

pub(crate) mod api;
mod config;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_proto::VmId;
use banger_proto::supervisor::{LinkTransport, VmmControl};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::supervised::{Invocation, RuntimeFile, Supervision};
use super::{Features, Found, GuestMachine, Hypervisor, HypervisorError, RunningVm, VmmSpec};
use crate::exec::Version;
use crate::step::Walk;
use config::{LINK_PORT, Places, render_config};

/// The oldest that is driven (September 2023).
pub(crate) const OLDEST: Version = Version::new(1, 5);
/// The latest that VMs were run with.
pub(crate) const TESTED: Version = Version::new(1, 16);

/// Name of the configuration in the VM's runtime directory.
const CONFIG_FILE: &str = "firecracker.json";
/// Name of its API's socket there.
const API_SOCKET: &str = "api.sock";
/// Name of the virtio socket's there.
const VSOCK_SOCKET: &str = "vsock.sock";

/// VMs run by Firecracker.
#[derive(Debug)]
pub struct Firecracker {
    /// Its program.
    program: PathBuf,
    supervision: Supervision,
}

impl Firecracker {
    /// VMs run by `program`.
    #[must_use]
    pub fn new(program: PathBuf, supervision: Supervision) -> Self {
        Self { program, supervision }
    }

    /// What it is and can do, wherever it is.
    pub(super) fn describe() -> Features {
        Features {
            vmm: "firecracker".to_owned(),
            accel: "kvm".to_owned(),
            remark: None,
            slowness: 1,
            machine: GuestMachine::Firecracker,
        }
    }

    fn invoke(&self, spec: &VmmSpec) -> Result<Invocation, HypervisorError> {
        let dir = self.supervision.paths.vm_runtime_dir(&spec.vm);
        let (config, api) = (dir.join(CONFIG_FILE), dir.join(API_SOCKET));
        let places = Places { vsock: &dir.join(VSOCK_SOCKET) };
        let rendered = render_config(places, spec).map_err(|error| {
            let message = format!("cannot write a configuration for VM `{}`", spec.vm);
            HypervisorError::because(message, error)
        })?;
        let disks = spec.disks.iter().map(|disk| text(&disk.path).map(ToOwned::to_owned));
        let disks = disks.collect::<Result<_, _>>()?;
        let command = [
            text(&self.program)?,
            "--id",
            spec.vm.as_str(),
            "--api-sock",
            text(&api)?,
            "--config-file",
            text(&config)?,
            // Standard output is the guest's console.
            "--log-path",
            "/proc/self/fd/2",
            "--level",
            "Warn",
        ];
        Ok(Invocation {
            command: command.map(ToOwned::to_owned).into(),
            link: LinkTransport::VirtioSocket {
                socket: VSOCK_SOCKET.to_owned(),
                port: LINK_PORT,
                bell: format!("{VSOCK_SOCKET}_{LINK_PORT}"),
            },
            control: VmmControl::Firecracker { socket: API_SOCKET.to_owned(), disks },
            files: vec![RuntimeFile { name: CONFIG_FILE, content: rendered.into_bytes() }],
        })
    }
}

fn text(path: &Path) -> Result<&str, HypervisorError> {
    path.to_str()
        .ok_or_else(|| HypervisorError::new(format!("path `{}` is not UTF-8", path.display())))
}

impl Hypervisor for Firecracker {
    fn features(&self) -> Features {
        Self::describe()
    }

    fn launch<'a>(
        &'a self,
        spec: &'a VmmSpec,
        walk: &'a Walk,
    ) -> BoxFuture<'a, Result<Arc<dyn RunningVm>, HypervisorError>> {
        async { self.supervision.launch(spec, self.invoke(spec)?, walk).await }.boxed()
    }

    fn adopt<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<Found, HypervisorError>> {
        self.supervision.adopt(vm).boxed()
    }

    fn clean<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<(), HypervisorError>> {
        self.supervision.clean(vm).boxed()
    }
}
