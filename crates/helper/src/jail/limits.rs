//! What of the machine a VMM may use at most.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files. A VMM has some for each device and each processor, a hundred at most; nobody opens more by
/// doing something inside the guest.
const OPEN_FILES: u64 = 1024;

/// Sets the limits; one that is lower already stays.
///
/// There is none for the size of files: the one that counts is the VM's disk, which grows while the VM
/// runs, and a limit cannot be raised again without privilege.
///
/// # Errors
///
/// That of the kernel.
pub(super) fn set() -> rustix::io::Result<()> {
    // What is in a guest's memory does not go to where cores are kept.
    for (resource, most) in [(Resource::Core, 0), (Resource::Nofile, OPEN_FILES)] {
        let most = getrlimit(resource).maximum.map_or(most, |there| there.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}
