//! Starting and stopping VMMs behind one trait.
//!
//! A VMM never belongs to the daemon: launching starts a supervisor, which owns the VMM, and
//! this module speaks to supervisors ([`banger_proto::supervisor`]). So a VM outlives the
//! daemon, and adopting one is the same as having launched it.

mod configured;
pub mod detect;
pub mod firecracker;
#[cfg(test)]
mod fixture;
pub mod qemu;
mod supervised;

pub use configured::ConfiguredHypervisor;
pub use supervised::Supervision;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_proto::supervisor::{SAVED_MEMORY, VmmExit};
use banger_proto::{ByteSize, Code, MacAddress, Problem, VmId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::step::Walk;
use crate::supervise::identity::ProcessIdentity;

/// How fast a disk may be used; what is absent is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskLimits {
    /// Bytes a second that are read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<ByteSize>,
    /// Reads and writes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
}

impl DiskLimits {
    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A disk of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// Raw image file.
    pub path: PathBuf,
    /// Serial number that the guest finds it by.
    pub serial: String,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

/// A network card, and where it is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardSpec {
    /// Name of the tap, which is there.
    pub tap: String,
    /// Address of the card.
    pub mac: MacAddress,
    /// Words in front of the VMM's command line that start it where the tap is.
    pub entrance: Vec<String>,
}

/// What a guest goes on from, instead of booting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Directory with the files of a snapshot, as [`RunningVm::save`] has left them.
    pub directory: PathBuf,
    /// Whether the guest stays paused.
    pub paused: bool,
}

impl Saved {
    /// The file of the memory.
    #[must_use]
    pub fn memory(&self) -> PathBuf {
        self.directory.join(SAVED_MEMORY)
    }
}

/// Name of the directory beside a VM's console log in which its VMM writes its guest's state.
pub const SAVES: &str = "saves";

/// Everything a VMM is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmmSpec {
    /// The VM.
    pub vm: VmId,
    /// ELF kernel.
    pub kernel: PathBuf,
    /// Initramfs with the agent.
    pub initramfs: PathBuf,
    /// Kernel command line of the product; the backend adds what its machine needs.
    pub cmdline: Vec<String>,
    /// Virtual processors.
    pub vcpu: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disks in the order of the guest's devices.
    pub disks: Vec<DiskSpec>,
    /// How fast it may use each of them.
    pub disk_limits: DiskLimits,
    /// Marker magic of the guest link.
    pub link_magic: banger_link::Magic,
    /// Console log.
    pub console_log: PathBuf,
    /// Its network card; absent for none.
    pub card: Option<CardSpec>,
    /// What its guest goes on from; absent for a boot.
    pub saved: Option<Saved>,
}

/// What a backend is and can do on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// `qemu` or `firecracker`.
    pub vmm: String,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// A remark for the `spec:` line (`no KVM: software emulation, expect 10-30x slower CPU`).
    pub remark: Option<String>,
    /// How much longer than with KVM a boot may take, for deadlines: 1 or 6.
    pub slowness: u32,
    /// The machine that guests find themselves in.
    pub machine: GuestMachine,
}

/// A machine that a guest's kernel has to know its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestMachine {
    /// QEMU's `microvm`: virtio over MMIO, told by ACPI; the guest link is a virtio serial port.
    Microvm,
    /// QEMU's `q35`: virtio over PCI; the guest link is a virtio serial port.
    Q35,
    /// Firecracker's: virtio over MMIO; the guest link is a virtio socket.
    Firecracker,
}

/// Why a VMM could not be started, asked or reached.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct HypervisorError {
    /// What failed, naming the object.
    pub message: String,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl HypervisorError {
    /// A failure that has no error below it.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// A failure with the error that caused it.
    pub(crate) fn because(
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { message: message.into(), source: Some(Box::new(source)) }
    }
}

impl From<HypervisorError> for Problem {
    fn from(error: HypervisorError) -> Self {
        Self::from_error(Code::OperationFailed, &error).hint(UNFIT_HINT)
    }
}

/// The way out where a host may lack what VMs need; what that is differs from distribution to
/// distribution, which the checks know.
pub(crate) const UNFIT_HINT: &str = "what this host lacks, and how to get it: banger doctor";

/// One duplex stream to the agent, for [`crate::guest`].
pub trait GuestIo: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> GuestIo for T {}
impl fmt::Debug for dyn GuestIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuestStream")
    }
}
/// A stream to the agent.
pub type GuestStream = Box<dyn GuestIo>;

