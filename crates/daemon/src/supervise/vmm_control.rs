//! What the VMM is asked for while it runs, whichever it is.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use banger_proto::supervisor::{SAVED_MEMORY, SAVED_STATE, SavedState};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::memory::GuestMemory;
use super::resident::{Resident, host_swaps};
use crate::exec::Version;
use crate::hypervisor::firecracker::api::{Api, ApiError, SnapshotType};
use crate::hypervisor::qemu::qmp::{Qmp, QmpError};

/// How long Firecracker may take to write a guest's memory: some gigabytes, on a slow disk.
const SAVE_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// The first Firecracker that gives a saved guest's card another tap (`docs/snapshotting/network-for-clones.md`).
const NAMES_TAPS: Version = Version::new(1, 12);

/// The way to the VMM.
#[derive(Debug)]
pub(super) enum Control {
    /// QEMU's.
    Qmp {
        /// Its control protocol.
        qmp: Qmp,
        /// The guest's memory, which QEMU does not save.
        memory: Option<GuestMemory>,
        /// The end of its copying, where the guest goes on from what was saved.
        filling: Mutex<Option<JoinHandle<io::Result<()>>>>,
    },
    /// Firecracker's.
    Firecracker {
        /// Its API.
        api: Api,
        /// How its guest stands still.
        stand: Mutex<Stand>,
        /// What there is of its memory, where that can be saved without the rest.
        resident: OnceLock<Resident>,
    },
}

/// How Firecracker's guest stands still.
///
/// Where all that happens to a guest is that the API pauses and resumes it, connections from the host never
/// reach it again (up to 1.16.1): its virtio socket waits for the guest to hear of a reset that only a
/// snapshot announces. So the process is stopped instead, and the API pauses for snapshots only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// It runs.
    Runs,
    /// The process is stopped.
    Stopped,
    /// It was paused by the API.
    Paused,
}

