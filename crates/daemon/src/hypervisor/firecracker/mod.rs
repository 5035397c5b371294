//! Firecracker as a VMM.
//!
//! | module | responsible for |
//! |---|---|
//! | `config` | the configuration that it boots from (pure) |
//! | `api` | its API while the VM runs, spoken by the supervisor |
//! | `version` | which one a program is |
//!
//! ```text
//!   supervisor ──CONNECT 1023──▶ vsock.sock      ──▶ Firecracker ──vsock──▶ agent
//!              ◀──a ring──────── vsock.sock_1023 ◀──             ◀──vsock──
//!              ──HTTP──────────▶ api.sock        ──▶
//! ```

pub(crate) mod api;
mod config;
pub(crate) mod version;

use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::VmId;
use banger_proto::supervisor::{LinkTransport, VmmControl};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::detect::{self, Accel};
use super::supervised::{Content, Invocation, RuntimeFile, Supervision, text};
use super::{Features, Found, GuestMachine, Hypervisor, HypervisorError, RunningVm, VmmSpec};
use crate::exec::{HostEnv, Version};
use crate::step::Walk;
use config::{LINK_PORT, VSOCK_SOCKET, render_config, render_drive_id};
use version::KnownVersion;

/// The oldest that is driven (September 2023).
pub(crate) const OLDEST: Version = Version::new(1, 5);
/// The latest that VMs were run with.
pub(crate) const TESTED: Version = Version::new(1, 16);

/// The oldest that can be told by its guest of pages that it does not use any more (December 2025).
const REPORTING: Version = Version::new(1, 14);

/// Name of the configuration in the VM's runtime directory.
const CONFIG_FILE: &str = "firecracker.json";
/// Name of its API's socket there, in the directory that is the VMM's own.
const API_SOCKET: &str = "vmm/api.sock";
/// Name of the pipe there into which it writes its metrics.
const METRICS_PIPE: &str = "vmm/metrics";

/// VMs run by Firecracker.
#[derive(Debug)]
pub struct Firecracker {
    /// Its program.
    program: PathBuf,
    env: HostEnv,
    version: Arc<KnownVersion>,
    supervision: Supervision,
}

impl Firecracker {
    /// VMs run by `program`, which is asked in `env` what it is.
    #[must_use]
    pub fn new(program: PathBuf, env: HostEnv, supervision: Supervision) -> Self {
        Self::known(program, env, Arc::default(), supervision)
    }

    /// The same; `version` is what is known of the program.
    pub(super) fn known(
        program: PathBuf,
        env: HostEnv,
        version: Arc<KnownVersion>,
        supervision: Supervision,
    ) -> Self {
        Self { program, env, version, supervision }
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

    fn invoke(
        &self,
        spec: &VmmSpec,
        version: Option<Version>,
    ) -> Result<Invocation, HypervisorError> {
        let mut command = vec![text(&self.program)?, "--id", spec.vm.as_str()];
        command.extend(["--api-sock", API_SOCKET]);
        // Standard output is the guest's console.
        command.extend(["--log-path", "/proc/self/fd/2", "--level", "Warn"]);
        command.extend(["--metrics-path", METRICS_PIPE]);
        let mut files = Vec::new();
        for (place, disk) in spec.disks.iter().enumerate() {
            let target = disk.path.clone();
            files
                .push(RuntimeFile { name: render_drive_id(place), content: Content::Link(target) });
        }
        if spec.saved.is_none() {
            let reporting = version.is_some_and(|version| version >= REPORTING);
            let rendered = render_config(spec, reporting).map_err(|error| {
                let message = format!("cannot write a configuration for VM `{}`", spec.vm);
                HypervisorError::because(message, error)
            })?;
            let content = Content::Bytes(rendered.into_bytes());
            files.push(RuntimeFile { name: CONFIG_FILE.to_owned(), content });
            command.extend(["--config-file", CONFIG_FILE]);
        }
        Ok(Invocation {
            command: command.into_iter().map(ToOwned::to_owned).collect(),
            link: LinkTransport::VirtioSocket {
                socket: VSOCK_SOCKET.to_owned(),
                port: LINK_PORT,
                bell: format!("{VSOCK_SOCKET}_{LINK_PORT}"),
            },
            control: VmmControl::Firecracker { socket: API_SOCKET.to_owned() },
            metrics: Some(METRICS_PIPE.to_owned()),
            memory: None,
            files,
        })
    }
}

impl Hypervisor for Firecracker {
    fn features(&self) -> Features {
        Self::describe()
    }

    fn saved_with(&self) -> Result<String, HypervisorError> {
        detect::tell_apart(&self.program, Accel::Kvm)
    }

    fn launch<'a>(
        &'a self,
        spec: &'a VmmSpec,
        walk: &'a Walk,
    ) -> BoxFuture<'a, Result<Arc<dyn RunningVm>, HypervisorError>> {
        async {
            let version = self.version.of(&self.program, &self.env).await;
            self.supervision.launch(spec, self.invoke(spec, version)?, walk).await
        }
        .boxed()
    }

    fn adopt<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<Found, HypervisorError>> {
        self.supervision.adopt(vm).boxed()
    }

    fn clean<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<(), HypervisorError>> {
        self.supervision.clean(vm).boxed()
    }
}