/// A kind of VMM.
pub trait Hypervisor: Send + Sync + fmt::Debug {
    /// What it is and can do here.
    fn features(&self) -> Features;

    /// Whether a VM could be started now, asked before anything is made for one. What is missing
    /// may be installed while the daemon runs, so the answer is never remembered.
    ///
    /// # Errors
    /// When it could not, with the way out.
    fn check(&self) -> Result<(), HypervisorError> {
        Ok(())
    }

    /// Starts a supervisor with a VMM. The returned VM is owned by the supervisor: dropping the
    /// handle changes nothing. If this fails or is dropped half-way, nothing is left running.
    /// Enters its own steps on the VM's `walk`.
    fn launch<'a>(
        &'a self,
        spec: &'a VmmSpec,
        walk: &'a Walk,
    ) -> BoxFuture<'a, Result<Arc<dyn RunningVm>, HypervisorError>>;

    /// What a saved guest finds again where it goes on: the VMM, and the processors as guests see them. One
    /// that was saved with something else cannot go on here.
    ///
    /// # Errors
    /// When guests cannot be saved here, and why.
    fn saved_with(&self) -> Result<String, HypervisorError>;

    /// Makes sure that what [`RunningVm::save`] wrote to `directory` can be gone on from: goes on from it
    /// as `spec` says, without the guest's taking a step, and ends that.
    fn prove<'a>(
        &'a self,
        spec: &'a VmmSpec,
        directory: &'a Path,
        walk: &'a Walk,
    ) -> BoxFuture<'a, Result<(), HypervisorError>> {
        async move {
            let saved = Some(Saved { directory: directory.to_owned(), paused: true });
            let running = self.launch(&VmmSpec { saved, ..spec.clone() }, walk).await?;
            running.kill().await?;
            self.clean(&spec.vm).await
        }
        .boxed()
    }

    /// Looks for the VM's supervisor from an earlier life of the daemon.
    fn adopt<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<Found, HypervisorError>>;

    /// Removes what a VMM that is gone left in the VM's runtime directory. Done twice, it is
    /// done once. Never removes the sockets of one that runs.
    fn clean<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<(), HypervisorError>>;
}

/// What became of a VM while no daemon looked.
#[derive(Debug)]
pub enum Found {
    /// It runs.
    Alive(Arc<dyn RunningVm>),
    /// Its VMM ended and somebody wrote down how.
    Ended(VmmExit),
    /// It does not run, and what was written down about its end is of no use; the text says why,
    /// a fragment.
    Untold(String),
    /// Nothing is there, or nobody saw how it ended.
    Gone,
}

/// The processes of a VM on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmProcesses {
    /// The VMM.
    pub vmm: ProcessIdentity,
    /// The program that owns it.
    pub supervisor: ProcessIdentity,
}

/// A VM whose VMM runs.
pub trait RunningVm: Send + Sync + fmt::Debug {
    /// Opens a stream to the agent; waits for the agent's first call. Fails at once when the
    /// VMM ends.
    fn dial(&self) -> BoxFuture<'_, Result<GuestStream, HypervisorError>>;

    /// Asks the guest to power off as a power button does.
    fn power_button(&self) -> BoxFuture<'_, Result<(), HypervisorError>>;

    /// Has the guest see that the file of a disk has grown to `size`; again does no harm. `disk` is
    /// its place in [`VmmSpec::disks`], from 0.
    fn grow_disk(&self, disk: u32, size: ByteSize) -> BoxFuture<'_, Result<(), HypervisorError>>;

    /// Has the guest stand still; one that does already does so.
    fn pause(&self) -> BoxFuture<'_, Result<(), HypervisorError>>;

    /// Has it go on; one that runs does so.
    fn resume(&self) -> BoxFuture<'_, Result<(), HypervisorError>>;

    /// Whether the guest stands still.
    fn is_paused(&self) -> bool;

    /// Writes the guest's memory and the state of its devices to files in a directory that is there and
    /// empty. The guest stands still from then on, also where this fails; what is on its disks belongs to
    /// what is written until it goes on.
    fn save<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, Result<(), HypervisorError>>;

    /// Ends the VMM at once; returns when it is gone.
    fn kill(&self) -> BoxFuture<'_, Result<(), HypervisorError>>;

    /// Waits for the VMM's end, however often it is called.
    fn exited(&self) -> BoxFuture<'_, VmmExit>;

    /// The processes it consists of on the host; none when the VMM has not been started.
    fn processes(&self) -> Option<VmProcesses>;
}
