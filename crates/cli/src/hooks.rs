//! What the command line needs of the daemon's crate, as function pointers: only `main.rs` knows
//! both crates, so that no command can reach into the engine.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use banger_proto::api::{CreateVm, WorkspaceSource};
use banger_proto::{ByteSize, ImageName, Problem};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The other programs of this file, and what is done without a daemon.
#[derive(Debug, Clone, Copy)]
pub struct Hooks {
    /// The daemon (`bangerd [--ready-fd N]`), given its arguments without the program's name.
    pub daemon: fn(&[OsString]) -> ExitCode,
    /// The supervisor (`banger-supervisor LAUNCH-FILE`).
    pub supervisor: fn(&Path) -> ExitCode,
    /// Plans a VM without making anything.
    pub dry_run: fn(&CreateVm) -> LocalBoxFuture<'_, Result<DryRun, Problem>>,
    /// Plans to bring a workspace into a VM without doing it.
    pub dry_run_workspace: fn(&WorkspaceSource) -> LocalBoxFuture<'_, Result<DryRun, Problem>>,
    /// Packs a kernel for publishing.
    pub make_kernel_bundle: fn(&KernelBundle) -> Result<MadeBundle, Problem>,
    /// Packs an image for publishing, until the token is set off.
    pub make_image_bundle:
        fn(ImageBundle, CancellationToken) -> LocalBoxFuture<'static, Result<MadeBundle, Problem>>,
    /// Identity of this program's file, in the form of
    /// [`DaemonStatus::build`](banger_proto::api::DaemonStatus::build).
    pub build: fn() -> String,
    /// Makes sure that an SSH client has all that it needs to reach VMs.
    pub ssh_client: fn() -> Result<SshClient, Problem>,
    /// Includes that in the user's own configuration (true), takes it out again (false), or only
    /// looks whether it is there.
    pub ssh_include: fn(Option<bool>) -> Result<SshInclude, Problem>,
    /// Reads the configuration as a daemon that starts now would.
    pub configuration: fn() -> Result<Configuration, Problem>,
    /// Reads a log of bounded size, the older of its files included: all of it or this many of
    /// its last lines, then, if the last is true, what is written to it, without an end.
    pub read_log: fn(PathBuf, Option<usize>, bool) -> Chunks,
    /// The description of the daemon's interface, in OpenAPI; that of this build, whatever runs.
    pub describe: fn() -> serde_json::Value,
}

/// What a log is read with: chunks, and why there are no more.
pub type Chunks = mpsc::Receiver<io::Result<Bytes>>;

/// What is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// The file.
    pub file: PathBuf,
    /// Whether it is there.
    pub exists: bool,
    /// Every key, in the order to show.
    pub settings: Vec<Configured>,
    /// What is odd about the file, a line each.
    pub warnings: Vec<String>,
}

/// A key of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Configured {
    /// Its name, with the table in front (`vm_defaults.vcpu`).
    pub key: &'static str,
    /// Its value as the file would have it; null where the file can only leave it out.
    pub value: serde_json::Value,
    /// Its value for people: a line, or for a list a line an entry.
    pub text: String,
    /// Where it came from: `config`, `auto` or `builtin`.
    pub origin: String,
}

/// A kernel to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelBundle {
    /// An ELF `vmlinux`, a bzImage or a Debian package.
    pub kernel: PathBuf,
    /// Its modules: a directory or a `modules.cpio`; absent for the package's.
    pub modules: Option<PathBuf>,
    /// Its configuration; absent for the package's, or what the kernel carries.
    pub config: Option<PathBuf>,
    /// Distribution that its source comes from.
    pub distro: String,
    /// One line about it.
    pub description: String,
    /// Where the bundle goes.
    pub out: PathBuf,
}

/// What an SSH client needs to reach VMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshClient {
    /// Its configuration.
    pub config: PathBuf,
    /// The line that includes it in another one.
    pub include: String,
}

/// The line in the user's own configuration of SSH clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshInclude {
    /// That configuration.
    pub user_config: PathBuf,
    /// Whether the line is in it.
    pub installed: bool,
    /// Whether the file was changed now.
    pub changed: bool,
}

/// What `--dry-run` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRun {
    /// The plan as labels and values, in the order to show.
    pub plan: Vec<(String, String)>,
    /// The workspace's files as they would travel, by path from the top of the repository;
    /// absent without a workspace.
    pub files: Option<Vec<String>>,
}

/// An image to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBundle {
    /// The archive of the root file system; none for standard input.
    pub rootfs_tar: Option<PathBuf>,
    /// Name of the image.
    pub name: ImageName,
    /// Distribution.
    pub distro: String,
    /// Architecture as the distribution calls it.
    pub arch: String,
    /// Kernel it wants; absent for the default one.
    pub kernel_ref: Option<String>,
    /// One line about it.
    pub description: String,
    /// The most that its files may have together; absent for what any image may.
    pub size: Option<ByteSize>,
    /// The directory that the bundle is put into.
    pub out: PathBuf,
}

/// A bundle that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeBundle {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
}