/// Why the VMM did not do it, in its own words where it has some.
#[derive(Debug, thiserror::Error)]
pub(super) enum ControlError {
    /// QEMU did not.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Firecracker did not.
    #[error(transparent)]
    Firecracker(#[from] ApiError),
    /// A file.
    #[error("cannot use the files of a saved guest: {0}")]
    File(#[from] io::Error),
    /// An older daemon started the VMM, without a file for it.
    #[error("its memory is no file: it can be saved after its next start")]
    NoMemory,
    /// A signal.
    #[error("cannot stop or continue the VMM: {0}")]
    Signal(rustix::io::Errno),
}

impl Control {
    /// QEMU's, with the guest's memory, and what copies into that meanwhile.
    pub(super) fn qemu(
        qmp: Qmp,
        memory: Option<GuestMemory>,
        filling: Option<JoinHandle<io::Result<()>>>,
    ) -> Self {
        Self::Qmp { qmp, memory, filling: Mutex::new(filling) }
    }

    /// Firecracker's, whose guest runs.
    pub(super) fn firecracker(api: Api) -> Self {
        Self::Firecracker { api, stand: Mutex::new(Stand::Runs), resident: OnceLock::new() }
    }

    /// Waits until the VMM answers, and has its guest go on from `saved` if it is to.
    pub(super) async fn begin(
        &self,
        saved: Option<&SavedState>,
        deadline: Duration,
    ) -> Result<(), ControlError> {
        match self {
            Self::Qmp { qmp, filling, .. } => {
                qmp.negotiate(deadline).await?;
                if let Some(filling) = filling.lock().await.take() {
                    // Devices find their queues in it when their state is loaded.
                    filling.await.map_err(io::Error::from)??;
                }
                if let Some(saved) = saved {
                    qmp.load(File::open(&saved.state)?, deadline).await?;
                    if !saved.paused {
                        qmp.go_on(deadline).await?;
                    }
                }
            }
            Self::Firecracker { api, stand, resident } => {
                let expected = if saved.is_some() { "Not started" } else { "Running" };
                let version = api.answers(expected, deadline).await?;
                let base = saved.map(|saved| Path::new(&saved.memory));
                if let Some(observed) = Resident::observe(version, base)? {
                    // A guest begins once.
                    let _ = resident.set(observed);
                }
                let Some(saved) = saved else { return Ok(()) };
                let tap = saved.tap.as_deref().filter(|_| version >= NAMES_TAPS);
                api.load_snapshot(&saved.state, &saved.memory, tap, saved.paused, deadline).await?;
                if saved.paused {
                    *stand.lock().await = Stand::Paused;
                }
            }
        }
        Ok(())
    }

    /// Presses the power button, or what the machine has in its place.
    pub(super) async fn power_button(&self, deadline: Duration) -> Result<(), ControlError> {
        match self {
            Self::Qmp { qmp, .. } => Ok(qmp.power_button(deadline).await?),
            Self::Firecracker { api, .. } => Ok(api.power_button(deadline).await?),
        }
    }

    /// Has the guest see the disk at place `disk` as large as `bytes`, which its file is already for
    /// Firecracker.
    pub(super) async fn resize_disk(
        &self,
        disk: u32,
        bytes: u64,
        deadline: Duration,
    ) -> Result<(), ControlError> {
        match self {
            Self::Qmp { qmp, .. } => Ok(qmp.resize_disk(disk, bytes, deadline).await?),
            Self::Firecracker { api, .. } => Ok(api.resize_disk(disk, deadline).await?),
        }
    }

    /// Has the guest stand still. `vmm` is the VMM's process.
    pub(super) async fn pause(&self, vmm: Pid, deadline: Duration) -> Result<(), ControlError> {
        match self {
            Self::Qmp { qmp, .. } => Ok(qmp.stop(deadline).await?),
            Self::Firecracker { stand, .. } => {
                let mut stand = stand.lock().await;
                if *stand == Stand::Runs {
                    kill_process(vmm, Signal::STOP).map_err(ControlError::Signal)?;
                    *stand = Stand::Stopped;
                }
                Ok(())
            }
        }
    }

    /// Has the guest go on. `vmm` is the VMM's process.
    pub(super) async fn resume(&self, vmm: Pid, deadline: Duration) -> Result<(), ControlError> {
        match self {
            Self::Qmp { qmp, .. } => Ok(qmp.go_on(deadline).await?),
            Self::Firecracker { api, stand, .. } => {
                let mut stand = stand.lock().await;
                match *stand {
                    Stand::Runs => {}
                    Stand::Stopped => {
                        kill_process(vmm, Signal::CONT).map_err(ControlError::Signal)?;
                    }
                    Stand::Paused => api.resume(deadline).await?,
                }
                *stand = Stand::Runs;
                Ok(())
            }
        }
    }

    /// Writes the guest's state to new files in `directory`; it stands still afterwards.
    pub(super) async fn save(
        &self,
        directory: &Path,
        vmm: Pid,
        deadline: Duration,
    ) -> Result<(), ControlError> {
        match self {
            Self::Qmp { qmp, memory, .. } => {
                let memory = memory.as_ref().ok_or(ControlError::NoMemory)?;
                qmp.save(File::create_new(directory.join(SAVED_STATE))?, deadline).await?;
                Ok(memory.save(&directory.join(SAVED_MEMORY)).await?)
            }
            Self::Firecracker { api, stand, resident } => {
                let [state, memory] = [SAVED_STATE, SAVED_MEMORY].map(|name| directory.join(name));
                let resident = resident.get().filter(|_| !host_swaps());
                if let Some(resident) = resident {
                    // While the guest runs.
                    resident.lay_out(&memory).await?;
                }
                let mut stand = stand.lock().await;
                if *stand == Stand::Stopped {
                    kill_process(vmm, Signal::CONT).map_err(ControlError::Signal)?;
                    *stand = Stand::Runs;
                }
                if *stand == Stand::Runs {
                    api.pause(deadline).await?;
                    *stand = Stand::Paused;
                }
                let [state, memory] =
                    [state, memory].map(|path| path.to_string_lossy().into_owned());
                let write = |kind| api.create_snapshot(kind, &state, &memory, SAVE_DEADLINE);
                if resident.is_some() {
                    write(SnapshotType::Diff).await?;
                    if !host_swaps() {
                        return Ok(());
                    }
                    // It has begun to meanwhile.
                }
                Ok(write(SnapshotType::Full).await?)
            }
        }
    }
}
