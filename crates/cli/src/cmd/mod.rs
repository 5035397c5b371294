//! The commands: one file each, in the tree in which they are typed.

mod api;
mod completion;
mod config;
mod daemon;
mod doctor;
mod image;
mod internal;
mod kernel;
mod resolved;
mod snapshot;
mod ssh_config;
mod system;
pub(crate) mod top;
mod update;
mod version;
mod vm;

use std::ffi::{OsStr, OsString};

use banger_proto::{build, exit_code};
use clap::error::ErrorKind;
use clap::{
    ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum as _,
};

use crate::client::{self, Client};
use crate::complete;
use crate::environment::Environment;
use crate::errors::{CliError, Outcome};
use crate::hooks::Hooks;
use crate::signals::Signals;
use crate::ui::Ui;

use resolved::resolve_defaults;

/// Disposable, fully isolated Linux VMs, one command each
///
/// The image, the kernel and the daemon are obtained and started when they are first needed.
#[derive(Debug, Parser)]
#[command(
    name = "banger",
    version = build::current().version,
    after_help = "\
Start here:
  banger run                          a shell in a new VM
  banger run --rm . -- make test      this repository's tests in a VM that goes afterwards
Then:
  banger ls                           your VMs
  banger top                          the same as it changes, with keys to work on them
  banger doctor                       whether this host is fit"
)]
pub(crate) struct Cli {
    /// When to colour output
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Vm(vm::Command),
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    #[command(subcommand)]
    Image(image::Command),
    #[command(subcommand)]
    Kernel(kernel::Command),
    #[command(subcommand)]
    Daemon(daemon::Command),
    #[command(subcommand)]
    System(system::Command),
    #[command(subcommand, hide = true)]
    Internal(internal::Command),
    #[command(subcommand)]
    Config(config::Command),
    Doctor(doctor::Args),
    Api(api::Args),
    SshConfig(ssh_config::Args),
    Update(update::Args),
    Version(version::Args),
    Completion(completion::Args),
    Ps(vm::list::PsArgs),
    #[command(about = "Short for `vm run`")]
    Run(vm::run::Args),
    #[command(about = "Short for `vm exec`")]
    Exec(vm::exec::Args),
    #[command(about = "Short for `vm ssh`")]
    Ssh(vm::ssh::Args),
    #[command(about = "Short for `vm list`")]
    Ls(vm::list::Args),
    #[command(about = "Short for `vm delete`")]
    Rm(vm::delete::Args),
    Top(top::Args),
}

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// The standard streams.
    pub(crate) ui: Ui,
    /// The process's surroundings.
    pub(crate) environment: Environment,
    /// The daemon's crate, through a keyhole.
    pub(crate) hooks: Hooks,
}

impl Context {
    /// The daemon, started if there is none. A signal gives up waiting for it.
    pub(crate) async fn daemon(&self, signals: &mut Signals) -> Result<Client, CliError> {
        signals.race(client::ensure(&self.environment, self.hooks.build)).await
    }

    /// The daemon, for a command that has nothing to clear up here, and that a signal may simply end.
    pub(crate) async fn daemon_to_ask(&self) -> Result<Client, CliError> {
        client::ensure(&self.environment, self.hooks.build).await
    }
}

/// The command line from its words to its exit code.
pub(crate) fn main(environment: Environment, hooks: Hooks) -> u8 {
    if environment.completing {
        return complete::answer(environment, hooks.describe);
    }
    let grammar = || Cli::command().color(asked_colour(&environment));
    let matches = match grammar().try_get_matches_from(&environment.args) {
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            // Only help has to know; where the configuration is wrong, it helps all the same.
            let configured = (hooks.configuration)().map(|found| found.settings);
            resolve_defaults(grammar(), &configured.unwrap_or_default())
                .try_get_matches_from(&environment.args)
        }
        matches => matches,
    };
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output; when that is closed there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { exit_code::USAGE } else { exit_code::OK };
        }
    };
    let ui = Ui::observe(cli.color, environment.no_color);
    let context = Context { ui, environment, hooks };
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(&context, cli.command));
            // A write to a stopped terminal may still be under way, and must not hold us.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(CliError::failure("cannot set the program up").because(&error)),
    };
    outcome.unwrap_or_else(|error| {
        error.show(&ui);
        error.exit_code()
    })
}

async fn dispatch(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Vm(command) => vm::run_command(context, command).await,
        Command::Snapshot(command) => snapshot::run_command(context, command).await,
        Command::Image(command) => image::run_command(context, command).await,
        Command::Kernel(command) => kernel::run_command(context, command).await,
        Command::Internal(command) => internal::run_command(context, command).await,
        Command::System(command) => system::run_command(context, command).await,
        Command::Daemon(command) => daemon::run_command(context, command).await,
        Command::Config(command) => config::run_command(context, command),
        Command::Doctor(args) => doctor::doctor(context, args).await,
        Command::Api(args) => api::api(context, args).await,
        Command::SshConfig(args) => ssh_config::ssh_config(context, &args),
        Command::Update(args) => update::update(context, args).await,
        Command::Version(args) => version::version(context, args),
        Command::Completion(args) => completion::completion(context, &args),
        Command::Ps(args) => vm::list::ps(context, args).await,
        Command::Run(args) => vm::run::run(context, args).await,
        Command::Exec(args) => vm::exec::exec(context, args).await,
        Command::Ssh(args) => vm::ssh::ssh(context, args).await,
        Command::Ls(args) => vm::list::list(context, args).await,
        Command::Rm(args) => vm::delete::delete(context, args).await,
        Command::Top(args) => top::top(context, args).await,
    }
}

/// The colour asked for, before the command line is understood: its errors are coloured, too.
fn asked_colour(environment: &Environment) -> ColorChoice {
    let mut words = environment.args.iter().map(OsString::as_os_str);
    while let Some(word) = words.next().filter(|word| *word != "--") {
        let value = match word.to_str() {
            Some("--color") => words.next().and_then(OsStr::to_str),
            Some(word) => word.strip_prefix("--color="),
            None => None,
        };
        if let Some(choice) = value.and_then(|value| ColorChoice::from_str(value, false).ok()) {
            return choice;
        }
    }
    if environment.no_color { ColorChoice::Never } else { ColorChoice::Auto }
}
