//! `banger-supervisor LAUNCH-FILE`: owns one VMM. A program of its own because there is one for
//! every VM that runs, and only its own code counts towards its memory.

use std::path::Path;
use std::process::ExitCode;

use banger_proto::build;

fn main() -> ExitCode {
    build::announce(banger_proto::stamp!());
    let launch_file = std::env::args_os().nth(1).unwrap_or_default();
    if launch_file == "--version" {
        println!("banger-supervisor {}", build::current().render());
        return ExitCode::SUCCESS;
    }
    banger_daemon::supervise::run(Path::new(&launch_file))
}
