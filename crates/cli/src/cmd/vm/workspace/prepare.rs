//! `banger vm workspace prepare`

use std::path::PathBuf;

use banger_proto::api::{
    Event, GuestBranch, PrepareWorkspace, VmView, WorkspaceMode, WorkspaceSource,
};
use banger_proto::exit_code;
use clap::ValueEnum;
use clap_complete::ArgValueCandidates;

use crate::client::Client;
use crate::cmd::Context;
use crate::cmd::vm::machine::BranchArgs;
use crate::cmd::vm::run::{show_dry_run, unexpected};
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::reference::{VmRef, vm_path};
use crate::signals::Signals;
use crate::{complete, repository};

/// What a signal leads to: the trees are exchanged at once, in the last moment.
const INTERRUPTED: &str = "interrupted; the VM has the repository that it had, or the new one";

/// Bring your repository into a running VM, in the place of the one that is there
///
/// Tracked files come as they are on your disk. What the repository's rules ignore stays in the VM:
/// build output, packages. Files that were changed or made there and commits that you do not have
/// would be lost, so then it is refused and they are named; `banger vm workspace export` brings
/// them home. If anything breaks on the way, the VM keeps the repository it had.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm workspace prepare web                    the repository it came from, as it is now
  banger vm workspace prepare web ~/src/site         another one
  banger vm workspace prepare --mode full web .      with all history, branches and submodules
  banger vm workspace prepare --branch fix --from v1.2 web
  banger vm workspace prepare --dry-run web .        only list what would travel")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// Directory in a git repository [default: the one that the VM's workspace came from]
    #[arg(value_hint = clap::ValueHint::DirPath)]
    path: Option<PathBuf>,
    /// shallow: the commit that is checked out; full: all branches, tags and history, and the
    /// submodules that are checked out [default: as last time, else shallow]
    #[arg(long, value_name = "MODE", hide_possible_values = true)]
    mode: Option<Mode>,
    #[command(flatten)]
    branch: BranchArgs,
    /// Bring files that git neither tracks nor ignores, too
    #[arg(long)]
    include_untracked: bool,
    /// Also when work in the VM is lost by it
    #[arg(long)]
    force: bool,
    /// Show what would travel; change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

/// What `--mode` takes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Shallow,
    Full,
}

impl From<Mode> for WorkspaceMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Shallow => Self::Shallow,
            Mode::Full => Self::Full,
        }
    }
}

pub(super) async fn prepare(context: &Context, args: Args) -> Outcome {
    let path = match &args.path {
        Some(path) => Some(repository::check(path, context.environment.require_cwd()?)?),
        None => None,
    };
    let request = PrepareWorkspace {
        path,
        mode: args.mode.map(WorkspaceMode::from),
        branch: args.branch.into_branch(),
        include_untracked: args.include_untracked,
        force: args.force,
    };
    if args.dry_run {
        return dry_run(context, &args.vm, request).await;
    }
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    ask(&client, &vm_path(&args.vm, ""), &request, &mut progress, &mut signals).await?;
    progress.remark("a shell that was in it has to enter it again: cd /root/repo");
    Ok(exit_code::OK)
}

/// Brings in again what `vm` has, in the same way.
pub(crate) async fn prepare_again(
    context: &Context,
    client: &Client,
    vm: &VmView,
    signals: &mut Signals,
) -> Result<VmView, CliError> {
    let workspace = vm.workspace.clone().unwrap_or_default();
    let request = PrepareWorkspace {
        path: None,
        mode: None,
        branch: workspace.guest_branch,
        include_untracked: workspace.include_untracked,
        force: false,
    };
    let mut progress = Progress::new(context, ProgressArg::default());
    ask(client, &vm_path(&vm.id, ""), &request, &mut progress, signals).await
}

async fn ask(
    client: &Client,
    vm: &str,
    request: &PrepareWorkspace,
    progress: &mut Progress,
    signals: &mut Signals,
) -> Result<VmView, CliError> {
    let call = format!("{vm}/workspace/prepare");
    let events = client.events(&call, request);
    let mut events = signals.race_or(INTERRUPTED, events).await?;
    let vm = match progress.follow_or(INTERRUPTED, &mut events, signals).await? {
        Event::WorkspaceReady { vm } => *vm,
        other => return Err(unexpected(&other)),
    };
    if let Some(workspace) = &vm.workspace {
        let branch = workspace.branch.as_deref().unwrap_or("no branch");
        let head = workspace.head.as_deref().map_or("no commit yet", repository::short);
        progress.remark(&format!("{} is in {} ({branch}, {head})", workspace.host_path, vm.name));
    }
    Ok(vm)
}

async fn dry_run(context: &Context, vm: &VmRef, request: PrepareWorkspace) -> Outcome {
    let PrepareWorkspace { path, mode, branch, include_untracked, force: _ } = request;
    let source = |path, mode: Option<_>, branch: Option<GuestBranch>| WorkspaceSource {
        path,
        include_untracked,
        mode: mode.unwrap_or_default(),
        branch,
    };
    let source = match path {
        Some(path) => source(path, mode, branch),
        // Where the workspace came from, only the daemon knows.
        None => {
            let view: VmView = context.daemon_to_ask().await?.get(&vm_path(vm, "")).await?;
            let present = view.workspace.ok_or_else(|| {
                CliError::usage(format!("VM `{}` has no workspace", view.name))
                    .hint(format!("banger vm workspace prepare --dry-run {} PATH", view.name))
            })?;
            source(present.host_path, mode.or(Some(present.mode)), branch)
        }
    };
    let plan = (context.hooks.dry_run_workspace)(&source).await?;
    show_dry_run(context, plan)?;
    Ok(exit_code::OK)
}
