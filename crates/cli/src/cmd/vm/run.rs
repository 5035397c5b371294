//! `banger vm run`

use std::collections::BTreeMap;

use banger_proto::api::{CreateVm, Entrypoint, EntrypointOptions, Event, VmView};
use banger_proto::harmless::render_line;
use banger_proto::{Code, exit_code};

use super::attach::{AttachArgs, Attachment, attach, remind};
use super::bootstrap::Bootstrap;
use super::machine::MachineArgs;
use crate::client::Client;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::hooks::DryRun;
use crate::progress::{Progress, ProgressArg};
use crate::reference::vm_path;
use crate::signals::Signals;
use crate::table::render_pairs;

/// Make a VM and use it: a shell, or one command
///
/// Without a command you get a shell; with --entrypoint the image's own program runs instead. With a path, the git repository it is in is copied to
/// /root/repo first: its tracked files, with your uncommitted edits. With a command after `--`,
/// input, output, signals and exit code are the command's own; banger's own failures exit
/// with 125.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm run                                a shell in a new VM
  banger vm run .                              a shell with this repository in /root/repo
  banger vm run --rm . -- make test            one command, and the VM goes afterwards
  banger vm run --nat .                        and the tools that it names, installed by mise
  banger vm run -d --name web --memory 4G      a VM that stays in the background
  banger vm run -d --image nginx --entrypoint  the image's own program, as a service")]
pub(crate) struct Args {
    #[command(flatten)]
    machine: MachineArgs,
    /// Delete the VM when the session or command ends
    #[arg(long)]
    rm: bool,
    /// Make the VM, print its name, and leave it running
    #[arg(short, long)]
    detach: bool,
    /// Run the image's own program: in the foreground, or as a service with -d
    ///
    /// What stands after `--` replaces the arguments that the image has for it. As a service it
    /// is started at every boot, writes to `banger vm logs`, and gets the image's stop signal
    /// when the VM is stopped.
    #[arg(long)]
    entrypoint: bool,
    /// Do not have mise install the tools that the workspace names
    ///
    /// With --nat, a shell or a VM in the background gets the tools of mise.toml, .mise.toml or
    /// .tool-versions: behind the shell, and before -d returns. What mise says is in
    /// `banger vm jobs`. One command never does it.
    #[arg(long)]
    no_bootstrap: bool,
    /// Show what would be done, and which files would travel; make nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    attach: AttachArgs,
    #[command(flatten)]
    progress: ProgressArg,
    /// Command to run in the VM; with --entrypoint, arguments of the image's program
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    let guest_command = !args.detach && (args.entrypoint || !args.command.is_empty());
    let outcome = run_vm(context, args).await;
    if guest_command { outcome.map_err(CliError::in_guest_command) } else { outcome }
}

async fn run_vm(context: &Context, args: Args) -> Outcome {
    check_detached(&args)?;
    let entrypoint = plan_entrypoint(&args);
    let one_command = !args.command.is_empty() || (args.entrypoint && !args.detach);
    let bootstrap = !args.no_bootstrap && !one_command;
    let request = CreateVm {
        ephemeral: args.rm,
        entrypoint,
        bootstrap,
        ..args.machine.into_request(context)?
    };
    if args.dry_run {
        return dry_run(context, &request).await;
    }
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    let mut events = signals.race(client.events("/v1/vms", &request)).await?;
    let vm = match progress.follow(&mut events, &mut signals).await? {
        Event::VmReady { vm, .. } => vm,
        other => return Err(unexpected(&other)),
    };
    let user = args.attach.user.clone();
    let tools = Bootstrap::plan(context, &client, &vm, user).filter(|_| bootstrap);
    if args.detach {
        context.ui.print(vm.name.as_str())?;
        if let Some(tools) = tools {
            tools.finish(&mut signals).await?;
        }
        progress.remark(&format!("enter it: banger exec {}", vm.name));
        return Ok(exit_code::OK);
    }
    if let Some(tools) = tools {
        tools.begin(&mut signals).await?;
    }
    let shell = args.command.is_empty() && !args.entrypoint;
    let interactive = shell && args.attach.terminal(context);
    let attachment = Attachment {
        args: args.attach,
        argv: args.command,
        entrypoint: args.entrypoint,
        env: BTreeMap::new(),
    };
    let outcome = attach(context, &client, &vm, attachment, &mut signals).await;
    if args.rm {
        remove(context, &client, &vm, &mut progress).await;
    } else if interactive || !progress.is_silent() {
        remind(context, &vm);
    }
    // Kept until here: closing the stream deletes an ephemeral VM, also when we are killed.
    drop(events);
    outcome
}

/// How the VM uses its image's own program.
fn plan_entrypoint(args: &Args) -> Option<Entrypoint> {
    let options = || EntrypointOptions {
        args: args.command.clone(),
        cwd: args.attach.workdir.clone(),
        user: args.attach.user.clone(),
    };
    args.entrypoint
        .then(|| if args.detach { Entrypoint::Service(options()) } else { Entrypoint::Attached })
}

/// What a VM in the background cannot have.
fn check_detached(args: &Args) -> Result<(), CliError> {
    if !args.detach {
        return Ok(());
    }
    if args.rm {
        return Err(CliError::usage("a VM cannot be both left running (-d) and removed (--rm)")
            .hint("leave one of them out; `banger rm NAME` removes a VM later"));
    }
    if !args.command.is_empty() && !args.entrypoint {
        return Err(CliError::usage("a command needs somebody to wait for it: -d has none")
            .hint("make the VM with -d, then run `banger exec NAME -- COMMAND`"));
    }
    Ok(())
}

async fn dry_run(context: &Context, request: &CreateVm) -> Outcome {
    show_dry_run(context, (context.hooks.dry_run)(request).await?)?;
    Ok(exit_code::OK)
}

/// Shows a plan, and the files that would travel.
pub(super) fn show_dry_run(context: &Context, plan: DryRun) -> Result<(), CliError> {
    context.ui.print(&render_pairs(plan.plan))?;
    if let Some(files) = plan.files {
        context.ui.print(&format!("files: {}", files.len()))?;
        for file in files {
            context.ui.print(&format!("  {}", render_line(&file)))?;
        }
    }
    Ok(())
}

/// Deletes the VM of `--rm`. Signals are not looked at any more: nothing cuts this short. A
/// failure is told, and the command's own outcome stays the outcome.
async fn remove(context: &Context, client: &Client, vm: &VmView, progress: &mut Progress) {
    progress.begin("removing the VM");
    let removed = client.delete::<VmView>(&vm_path(&vm.id, "")).await;
    progress.clear();
    match removed {
        Ok(_) => {}
        Err(error) if *error.code() == Code::NotFound => {}
        Err(error) => {
            error.hint(format!("remove it with `banger rm {}`", vm.name)).show(&context.ui)
        }
    }
}

/// An end of the event stream that does not belong to a VM.
pub(super) fn unexpected(event: &Event) -> CliError {
    CliError::failure(format!("the daemon ended the request with something else: {event:?}"))
}
