//! A command or shell in a VM, attached to this process: what `run`, `exec` and `ssh` share.

use std::collections::BTreeMap;

use banger_proto::api::{ExecVm, VmView};
use banger_proto::env;

use super::machine::parse_workdir;
use crate::client::Client;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::reference::vm_path;
use crate::session::{self, Ended, Wiring};
use crate::signals::Signals;
use crate::terminal;

/// How the command runs.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct AttachArgs {
    /// Directory to run in [default: the workspace, else the image's, else the user's home]
    #[arg(long, value_name = "DIR", value_parser = parse_workdir)]
    pub(super) workdir: Option<String>,
    /// User to run as, by name or number, optionally with a group after `:` [default: the image's,
    /// or root where there is a workspace]
    #[arg(long, value_name = "USER")]
    pub(super) user: Option<String>,
    /// Give the command a terminal, also when input or output is none
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Pass standard input through (the default, accepted for habit)
    #[arg(short, long)]
    pub(super) interactive: bool,
}

/// What to run.
#[derive(Debug, Default)]
pub(super) struct Attachment {
    /// How.
    pub(super) args: AttachArgs,
    /// Program and arguments; empty for a shell. Arguments only with `entrypoint`.
    pub(super) argv: Vec<String>,
    /// Whether it is the image's own program.
    pub(super) entrypoint: bool,
    /// Variables on top of the VM's.
    pub(super) env: BTreeMap<String, String>,
}

impl AttachArgs {
    /// Whether the command gets a terminal: when asked for, or when a person types and reads.
    pub(super) fn terminal(&self, context: &Context) -> bool {
        self.tty || context.ui.interactive()
    }
}

impl Attachment {
    /// What the daemon is asked for.
    pub(super) fn request(self, context: &Context, terminal: bool, stdin: bool) -> ExecVm {
        let Self { args, argv, entrypoint, env: mut variables } = self;
        if let Some(term) = context.environment.term.clone().filter(|_| terminal) {
            variables.entry(env::TERM.to_owned()).or_insert(term);
        }
        ExecVm {
            argv,
            entrypoint,
            env: variables,
            cwd: args.workdir,
            user: args.user,
            terminal: terminal.then(terminal::size),
            stdin,
        }
    }
}

/// Runs it in `vm` and gives the exit code.
pub(super) async fn attach(
    context: &Context,
    client: &Client,
    vm: &VmView,
    attachment: Attachment,
    signals: &mut Signals,
) -> Outcome {
    let terminal = attachment.args.terminal(context);
    let request = attachment.request(context, terminal, true);
    let path = vm_path(&vm.id, "/exec");
    let session = signals.race(client.upgrade(&path, &request)).await?;
    let raw = terminal && context.ui.stdin_terminal;
    let wiring =
        Wiring { terminal, raw, input: true, detachable: false, filtered: false, aside: false };
    match session::run(session, wiring, signals).await? {
        Ended::Exit(exit) => Ok(exit.shell_code()),
        Ended::Open | Ended::Detached => {
            Err(CliError::failure("the session ended before the command"))
        }
    }
}

/// Tells after a session that its VM is there.
pub(super) fn remind(context: &Context, vm: &VmView) {
    let name = &vm.name;
    let text = format!(
        "VM `{name}` is still running.\n  \
         enter it again:  banger exec {name}\n  \
         stop it:         banger vm stop {name}\n  \
         delete it:       banger rm {name}"
    );
    context.ui.note(context.ui.dim(&text));
}
