//! The program: chooses the role, and says on standard error what keeps it from it.

use std::error::Error;
use std::process::ExitCode;

use banger_helper::arguments::{Role, USAGE, parse_arguments};
use banger_helper::place::Place;
use banger_helper::{causes, hold, probe, run, serve};
use banger_proto::build;

/// What `run` ends with when there is no program whose word it could be.
const NOT_RUN: u8 = 125;

fn main() -> ExitCode {
    build::announce(banger_proto::stamp!());
    let role = match parse_arguments(std::env::args_os().skip(1)) {
        Ok(role) => role,
        Err(error) => {
            eprintln!("banger-helper: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let (done, code) = match role {
        Role::Hold(entrance) => (boxed(hold::hold(entrance.as_ref())), 1),
        Role::Serve { entrance, bridge } => {
            (boxed(serve::serve_standard_input(&entrance, &Place::own(bridge))), 1)
        }
        Role::ServeHost { owner, bridge } => {
            (boxed(serve::serve_standard_input_in_host(&Place::host(bridge, owner))), 1)
        }
        Role::Run { confines, program, arguments } => {
            (boxed(run::run(&confines, &program, &arguments)), NOT_RUN)
        }
        Role::Probe => (boxed(probe::probe()), 1),
        Role::Version => {
            println!("banger-helper {}", build::current().render());
            return ExitCode::SUCCESS;
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let said: Vec<String> =
                std::iter::once(error.to_string()).chain(causes(error.as_ref())).collect();
            eprintln!("banger-helper: {}", said.join(": "));
            ExitCode::from(code)
        }
    }
}

fn boxed<E: Error + 'static>(done: Result<(), E>) -> Result<(), Box<dyn Error>> {
    done.map_err(Into::into)
}
