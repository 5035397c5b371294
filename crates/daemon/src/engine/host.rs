//! What VMs are made with: the handles that engine and drivers share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use banger_proto::{Code, Paths, Problem};

use crate::config::Config;
use crate::dns::Names;
use crate::exec::HostEnv;
use crate::forward::Budget;
use crate::hypervisor::Hypervisor;
use crate::image::Images;
use crate::kernel::{Kernel, Kernels, KnownDigests, ensure_initramfs};
use crate::net::VmNetwork;
use crate::ssh::Ssh;
use crate::step::Followers;
use crate::warm::Warm;

/// Everything a VM is made with on this host.
#[derive(Debug)]
pub struct Host {
    /// Where things are.
    pub paths: Paths,
    /// The configuration.
    pub config: Config,
    /// The environment of host programs.
    pub env: HostEnv,
    /// What runs VMs.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Images.
    pub images: Images,
    /// Kernels.
    pub kernels: Kernels,
    /// The network that VMs share.
    pub network: VmNetwork,
    /// How many files the forwarding of VMs' ports may have open.
    pub forwards: Budget,
    /// Keys for SSH into VMs.
    pub ssh: Ssh,
    /// The program that changes networks.
    pub helper: PathBuf,
    /// The agent that VMs boot with.
    pub agent: PathBuf,
    /// What initramfs are made of; held while one is written: VMs that are made at once want the same file.
    pub initramfs: Arc<Mutex<KnownDigests>>,
    /// VMs that have booted, for new ones to begin as copies of.
    pub warm: Warm,
    /// Who follows the steps of what is done to VMs.
    pub followers: Followers,
    /// What VMs are called, for who asks the name server.
    pub names: Arc<Names>,
}

impl Host {
    /// The initramfs of this host's agent for `kernel`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn ensure_initramfs(&self, kernel: &Kernel) -> Result<PathBuf, Problem> {
        let (paths, agent, kernel) = (self.paths.clone(), self.agent.clone(), kernel.clone());
        let one_at_a_time = Arc::clone(&self.initramfs);
        let work = move || {
            // Held by the work, not by who waits for it, who may go away before it ends.
            let mut known = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
            ensure_initramfs(&paths, &kernel, &agent, &mut known)
        };
        let made = tokio::task::spawn_blocking(work).await;
        Ok(made.map_err(|gone| Problem::from_error(Code::OperationFailed, &gone))??)
    }
}
