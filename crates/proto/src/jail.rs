//! Daemon, supervisor ↔ the program that becomes a VMM (`banger-helper run --jail`).
//!
//! The daemon writes a [`JailSpec`] beside the launch file: what of the host's files the VMM finds, each at
//! its own path. The supervisor starts the helper with the writing end of a pipe as descriptor
//! [`REPORT_FD`], on which it is told, one JSON line each, which processes there are and what of the jail
//! this host does not let be ([`JailReport`]). The pipe ends when the VMM's program begins; whoever holds
//! the pipe's other end is who the VMM lives for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Name of the file with the [`JailSpec`] in a VM's runtime directory.
pub const JAIL_FILE: &str = "jail.json";
/// Name of the directory there in which a VMM makes what it makes. It can write nothing beside it.
pub const VMM_DIR: &str = "vmm";
/// Descriptor of the helper for its [`JailReport`]s. The VMM does not have it.
pub const REPORT_FD: i32 = 7;

/// What of the host's files is in the jail. Nothing else is; what is not there on the host is not there
/// in the jail either. All paths are absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JailSpec {
    /// Where the VMM begins, above something of all this; absent for the root directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// The VMM's program, and directories with its libraries: read and executed.
    pub execute: Vec<PathBuf>,
    /// Files and directories that are read.
    pub read: Vec<PathBuf>,
    /// Files and directories that are written, too.
    pub write: Vec<PathBuf>,
    /// Devices.
    pub devices: Vec<PathBuf>,
    /// Whether it has no network card, so that it needs no network either.
    pub offline: bool,
}

/// A part of the jail that a host may not let be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wall {
    /// Namespaces of its own: of processes, IPC, names of the host, mounts.
    Namespaces,
    /// A root directory with nothing in it but what the [`JailSpec`] names.
    Root,
    /// A network of its own with nothing in it, for VMs without a card.
    Network,
    /// The kernel's Landlock.
    Landlock,
}

impl Wall {
    /// What it is called, a fragment.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces of its own",
            Self::Root => "a root directory of its own",
            Self::Network => "a network of its own",
            Self::Landlock => "Landlock",
        }
    }
}

/// What a trial has found of the jail that VMMs get on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JailTrial {
    /// Why there is no jail at all, and no VM.
    pub failed: Option<String>,
    /// What they are without, and why.
    pub missing: Vec<(Wall, String)>,
}

/// One line on [`REPORT_FD`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JailReport {
    /// The processes, by the host's numbers. Both are children of whoever started the helper.
    Started {
        /// The VMM, or what becomes it. The helper's own process where it has no namespace of processes.
        vmm: u32,
        /// The first process of its namespace of processes, which does nothing: with it, all in the
        /// namespace end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        init: Option<u32>,
    },
    /// The VMM is without this part of the jail.
    Without {
        /// Which.
        wall: Wall,
        /// Why.
        reason: String,
    },
}
