//! Shell completion: the grammar from clap, names from the daemon if one runs. It never starts
//! a daemon, never says anything, and gives up before a person notices.

use std::ffi::OsStr;
use std::sync::OnceLock;
use std::time::Duration;

use banger_proto::api::{ImageList, KernelList, SnapshotList, SnapshotView, VmList};
use banger_proto::exit_code;
use clap::CommandFactory as _;
use clap_complete::CompletionCandidate;
use clap_complete::engine::{PathCompleter, ValueCompleter as _};
use clap_complete::env::CompleteEnv;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::{Presence, find};
use crate::cmd::Cli;
use crate::environment::{COMPLETE, Environment};
use crate::operations::{complete, parse_description};

/// How long the daemon may take to answer. It takes a millisecond, and the whole completion
/// under thirty; only one that hangs is cut off, before it looks as if the shell did.
const PATIENCE: Duration = Duration::from_millis(250);

/// What completers look at: clap calls them without an argument of ours.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// Gives the description of the interface; as above.
static DESCRIBE: OnceLock<fn() -> Value> = OnceLock::new();

/// Answers the shell; the process's exit code.
pub(crate) fn answer(environment: Environment, describe: fn() -> Value) -> u8 {
    let environment = ENVIRONMENT.get_or_init(|| environment);
    DESCRIBE.get_or_init(|| describe);
    let cwd = environment.cwd.as_deref().ok();
    let answered = CompleteEnv::with_factory(Cli::command)
        .var(COMPLETE)
        .try_complete(environment.args.clone(), cwd);
    if answered.is_ok() { exit_code::OK } else { exit_code::FAILURE }
}

/// Names of VMs.
pub(crate) fn vms() -> Vec<CompletionCandidate> {
    vm_names().into_iter().map(CompletionCandidate::new).collect()
}

/// Names of VMs that are not on the command line yet.
pub(crate) fn other_vms(typed: &OsStr) -> Vec<CompletionCandidate> {
    others(vm_names(), typed)
}

/// Names of images that are not on the command line yet.
pub(crate) fn other_images(typed: &OsStr) -> Vec<CompletionCandidate> {
    others(image_names(), typed)
}

/// Names of kernels that are not on the command line yet.
pub(crate) fn other_kernels(typed: &OsStr) -> Vec<CompletionCandidate> {
    others(kernel_names(), typed)
}

/// Names of snapshots that are not on the command line yet, as [`snapshots`].
pub(crate) fn other_snapshots(typed: &OsStr) -> Vec<CompletionCandidate> {
    others(snapshot_names(), typed)
}

/// Those of `names` that begin as the word that is `typed`, and are no other word of the line.
fn others(names: Vec<String>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let begins = |name: &String| typed.to_str().is_some_and(|typed| name.starts_with(typed));
    // The word that is being typed is on the line, too, and may be whole already.
    let is_other = |name: &String| count_words(name) <= usize::from(typed == name.as_str());
    let others = names.into_iter().filter(|name| begins(name) && is_other(name));
    others.map(CompletionCandidate::new).collect()
}

/// How often `word` is on the command line.
fn count_words(word: &str) -> usize {
    let words = |environment: &Environment| {
        environment.args.iter().filter(|arg| arg.as_os_str() == word).count()
    };
    ENVIRONMENT.get().map_or(0, words)
}

/// What one side of a copy can be: a VM with the colon after it, or a path of this host.
pub(crate) fn places(typed: &OsStr) -> Vec<CompletionCandidate> {
    let begins = |name: &String| typed.to_str().is_some_and(|typed| name.starts_with(typed));
    let vms = vm_names().into_iter().map(|name| format!("{name}:")).filter(begins);
    let vms = vms.map(CompletionCandidate::new);
    vms.chain(PathCompleter::any().complete(typed)).collect()
}

/// Names of snapshots: of the VM that is on the command line.
pub(crate) fn snapshots() -> Vec<CompletionCandidate> {
    snapshot_names().into_iter().map(CompletionCandidate::new).collect()
}

/// Names of images.
pub(crate) fn images() -> Vec<CompletionCandidate> {
    image_names().into_iter().map(CompletionCandidate::new).collect()
}

/// Names of kernels.
pub(crate) fn kernels() -> Vec<CompletionCandidate> {
    kernel_names().into_iter().map(CompletionCandidate::new).collect()
}

fn snapshot_names() -> Vec<String> {
    let list = ask("/v1/snapshots").map_or_else(Vec::new, |list: SnapshotList| list.snapshots);
    let meant = |snapshot: &SnapshotView| {
        count_words(snapshot.vm_name.as_str()) + count_words(snapshot.vm.as_str()) > 0
    };
    list.into_iter().filter(meant).map(|snapshot| snapshot.name.into()).collect()
}

fn image_names() -> Vec<String> {
    let list = ask("/v1/images").map_or_else(Vec::new, |list: ImageList| list.images);
    list.into_iter().map(|image| image.name).collect()
}

fn kernel_names() -> Vec<String> {
    let list = ask("/v1/kernels").map_or_else(Vec::new, |list: KernelList| list.kernels);
    list.into_iter().map(|kernel| kernel.name).collect()
}

/// Paths of the interface, with names of VMs where those stand.
pub(crate) fn api_paths(typed: &OsStr) -> Vec<CompletionCandidate> {
    let (Some(typed), Some(describe)) = (typed.to_str(), DESCRIBE.get()) else { return Vec::new() };
    // Asked once, whatever number of paths has a VM in it.
    let vms = OnceLock::new();
    let names = |parameter: &str| match parameter {
        "vm" => vms.get_or_init(vm_names).clone(),
        _ => Vec::new(),
    };
    let paths = complete(&parse_description(&describe()), typed, names);
    paths.into_iter().map(CompletionCandidate::new).collect()
}

fn vm_names() -> Vec<String> {
    let list = ask("/v1/vms").map_or_else(Vec::new, |list: VmList| list.vms);
    list.into_iter().map(|vm| vm.name.into()).collect()
}

fn ask<T: DeserializeOwned>(path: &str) -> Option<T> {
    let environment = ENVIRONMENT.get()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let answer = async {
            match find(environment).await.ok()? {
                Presence::Running(client) => client.get(path).await.ok(),
                Presence::Absent => None,
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.ok()?
    })
}
