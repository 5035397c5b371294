//! What the next daemon has to know of the namespace: a file in the runtime directory, which goes with
//! the host's boot as the namespace does.

use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use banger_proto::BridgeName;
use serde::{Deserialize, Serialize};

use super::super::privileged::NetworkError;
use crate::supervise::identity::ProcessIdentity;

/// Name of the file.
pub(super) const FILE: &str = "network.json";
/// Name of the next one while it is written.
pub(super) const NEW_FILE: &str = "network.json.new";

/// A process as it is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    /// Process id.
    pub(super) pid: u32,
    /// Clock ticks between the host's boot and its start.
    pub(super) start: u64,
}

impl Noted {
    /// The process.
    pub(super) fn identity(self) -> ProcessIdentity {
        ProcessIdentity { pid: self.pid, start: self.start }
    }

    /// Whether it is there still. One that has ended and whose parent has not noticed yet is not.
    pub(super) fn is_alive(self) -> bool {
        self.identity().is_running()
    }
}

impl From<ProcessIdentity> for Noted {
    fn from(process: ProcessIdentity) -> Self {
        Self { pid: process.pid, start: process.start }
    }
}

/// A namespace and who belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Namespace {
    /// Who keeps it.
    pub(super) holder: Noted,
    /// Inode of the user namespace, by which it is told from later ones.
    pub(super) userns_inode: u64,
    /// Inode of the network namespace.
    pub(super) netns_inode: u64,
    /// The way out, once it was opened.
    #[serde(default)]
    pub(super) uplink: Option<Noted>,
    /// What its bridge is called: as configured when it was made.
    #[serde(default)]
    pub(super) bridge: BridgeName,
}

impl Namespace {
    /// Whether its holder is there still.
    pub(super) fn is_held(&self) -> bool {
        self.holder.is_alive()
    }

    /// A process in it, if there is one: a VMM, or a helper.
    pub(super) fn find_process(&self) -> Result<Option<Noted>, NetworkError> {
        let listed = fs_err::read_dir("/proc").map_err(NetworkError::Record)?;
        let inside = |entry: io::Result<fs_err::DirEntry>| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            // Other users' are not told.
            (observe_inode(pid, "net")? == self.netns_inode).then_some(())?;
            ProcessIdentity::observe(pid).map(Noted::from)
        };
        Ok(listed.into_iter().find_map(inside))
    }

    /// The same namespace, reached by another process in it.
    pub(super) fn seen_from(&self, process: Noted) -> Self {
        Self { holder: process, ..self.clone() }
    }

    /// How a program is told to enter it.
    pub(super) fn render_arguments(&self) -> Vec<String> {
        let pid = self.holder.pid;
        let words = [
            ("--userns", format!("/proc/{pid}/ns/user")),
            ("--userns-inode", self.userns_inode.to_string()),
            ("--netns", format!("/proc/{pid}/ns/net")),
            ("--netns-inode", self.netns_inode.to_string()),
        ];
        words.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }
}

/// Inode of the process's namespace of this kind; none where it cannot be looked into.
pub(super) fn observe_inode(pid: u32, kind: &str) -> Option<u64> {
    fs_err::metadata(format!("/proc/{pid}/ns/{kind}")).ok().map(|metadata| metadata.ino())
}

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Record(PathBuf);

impl Record {
    /// That in the runtime directory `dir`.
    pub(super) fn at(dir: &Path) -> Self {
        Self(dir.join(FILE))
    }

    /// What it says. A file that nobody can make sense of says nothing: then no process is found by it
    /// that could be ended by mistake.
    pub(super) fn load(&self) -> Result<Option<Namespace>, NetworkError> {
        match fs_err::read(&self.0) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(NetworkError::Record(error)),
        }
    }

    /// Writes it anew.
    pub(super) fn save(&self, namespace: &Namespace) -> Result<(), NetworkError> {
        let new = self.0.with_file_name(NEW_FILE);
        let write = || {
            let mut options = fs_err::OpenOptions::new();
            options.options_mut().mode(0o600);
            let mut file = options.write(true).create(true).truncate(true).open(&new)?;
            io::Write::write_all(&mut file, &serde_json::to_vec(namespace)?)?;
            fs_err::rename(&new, &self.0)
        };
        write().map_err(NetworkError::Record)
    }

    /// Removes it.
    pub(super) fn remove(&self) -> Result<(), NetworkError> {
        match fs_err::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(NetworkError::Record(error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_again_and_damage_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::at(dir.path());
        assert_eq!(record.load().unwrap(), None);
        let me = Noted::from(ProcessIdentity::observe(std::process::id()).unwrap());
        let netns_inode = observe_inode(me.pid, "net").unwrap();
        let namespace = Namespace {
            holder: me,
            userns_inode: 1,
            netns_inode,
            uplink: None,
            bridge: "vms".parse().unwrap(),
        };
        record.save(&namespace).unwrap();
        assert_eq!(record.load().unwrap(), Some(namespace.clone()));
        assert!(namespace.is_held() && namespace.find_process().unwrap().is_some());
        let gone = Namespace { holder: Noted { start: me.start + 1, ..me }, ..namespace };
        assert!(!gone.is_held());
        fs_err::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(record.load().unwrap(), None);
        record.remove().unwrap();
        record.remove().unwrap();
    }
}
