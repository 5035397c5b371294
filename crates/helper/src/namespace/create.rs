//! Making the namespaces.

use nix::sched::{CloneFlags, unshare};
use rustix::process::{getegid, geteuid};

use super::Refused;
use super::refusal::{Settings, Step};

/// A user namespace that this process has made and is in.
#[derive(Debug)]
pub struct UserNamespace {
    /// Those outside: inside one sees the namespace's own.
    settings: Settings,
}

/// Makes a user namespace in which this user is user 0, and enters it.
///
/// With any other number the first program that is executed inside would lose all capabilities.
///
/// # Errors
///
/// The machine does not let its users do that.
pub fn create_user() -> Result<UserNamespace, Refused> {
    let settings = Settings::observe();
    // Inside, before there is a map, both are the kernel's number for nobody.
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|errno| Refused::new(Step::User, &settings, errno.into()))?;
    // The kernel takes the map of groups only from one who cannot change groups any more.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1\n")),
        ("gid_map", format!("0 {group} 1\n")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| Refused::new(Step::Maps, &settings, error))?;
    }
    Ok(UserNamespace { settings })
}

impl UserNamespace {
    /// Makes a network namespace in it, and enters that.
    ///
    /// # Errors
    ///
    /// The machine does not let its users do that.
    pub fn create_network(&self) -> Result<(), Refused> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Refused::new(Step::Network, &self.settings, errno.into()))
    }
}
