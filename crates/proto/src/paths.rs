//! Where things are: a pure function of the environment, shared by CLI and daemon.

use std::path::{Path, PathBuf};

use crate::{VmId, env};

/// Sockets of a banger that is installed as a service of the system; a directory for its owner in it.
pub const SYSTEM_RUNTIME_DIR: &str = "/run/banger";

/// The runtime directory of a user whose daemon is a service of the system. It is there, and the user's,
/// when that is so.
#[must_use]
pub fn system_runtime_dir(uid: u32) -> PathBuf {
    Path::new(SYSTEM_RUNTIME_DIR).join(uid.to_string())
}

/// Directories and files of one user's banger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `config.toml`.
    pub config_file: PathBuf,
    /// Database and VM directories.
    pub state_dir: PathBuf,
    /// Images and kernels.
    pub data_dir: PathBuf,
    /// What can be made again.
    pub cache_dir: PathBuf,
    /// Sockets; mode 0700, checked by who uses it.
    pub runtime_dir: PathBuf,
}

/// Why there is no place for things.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// Neither a home nor all of the XDG variables.
    #[error("cannot tell where to keep things: `HOME` is not set")]
    NoHome,
    /// A variable that must be an absolute path.
    #[error("`{variable}` is not an absolute path: `{value}`")]
    Relative {
        /// Name of the variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
}

impl Paths {
    /// Computes the places from environment variables (`lookup`) and the user's id. `serviced` says
    /// whether [`system_runtime_dir`] is there and the user's; it is used unless the environment names
    /// another directory than a session of the user's has.
    ///
    /// # Errors
    /// When `HOME` is needed and missing, or a variable is not an absolute path.
    pub fn from_env(
        lookup: impl Fn(&str) -> Option<String>,
        uid: u32,
        serviced: bool,
    ) -> Result<Self, PathsError> {
        let absolute = |variable: &'static str| match lookup(variable).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(value) if value.starts_with('/') => Ok(Some(PathBuf::from(value))),
            Some(value) => Err(PathsError::Relative { variable, value }),
        };
        let home = absolute(env::HOME)?;
        let place = |variable, under_home: &str| match absolute(variable)? {
            Some(base) => Ok(base.join("banger")),
            None => home
                .as_ref()
                .map(|home| home.join(under_home).join("banger"))
                .ok_or(PathsError::NoHome),
        };
        let session = Path::new("/run/user").join(uid.to_string());
        Ok(Self {
            config_file: place(env::XDG_CONFIG_HOME, ".config")?.join("config.toml"),
            state_dir: place(env::XDG_STATE_HOME, ".local/state")?,
            data_dir: place(env::XDG_DATA_HOME, ".local/share")?,
            cache_dir: place(env::XDG_CACHE_HOME, ".cache")?,
            runtime_dir: match absolute(env::XDG_RUNTIME_DIR)? {
                Some(base) if !serviced || base != session => base.join("banger"),
                _ if serviced => system_runtime_dir(uid),
                _ => PathBuf::from(format!("/tmp/banger-runtime-{uid}")),
            },
        })
    }

    /// Whether the daemon is a service of the system: the service manager listens for it, and starts it.
    #[must_use]
    pub fn is_serviced(&self) -> bool {
        self.runtime_dir.starts_with(SYSTEM_RUNTIME_DIR)
    }

    /// The daemon's socket.
    #[must_use]
    pub fn daemon_socket(&self) -> PathBuf {
        self.runtime_dir.join("bangerd.sock")
    }

    /// The socket of the service that builds images for a daemon that is a service itself.
    #[must_use]
    pub fn builder_socket(&self) -> PathBuf {
        self.runtime_dir.join("build.sock")
    }

    /// The daemon's log.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.state_dir.join("bangerd.log")
    }

    /// The lock that makes a daemon the only one of its state directory.
    #[must_use]
    pub fn daemon_lock(&self) -> PathBuf {
        self.state_dir.join("bangerd.lock")
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state_dir.join("banger.db")
    }

    /// Keys for SSH into VMs, and whom they are known to.
    #[must_use]
    pub fn ssh_dir(&self) -> PathBuf {
        self.state_dir.join("ssh")
    }

    /// The public keys of VMs, as an SSH client reads them.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.ssh_dir().join("known_hosts")
    }

    /// An SSH client's configuration for VMs, beside banger's own.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        self.config_file.with_file_name("ssh_config")
    }

    /// Images.
    #[must_use]
    pub fn images_dir(&self) -> PathBuf {
        self.data_dir.join("images")
    }

    /// Kernels.
    #[must_use]
    pub fn kernels_dir(&self) -> PathBuf {
        self.data_dir.join("kernels")
    }

    /// Lasting files of a VM: its disk and console log.
    #[must_use]
    pub fn vm_state_dir(&self, vm: &VmId) -> PathBuf {
        vm_dir(&self.state_dir, vm)
    }

    /// Sockets and supervisor state of a VM that runs.
    #[must_use]
    pub fn vm_runtime_dir(&self, vm: &VmId) -> PathBuf {
        vm_dir(&self.runtime_dir, vm)
    }
}

fn vm_dir(base: &Path, vm: &VmId) -> PathBuf {
    base.join("vms").join(vm.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(vars: &[(&str, &str)]) -> Result<Paths, PathsError> {
        Paths::from_env(
            |name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()),
            1000,
            false,
        )
    }

    #[test]
    fn defaults_are_under_home() {
        let paths = paths(&[("HOME", "/home/u")]).unwrap();
        assert_eq!(paths.config_file, Path::new("/home/u/.config/banger/config.toml"));
        assert_eq!(paths.database(), Path::new("/home/u/.local/state/banger/banger.db"));
        assert_eq!(paths.daemon_socket(), Path::new("/tmp/banger-runtime-1000/bangerd.sock"));
    }

    #[test]
    fn a_service_of_the_system_has_its_own_sockets() {
        let of = |runtime: Option<&'static str>| {
            let lookup = |name: &str| match name {
                "HOME" => Some("/home/u".to_owned()),
                "XDG_RUNTIME_DIR" => runtime.map(ToOwned::to_owned),
                _ => None,
            };
            Paths::from_env(lookup, 1000, true).unwrap()
        };
        for runtime in [None, Some(""), Some("/run/user/1000"), Some("/run/user/1000/")] {
            let paths = of(runtime);
            assert_eq!(paths.daemon_socket(), Path::new("/run/banger/1000/bangerd.sock"));
            assert!(paths.is_serviced());
        }
        for other in ["/run/user/1001", "/tmp/x"] {
            let paths = of(Some(other));
            assert_eq!(paths.runtime_dir, Path::new(other).join("banger"));
            assert!(!paths.is_serviced());
        }
    }

    #[test]
    fn variables_win_and_must_be_absolute() {
        let runtime = paths(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/1")]).unwrap();
        assert_eq!(runtime.runtime_dir, Path::new("/run/user/1/banger"));
        assert_eq!(
            paths(&[("HOME", "/h"), ("XDG_STATE_HOME", "rel")]),
            Err(PathsError::Relative { variable: "XDG_STATE_HOME", value: "rel".into() })
        );
        assert_eq!(paths(&[]), Err(PathsError::NoHome));
        let told = "cannot tell where to keep things: `HOME` is not set";
        assert_eq!(PathsError::NoHome.to_string(), told);
    }
}
