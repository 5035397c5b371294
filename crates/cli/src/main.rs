//! `banger`, `bangerd` and `banger-supervisor`: one file, three programs. Only this file and
//! `daemon.rs` know both the command line and the daemon.

mod daemon;

use std::process::ExitCode;

use banger_cli::Hooks;

fn main() -> ExitCode {
    banger_proto::build::announce(banger_proto::stamp!());
    banger_cli::run(Hooks {
        daemon: daemon::run,
        supervisor: banger_daemon::supervise::run,
        dry_run: daemon::dry_run,
        dry_run_workspace: daemon::dry_run_workspace,
        make_image_bundle: daemon::make_image_bundle,
        make_kernel_bundle: daemon::make_kernel_bundle,
        build: daemon::build,
        ssh_client: daemon::ssh_client,
        ssh_include: daemon::ssh_include,
        configuration: daemon::configuration,
        read_log: daemon::read_log,
        describe: daemon::describe,
    })
}
