//! What an earlier life of the daemon left in a VM's runtime directory.
//!
//! The lock tells whether a supervisor lives; nothing else is trusted for that: sockets and the
//! state file survive a `kill -9`, process ids are used again.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::VmId;
use banger_proto::supervisor::{LAUNCH_FILE, LOCK_FILE, STATE_FILE, SupervisorState};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::handle::{SupervisedVm, supervisor_of, vmm_of};
use crate::hypervisor::{Found, HypervisorError};

/// How long a supervisor that has told its VMM's end may take to be gone itself.
const END_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes in a state file at most.
const STATE_LIMIT: u64 = 64 << 10;

/// Proof that no supervisor owns a VM; while it lives none can begin to.
#[derive(Debug)]
struct Unowned {
    /// Absent when there has never been one in the directory.
    _lock: Option<fs_err::File>,
}

/// Looks for the VM's supervisor.
pub(super) async fn adopt(dir: &Path, vm: &VmId) -> Result<Found, HypervisorError> {
    let failed = |error| HypervisorError::because(format!("cannot look for VM `{vm}`"), error);
    if let Ok(handle) = SupervisedVm::connect(dir, vm).await
        && handle.state().exit.is_none()
    {
        return Ok(Found::Alive(Arc::new(handle)));
    }
    let _unowned = wait_until_unowned(dir, vm).await?;
    let path = dir.join(STATE_FILE);
    let state = match try_load_state(&path) {
        Ok(state) => state,
        // Without a launch nobody was to write one.
        Err(error) if is_missing(&error) && !dir.join(LAUNCH_FILE).exists() => {
            return Ok(Found::Gone);
        }
        Err(error) => {
            let what = if is_missing(&error) { "missing" } else { "damaged" };
            tracing::warn!(%vm, %error, "the state of a supervisor is {what}");
            return Ok(Found::Untold(format!("its state file `{}` is {what}", path.display())));
        }
    };
    if let Some(exit) = state.exit {
        return Ok(Found::Ended(exit));
    }
    if let Some(vmm) = vmm_of(&state) {
        vmm.end().await.map_err(failed)?;
    }
    Ok(Found::Gone)
}

/// Removes the runtime directory of a VM that does not run.
pub(super) async fn clean(dir: &Path, vm: &VmId) -> Result<(), HypervisorError> {
    let failed =
        |error| HypervisorError::because(format!("cannot clean up after VM `{vm}`"), error);
    let _unowned = wait_until_unowned(dir, vm).await?;
    if let Some(vmm) = load_state(&dir.join(STATE_FILE)).as_ref().and_then(vmm_of) {
        vmm.end().await.map_err(failed)?;
    }
    match fs_err::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Waits for the end of a supervisor that is about to end; an error when one stays.
async fn wait_until_unowned(dir: &Path, vm: &VmId) -> Result<Unowned, HypervisorError> {
    let failed = |error| HypervisorError::because(format!("cannot look for VM `{vm}`"), error);
    if let Some(unowned) = try_own(dir).map_err(failed)? {
        return Ok(unowned);
    }
    let supervisor = load_state(&dir.join(STATE_FILE)).as_ref().map(supervisor_of);
    let gone = async {
        match supervisor {
            Some(supervisor) => supervisor.gone().await,
            // One that has not said who it is was given up while it started, and ends now.
            None => wait_for_lock(dir).await,
        }
    };
    // Late is the same as not at all, and so is an error; the second look tells.
    let _ = tokio::time::timeout(END_DEADLINE, gone).await;
    try_own(dir)
        .map_err(failed)?
        .ok_or_else(|| HypervisorError::new(format!("VM `{vm}` still has a supervisor that runs")))
}

/// Waits until the lock is free. The thread that does so stays for as long as somebody has it,
/// which is bounded by how long a start may take.
async fn wait_for_lock(dir: &Path) -> io::Result<()> {
    let path = dir.join(LOCK_FILE);
    let waiting = tokio::task::spawn_blocking(move || {
        let lock = fs_err::OpenOptions::new().write(true).open(path)?;
        Ok(flock(&lock, FlockOperation::LockExclusive)?)
    });
    waiting.await.map_err(io::Error::other)?
}

fn try_own(dir: &Path) -> io::Result<Option<Unowned>> {
    let lock = match fs_err::OpenOptions::new().write(true).open(dir.join(LOCK_FILE)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(Unowned { _lock: None }));
        }
        Err(error) => return Err(error),
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Unowned { _lock: Some(lock) })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The state file's content; `None` when it is missing or damaged, which is the same: nobody
/// wrote down what happened.
pub(super) fn load_state(path: &Path) -> Option<SupervisorState> {
    try_load_state(path).ok()
}

fn try_load_state(path: &Path) -> io::Result<SupervisorState> {
    let file = fs_err::File::open(path)?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, STATE_LIMIT), &mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
