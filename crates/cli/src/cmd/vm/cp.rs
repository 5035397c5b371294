//! `banger vm cp`

use std::ffi::OsString;

use banger_proto::exit_code;
use clap_complete::ArgValueCompleter;

use crate::cmd::Context;
use crate::complete;
use crate::copy::{Place, copy_in, copy_out};
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};

/// Copy files into a VM or out of it
///
/// One side is VM:PATH, the other a path of this host. A directory is copied with all that is in
/// it; into a directory that is there it goes under its name, else it takes the new one. `DIR/.`
/// means what is in DIR. Modes, times and links are kept, owners are not: files are root's in the
/// VM and yours here, where set-id bits go. Each file is replaced at once or not at all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm cp web:/etc/os-release .      a file
  banger vm cp site web:/var/www          a directory, to /var/www/site
  banger vm cp site/. web:/var/www        what is in it
  banger vm cp web:repo/target ./out      from root's home")]
pub(crate) struct Args {
    /// What to copy: a path, or VM:PATH
    #[arg(value_name = "SRC", add = ArgValueCompleter::new(complete::places))]
    source: OsString,
    /// Where to: VM:PATH, or a path; `./a:b` is a file of this host
    #[arg(value_name = "DST", add = ArgValueCompleter::new(complete::places))]
    destination: OsString,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn cp(context: &Context, args: Args) -> Outcome {
    let mut progress = Progress::new(context, args.progress);
    match (Place::parse(&args.source)?, Place::parse(&args.destination)?) {
        (Place::Host(from), Place::Guest(to)) => {
            copy_in(context, &from, &to, &mut progress).await?;
        }
        (Place::Guest(from), Place::Host(to)) => {
            copy_out(context, &from, &to, &mut progress).await?;
        }
        (Place::Guest(_), Place::Guest(_)) => {
            return Err(CliError::usage("both sides are VMs")
                .hint("copy to this host first, then to the other VM"));
        }
        (Place::Host(from), Place::Host(_)) => {
            return Err(CliError::usage("neither side is a VM")
                .hint(format!("one side is VM:PATH: banger vm cp {} web:", from.display())));
        }
    }
    Ok(exit_code::OK)
}
