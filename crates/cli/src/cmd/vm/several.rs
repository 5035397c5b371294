//! Doing one thing to several VMs: resolved from one listing, at once, reported in the order
//! given, going on past failures, with the exit code of the worst of them.

use banger_proto::api::{VmList, VmView};
use banger_proto::exit_code;
use clap_complete::ArgValueCompleter;
use futures_util::{StreamExt as _, stream};

use crate::client::Client;
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::reference::{VmRef, resolve};
use crate::signals::Signals;

/// VMs to which something is done at a time: more than wait for each other anywhere, fewer than the
/// daemon's socket lets wait.
const AT_ONCE: usize = 100;

/// Which VMs, and how it is told what was done to them.
#[derive(Debug, clap::Args)]
pub(crate) struct SeveralArgs {
    /// The VMs: names, ids or beginnings of ids
    #[arg(required = true, value_name = "VM", add = ArgValueCompleter::new(complete::other_vms))]
    vms: Vec<VmRef>,
    #[command(flatten)]
    tell: TellArgs,
}

/// How it is told what was done to VMs.
#[derive(Debug, clap::Args)]
pub(super) struct TellArgs {
    /// Print JSON: the VMs for which it went well
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

/// A VM that was meant, or why none was.
pub(super) type Target = Result<VmView, CliError>;

/// What a verb with several VMs works with.
#[derive(Debug)]
pub(super) struct Several<'c> {
    context: &'c Context,
    /// The daemon.
    pub(super) client: Client,
    /// What may interrupt the work.
    pub(super) signals: Signals,
    /// Where it shows.
    pub(super) progress: Progress,
    json: bool,
}

impl<'c> Several<'c> {
    /// The means, and the VMs that were meant, in order.
    pub(super) async fn find(
        context: &'c Context,
        args: SeveralArgs,
    ) -> Result<(Self, Vec<Target>), CliError> {
        let mut several = Self::open(context, args.tell).await?;
        let list = several.list().await?;
        let targets = resolve(&args.vms, &list.vms).into_iter();
        let targets = targets.map(|target| target.cloned()).collect();
        Ok((several, targets))
    }

    /// The means alone.
    pub(super) async fn open(context: &'c Context, tell: TellArgs) -> Result<Self, CliError> {
        let mut signals = Signals::ending()?;
        let progress = Progress::new(context, tell.progress);
        let client = context.daemon(&mut signals).await?;
        Ok(Self { context, client, signals, progress, json: tell.json })
    }

    /// All VMs there are.
    pub(super) async fn list(&mut self) -> Result<VmList, CliError> {
        self.signals.race(self.client.get("/v1/vms")).await
    }

    /// Does `act` to every VM and tells how it went. `doing` is what is shown meanwhile.
    pub(super) async fn each<F>(
        mut self,
        targets: Vec<Target>,
        doing: &str,
        act: impl Fn(Client, VmView) -> F,
    ) -> Outcome
    where
        F: Future<Output = Result<VmView, CliError>>,
    {
        let results = self.work(targets, doing, act).await?;
        self.tell(results)
    }

    /// Does `act` to every VM, as [`each`](Self::each), and returns how it went, in order.
    pub(super) async fn work<F>(
        &mut self,
        targets: Vec<Target>,
        doing: &str,
        act: impl Fn(Client, VmView) -> F,
    ) -> Result<Vec<Target>, CliError>
    where
        F: Future<Output = Result<VmView, CliError>>,
    {
        self.progress.begin(doing);
        let client = self.client.clone();
        let work = stream::iter(targets.into_iter().map(|target| {
            let work = target.map(|vm| act(client.clone(), vm));
            async { work?.await }
        }));
        let work = work.buffered(AT_ONCE).collect();
        let results = self.signals.race(async { Ok(work.await) }).await?;
        self.progress.clear();
        Ok(results)
    }

    /// Prints the VMs for which it went well, shows why it did not for the others.
    pub(super) fn tell(self, results: Vec<Result<VmView, CliError>>) -> Outcome {
        let ui = &self.context.ui;
        let mut vms = Vec::new();
        let mut worst = exit_code::OK;
        for result in results {
            match result {
                Ok(vm) if self.json => vms.push(vm),
                Ok(vm) => ui.print(vm.name.as_str())?,
                Err(error) => {
                    worst = worst.max(error.exit_code());
                    error.show(ui);
                }
            }
        }
        if self.json {
            ui.print_json(&VmList { vms })?;
        }
        if worst == exit_code::OK { Ok(worst) } else { Err(CliError::reported().exiting(worst)) }
    }
}
