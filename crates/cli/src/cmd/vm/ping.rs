//! `banger vm ping`

use banger_proto::api::Pong;
use banger_proto::exit_code;
use banger_proto::harmless::render_line;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::reference::{VmRef, vm_path};

/// See whether a VM's agent answers, and how fast
///
/// Exits with 1 if it does not, or the VM does not run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm ping --timeout 1 web")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    #[command(flatten)]
    patience: Patience,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How long a guest is waited for.
#[derive(Debug, clap::Args)]
pub(super) struct Patience {
    /// Seconds to wait for the answer [default: as usual on this host]
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

impl Patience {
    /// As the query of a call.
    pub(super) fn query(&self) -> String {
        let millis = self.timeout.map(|seconds| u64::from(seconds) * 1000);
        millis.map(|millis| format!("?timeout_ms={millis}")).unwrap_or_default()
    }
}

pub(crate) async fn ping(context: &Context, args: Args) -> Outcome {
    let path = vm_path(&args.vm, &format!("/ping{}", args.patience.query()));
    let pong: Pong = context.daemon_to_ask().await?.get(&path).await?;
    if args.json {
        context.ui.print_json(&pong)?;
    } else {
        context.ui.print(&render_pong(&pong))?;
    }
    Ok(exit_code::OK)
}

fn render_pong(pong: &Pong) -> String {
    let Pong { name, agent_version, micros, .. } = pong;
    let millis = format!("{}.{} ms", micros / 1000, micros % 1000 / 100);
    format!("{name}: agent {} answered in {millis}", render_line(agent_version))
}
