//! The files of the guest's root that are the configuration's and not the image's: who the guest
//! is, how it looks up names, where its programs run and who is let in.

use banger_proto::guest::GuestConfig;

use super::{BootError, identity, network, newroot};
use crate::root::RootDir;
use crate::ssh::{SshPlaces, entrance};

/// Writes all of it. Returns what did not work and does not stop a boot.
pub(super) fn write(root: &RootDir, config: &GuestConfig) -> Result<Vec<String>, BootError> {
    identity::write_files(root, config)?;
    let mut warnings = Vec::new();
    if let Some(network) = &config.network {
        warnings.extend(network::write_resolver(root, network));
    }
    let working_dir = config.working_dir.as_deref();
    warnings.extend(working_dir.and_then(|path| newroot::ensure_working_dir(root, path)));
    if let Some(keys) = &config.ssh {
        warnings.extend(entrance::open(root, &SshPlaces::default(), &keys.authorized_keys));
    }
    Ok(warnings)
}
