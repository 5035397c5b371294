//! `/init` of every boot; which of its roles it plays, its name and process id say.

use std::process::ExitCode;

use banger_proto::build;

fn main() -> ExitCode {
    build::announce(banger_proto::stamp!());
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let args: Vec<_> = args.collect();
    banger_agent::role::choose(&name, std::process::id()).play(&args)
}
