//! SSH from this host into VMs: keys, who is known by them, and the client's configuration.
//!
//! ```text
//!  <state>/ssh/id_ed25519   this user, made on first need, or a key of the user's own
//!  <state>/vms/ID/ssh_…     a VM, made by the host before its first boot
//!         │ both go with the configuration of every boot
//!         ▼
//!  <state>/ssh/known_hosts  `NAME.vm` and `ID.vm`, pinned before the VM first runs
//!  <config>/ssh_config      how `ssh NAME.vm` gets there; the user's own may include it
//! ```
//!
//! | module | responsible for |
//! |---|---|
//! | `keys` | private keys in files |
//! | `known_hosts` | the file of VMs' public keys |
//! | `client` | the client's configuration |
//! | [`include`](mod@include) | the line in the user's own configuration |
//! | `face` | what the command line does with the client's files, without a daemon |
//!
//! The connection itself is a stream to the agent ([`crate::engine`]), and the client is OpenSSH.

mod client;
mod face;
pub mod include;
mod keys;
mod known_hosts;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use banger_proto::guest::SshKeys;
use banger_proto::{Code, Paths, Problem, VmId, VmName};

pub use face::{Included, include, prepare_client};
pub(crate) use keys::HOST_KEY;

use known_hosts::KnownHost;

/// Why SSH into VMs cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A file cannot be read or written; the error names it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file that should have a key has none.
    #[error("`{path}` is not an SSH key")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        #[source]
        source: ssh_key::Error,
    },
    /// A key could not be made.
    #[error("cannot make an SSH key")]
    Make(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A path that no client's configuration can hold.
    #[error("`{0}` cannot be written in an SSH client's configuration")]
    Path(PathBuf),
}

impl From<SshError> for Problem {
    fn from(error: SshError) -> Self {
        Self::from_error(Code::OperationFailed, &error)
    }
}

/// The keys of one user and of their VMs. Clones are the same.
#[derive(Debug, Clone)]
pub struct Ssh {
    paths: Paths,
    /// The user's own key, instead of the managed one.
    own_key: Option<PathBuf>,
    /// Held while the file of known hosts is changed: the daemon is its only writer.
    changing: Arc<Mutex<()>>,
}

impl Ssh {
    /// Keys at `paths`; `own_key` is the user's own private key, as configured.
    #[must_use]
    pub fn new(paths: &Paths, own_key: Option<PathBuf>, home: Option<&Path>) -> Self {
        let own_key = own_key.map(|path| expand_home(path, home));
        Self { paths: paths.clone(), own_key, changing: Arc::default() }
    }

    /// The private key that the client uses; the managed one is made if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn ensure_identity(&self) -> Result<PathBuf, SshError> {
        match &self.own_key {
            Some(path) => Ok(path.clone()),
            None => keys::ensure_identity(&self.paths.ssh_dir()),
        }
    }

    /// What a guest is told at its boot, and what should be told to whoever boots it. Makes what
    /// is missing, and pins the VM's key before it first runs. Blocks.
    ///
    /// # Errors
    /// When keys or the file of known hosts cannot be made. A key of the user's own that is
    /// missing is no error: then nobody gets in.
    pub fn introduce(
        &self,
        vm: &VmId,
        name: &VmName,
    ) -> Result<(SshKeys, Option<String>), SshError> {
        let host_key = keys::ensure_host_key(&self.paths.vm_state_dir(vm))?;
        let known = KnownHost { vm: vm.clone(), name: name.clone(), key: host_key.public };
        self.change_known(|text| known_hosts::pin(text, &known))?;
        let identity = self.ensure_identity().and_then(|path| keys::load_public(&path));
        let (authorized_keys, notice) = match (identity, &self.own_key) {
            (Ok(key), _) => (vec![key], None),
            (Err(error), Some(_)) => (Vec::new(), Some(no_key_of_own(&error))),
            (Err(error), None) => return Err(error),
        };
        Ok((SshKeys { host_key: host_key.private, authorized_keys }, notice))
    }

    /// Forgets a VM. Done twice, it is done once. Blocks.
    ///
    /// # Errors
    /// When the file of known hosts cannot be changed.
    pub fn forget(&self, vm: &VmId) -> Result<(), SshError> {
        self.change_known(|text| known_hosts::unpin(text, vm))
    }

    /// Makes the known hosts exactly the VMs that there are. Blocks.
    ///
    /// # Errors
    /// When the file cannot be changed.
    pub fn settle(&self, vms: &[(VmId, VmName)]) -> Result<(), SshError> {
        // One without a key was never booted by a version that makes them, and gets one when it is.
        let known: Vec<_> = vms
            .iter()
            .filter_map(|(vm, name)| {
                let key = keys::load_host_key(&self.paths.vm_state_dir(vm)).ok()?;
                Some(KnownHost { vm: vm.clone(), name: name.clone(), key: key.public })
            })
            .collect();
        self.change_known(|text| known_hosts::settle(text, &known))
    }

    fn change_known(&self, change: impl FnOnce(&str) -> String) -> Result<(), SshError> {
        let _held = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known_hosts::change(&self.paths.known_hosts(), change)?)
    }
}

fn expand_home(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

fn no_key_of_own(error: &SshError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!(
        "ssh will not get in, for want of the key `ssh_key_path`: {error}{}",
        cause.unwrap_or_default()
    )
}

/// Replaces the file `path`, for this user only.
fn save_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let file = write_private(path, contents)?;
    file.persist(path).map_err(|error| named(&error.error, path))?;
    Ok(())
}

/// Writes a nameless file, for this user only, where `path` will be.
fn write_private(path: &Path, contents: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    use std::io::Write as _;
    let dir = path.parent().unwrap_or(Path::new("/"));
    crate::private::ensure_dir(dir)?;
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".banger-").tempfile_in(dir)?;
        file.write_all(contents)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(|error: io::Error| named(&error, path))
}

fn named(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests;
