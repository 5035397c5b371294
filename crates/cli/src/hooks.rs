//! What the command line needs of the daemon's crate, as function pointers: only `main.rs` knows
//! both crates, so that no command can reach into the engine.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use banger_proto::Problem;
use banger_proto::api::CreateVm;
use futures_util::future::LocalBoxFuture;

/// The other programs of this file, and the two questions that are answered without a daemon.
#[derive(Debug, Clone, Copy)]
pub struct Hooks {
    /// The daemon (`bangerd [--ready-fd N]`), given its arguments without the program's name.
    pub daemon: fn(&[OsString]) -> ExitCode,
    /// The supervisor (`banger-supervisor LAUNCH-FILE`).
    pub supervisor: fn(&Path) -> ExitCode,
    /// Plans a VM without making anything.
    pub dry_run: fn(&CreateVm) -> LocalBoxFuture<'_, Result<DryRun, Problem>>,
    /// Identity of this program's file, in the form of
    /// [`DaemonStatus::build`](banger_proto::api::DaemonStatus::build).
    pub build: fn() -> String,
}

/// What `vm run --dry-run` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRun {
    /// The plan as labels and values, in the order to show.
    pub plan: Vec<(String, String)>,
    /// The workspace's files as they would travel, by path from the top of the repository;
    /// absent without a workspace.
    pub files: Option<Vec<String>>,
}
