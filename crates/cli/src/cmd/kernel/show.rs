//! `banger kernel show`

use banger_proto::api::KernelDetails;
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::table::render_pairs;

/// Show everything about a kernel
///
/// Tells also whether VMs of this host can run on it, and which ones do.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger kernel show debian-bookworm-cloud
  banger kernel show mine --json")]
pub(crate) struct Args {
    /// The kernel
    #[arg(add = ArgValueCandidates::new(complete::kernels))]
    kernel: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn show(context: &Context, args: Args) -> Outcome {
    let path = super::path_of(&args.kernel)?;
    let kernel: KernelDetails = context.daemon_to_ask().await?.get(&path).await?;
    if args.json {
        context.ui.print_json(&kernel)?;
    } else {
        context.ui.print(&render_kernel(kernel))?;
    }
    Ok(exit_code::OK)
}

fn render_kernel(details: KernelDetails) -> String {
    let kernel = details.kernel;
    let mut pairs = vec![("name", kernel.name), ("description", kernel.description)];
    pairs.extend(details.source.map(|source| ("source", source)));
    if !kernel.local {
        pairs.push(("here", "no; it is obtained at first use".to_owned()));
        return render_pairs(pairs);
    }
    pairs.push(("version", kernel.version.unwrap_or_default()));
    pairs.extend(details.distro.map(|distro| ("distro", distro)));
    pairs.extend(details.arch.map(|arch| ("arch", arch)));
    pairs.push(("size", kernel.size.human()));
    pairs.push(("directory", details.directory.unwrap_or_default()));
    let modules = match details.has_modules {
        false => "none".to_owned(),
        true if details.modules.is_empty() => "some, not listed".to_owned(),
        true => details.modules.join(", "),
    };
    pairs.push(("boots with", modules));
    let loadable = match (details.has_loadable_modules, details.loadable_modules) {
        (false, _) => "none".to_owned(),
        (true, None) => "some, not counted".to_owned(),
        (true, Some(count)) => format!("{count}, in /lib/modules of every VM"),
    };
    pairs.push(("modules", loadable));
    let known = !details.features.is_empty();
    let fit = match (known, details.lacking.is_empty()) {
        (false, _) => "unknown: nothing tells what it was built with".to_owned(),
        (true, true) => "yes".to_owned(),
        (true, false) => "no".to_owned(),
    };
    pairs.push(("runs vms here", fit));
    pairs.extend(details.lacking.into_iter().map(|lacking| ("lacks", lacking)));
    if known {
        let of = |wanted| {
            let options = details.features.iter().filter(move |(_, value)| **value == wanted);
            options.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
        };
        pairs.push(("built in", of('y')));
        pairs.push(("as modules", of('m')));
        pairs.push(("without", of('n')));
    }
    pairs.push(("vms", details.vms.join(", ")));
    render_pairs(pairs)
}
