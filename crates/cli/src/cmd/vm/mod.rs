//! `banger vm`

mod attach;
pub(super) mod boot;
mod bootstrap;
mod cp;
mod create;
pub(super) mod delete;
pub(super) mod exec;
mod fork;
mod health;
mod job;
mod kill;
pub(super) mod list;
mod logs;
mod machine;
pub(super) mod pause;
mod ping;
mod ports;
mod proxy;
mod prune;
mod restart;
pub(super) mod resume;
pub(super) mod run;
mod set;
mod several;
mod show;
pub(super) mod ssh;
mod start;
mod stats;
pub(super) mod stop;
mod wait;
mod workspace;

use clap::Subcommand;

use super::Context;
use crate::errors::Outcome;

/// Make and use VMs
///
/// `run` makes a VM and gives you a shell in it, or runs one command; `exec` comes back to it.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Start here:
  banger vm run --rm . -- make test
Then:
  banger vm list
  banger vm exec web
  banger vm stop web")]
pub(crate) enum Command {
    Run(run::Args),
    Create(create::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Show(show::Args),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Fork(fork::Args),
    Kill(kill::Args),
    Set(set::Args),
    #[command(visible_alias = "rm")]
    Delete(delete::Args),
    Prune(prune::Args),
    Wait(wait::Args),
    Exec(exec::Args),
    Ssh(ssh::Args),
    Proxy(proxy::Args),
    Jobs(job::list::Args),
    Attach(job::attach::Args),
    #[command(subcommand)]
    Job(job::Command),
    Cp(cp::Args),
    #[command(subcommand)]
    Workspace(workspace::Command),
    Logs(logs::Args),
    Stats(stats::Args),
    Health(health::Args),
    Ping(ping::Args),
    Ports(ports::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Run(args) => run::run(context, args).await,
        Command::Create(args) => create::create(context, args).await,
        Command::List(args) => list::list(context, args).await,
        Command::Show(args) => show::show(context, args).await,
        Command::Start(args) => start::start(context, args).await,
        Command::Stop(args) => stop::stop(context, args).await,
        Command::Restart(args) => restart::restart(context, args).await,
        Command::Pause(args) => pause::pause(context, args).await,
        Command::Resume(args) => resume::resume(context, args).await,
        Command::Fork(args) => fork::fork(context, args).await,
        Command::Kill(args) => kill::kill(context, args).await,
        Command::Set(args) => set::set(context, args).await,
        Command::Delete(args) => delete::delete(context, args).await,
        Command::Prune(args) => prune::prune(context, args).await,
        Command::Wait(args) => wait::wait(context, args).await,
        Command::Exec(args) => exec::exec(context, args).await,
        Command::Ssh(args) => ssh::ssh(context, args).await,
        Command::Proxy(args) => proxy::proxy(context, args).await,
        Command::Jobs(args) => job::list::list(context, args).await,
        Command::Attach(args) => job::attach::attach(context, args).await,
        Command::Job(command) => job::run_command(context, command).await,
        Command::Cp(args) => cp::cp(context, args).await,
        Command::Workspace(command) => workspace::run_command(context, command).await,
        Command::Logs(args) => logs::logs(context, args).await,
        Command::Stats(args) => stats::stats(context, args).await,
        Command::Health(args) => health::health(context, args).await,
        Command::Ping(args) => ping::ping(context, args).await,
        Command::Ports(args) => ports::ports(context, args).await,
    }
}
