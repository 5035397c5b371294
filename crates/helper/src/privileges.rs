//! Giving up capabilities, for good: what is gone here comes back with no program that is executed later.

use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

/// What the operations need, and the programs that they start. See `docs/privileges.md`.
pub const SERVING: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_BIND_SERVICE);

/// Keeps `kept` and gives up all other capabilities.
///
/// # Errors
///
/// The kernel refuses: the process does not have all capabilities in its user namespace.
pub fn keep_only(kept: CapabilitySet) -> Result<()> {
    set_no_new_privs(true)?;
    limit(kept)?;
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}

/// Gives up all capabilities, and being special as user 0.
///
/// # Errors
///
/// The kernel refuses: the process does not have all capabilities in its user namespace.
pub fn give_up_all() -> Result<()> {
    use CapabilitiesSecureBits as Bits;
    let none = CapabilitySet::empty();
    set_no_new_privs(true)?;
    limit(none)?;
    set_capabilities_secure_bits(
        Bits::NO_ROOT
            | Bits::NO_ROOT_LOCKED
            | Bits::NO_SETUID_FIXUP
            | Bits::NO_SETUID_FIXUP_LOCKED
            | Bits::KEEP_CAPS_LOCKED
            | Bits::NO_CAP_AMBIENT_RAISE
            | Bits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// Gives up what this process has and what it could gain, where it may not limit what there is to gain.
///
/// # Errors
///
/// None that is known.
pub fn give_up_own() -> Result<()> {
    let none = CapabilitySet::empty();
    set_no_new_privs(true)?;
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// The most that programs executed later can have.
fn limit(kept: CapabilitySet) -> Result<()> {
    clear_ambient_capability_set()?;
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !kept.contains(capability) => {
                remove_capability_from_bounding_set(capability)?;
            }
            Ok(_) => {}
            // The kernel knows none from here on.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
