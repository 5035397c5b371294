//! `banger vm logs`

use banger_proto::exit_code;
use banger_proto::harmless::Filter;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::reference::{VmRef, vm_path};

/// Show a VM's console
///
/// What kernel, agent and init wrote, also of a VM that is stopped. A terminal is not given the
/// guest's control sequences, which could change what else it shows, unless `--raw` asks for them;
/// a pipe or file gets every byte.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm logs --tail 20 -f web
  banger vm logs web >console.log")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// Go on as the console does
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last N lines [default: all]
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
    /// Give a terminal every byte, too
    #[arg(long)]
    raw: bool,
}

pub(crate) async fn logs(context: &Context, args: Args) -> Outcome {
    let mut query = format!("/logs?follow={}", args.follow);
    if let Some(tail) = args.tail {
        query.push_str(&format!("&tail={tail}"));
    }
    let client = context.daemon_to_ask().await?;
    let mut filter = (context.ui.stdout_terminal && !args.raw).then(Filter::default);
    let write = |bytes: &[u8]| match &mut filter {
        Some(filter) => context.ui.print_bytes(filter.take(bytes).as_bytes()),
        None => context.ui.print_bytes(bytes),
    };
    client.copy(&vm_path(&args.vm, &query), write).await?;
    Ok(exit_code::OK)
}
