//! `banger vm logs`

use anstream::adapter::StripBytes;
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::reference::{VmRef, vm_path};

/// Show a VM's console
///
/// What kernel, agent and init wrote, also of a VM that is stopped. On a terminal the guest's
/// escape sequences are left out; a pipe gets every byte.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm logs --tail 20 -f web")]
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
}

pub(crate) async fn logs(context: &Context, args: Args) -> Outcome {
    let mut query = format!("/logs?follow={}", args.follow);
    if let Some(tail) = args.tail {
        query.push_str(&format!("&tail={tail}"));
    }
    let client = context.daemon_to_ask().await?;
    let mut strip = StripBytes::new();
    let write = |bytes: &[u8]| {
        if context.ui.stdout_terminal {
            strip.strip_next(bytes).try_for_each(|text| context.ui.print_bytes(text))
        } else {
            context.ui.print_bytes(bytes)
        }
    };
    client.copy(&vm_path(&args.vm, &query), write).await?;
    Ok(exit_code::OK)
}
