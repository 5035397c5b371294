//! The command line: everything a person sees. The daemon does the work; this crate parses,
//! asks, renders and hands bytes and signals through.
//!
//! | module | responsible for |
//! |---|---|
//! | [`hooks`] | the programs of the same file that are not the command line, handed in by `main` |
//! | `role` | which of those programs this process is |
//! | `environment` | the one place that reads the process's surroundings |
//! | `cmd` | the commands: the tree of files is the tree of commands |
//! | `client` | HTTP to the daemon, and starting it when there is none |
//! | `session` | a command in the guest, wired to this terminal |
//! | `terminal`, `stdin`, `signals`, `sys` | the parts of that wiring that belong to the host |
//! | `progress`, `table`, `age`, `ui` | how things look |
//! | `top` | all VMs on one screen |
//! | `confirm` | asking before what cannot be taken back |
//! | `errors` | failures: kind, text, exit code |
//! | `reference` | names and ids as people type them |
//! | `repository` | what a path must be before a VM is made for it |
//! | `system` | banger as a service of the system |
//! | `builder` | builds outside of the daemon's service |
//! | `update` | putting another release of these programs into the place of this one |
//! | `complete` | shell completion with names from the daemon |
//! | `manual` | pages of the manual, from the grammar |
//! | `operations` | what calls the daemon's interface has, as its description says |

mod age;
mod builder;
mod client;
mod cmd;
mod complete;
mod confirm;
mod copy;
mod detach;
mod environment;
mod errors;
mod foreground;
pub mod hooks;
mod manual;
mod operations;
mod progress;
mod reference;
mod repository;
mod role;
mod session;
mod signals;
mod stdin;
mod sys;
mod system;
mod table;
mod terminal;
mod top;
mod ui;
mod update;

use std::process::ExitCode;

use clap::CommandFactory as _;

pub use hooks::{
    Chunks, Configuration, Configured, DryRun, Hooks, ImageBundle, KernelBundle, MadeBundle,
    SshClient, SshInclude,
};

/// Runs the program this process was started as, to its end.
#[must_use]
pub fn run(hooks: Hooks) -> ExitCode {
    let environment = environment::Environment::read();
    match role::Role::of(&environment.args) {
        role::Role::Daemon(args) => {
            role::detach();
            (hooks.daemon)(args)
        }
        role::Role::Supervisor(launch_file) => (hooks.supervisor)(launch_file),
        role::Role::Builder => builder::serve(),
        role::Role::CommandLine => ExitCode::from(cmd::main(environment, hooks)),
    }
}

/// The command line's grammar, for documentation and tests.
#[must_use]
pub fn command() -> clap::Command {
    cmd::Cli::command()
}
