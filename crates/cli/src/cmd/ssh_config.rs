//! `banger ssh-config`

use banger_proto::exit_code;
use serde::Serialize;

use super::Context;
use crate::errors::Outcome;
use crate::hooks::SshInclude;

/// Let ssh, scp, rsync, git and editors reach VMs as NAME.vm
///
/// Prints where the configuration is that they need and the line that includes it. `--install`
/// puts that line at the top of your ~/.ssh/config, which stays as it is otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  banger ssh-config --install
Then:
  ssh web.vm
  scp file web.vm:
  git clone ssh://web.vm/root/repo")]
pub(crate) struct Args {
    /// Include it in ~/.ssh/config
    #[arg(long, conflicts_with = "uninstall")]
    install: bool,
    /// Take that line out of ~/.ssh/config again
    #[arg(long)]
    uninstall: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the command tells.
#[derive(Debug, Serialize)]
struct Shown {
    /// The configuration that knows VMs.
    config: String,
    /// The line that includes it.
    include: String,
    /// The user's own configuration.
    user_config: String,
    /// Whether that has the line.
    installed: bool,
    /// Whether it was changed now.
    changed: bool,
}

pub(crate) fn ssh_config(context: &Context, args: &Args) -> Outcome {
    let wanted = match (args.install, args.uninstall) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let client = (context.hooks.ssh_client)()?;
    let SshInclude { user_config, installed, changed } = (context.hooks.ssh_include)(wanted)?;
    let shown = Shown {
        config: client.config.display().to_string(),
        include: client.include,
        user_config: user_config.display().to_string(),
        installed,
        changed,
    };
    if args.json {
        context.ui.print_json(&shown)?;
        return Ok(exit_code::OK);
    }
    context.ui.print(&render(&shown))?;
    if wanted.is_none() && !installed {
        context.ui.note(context.ui.cyan("hint:").then(" banger ssh-config --install"));
    }
    Ok(exit_code::OK)
}

fn render(shown: &Shown) -> String {
    let Shown { config, include, user_config, installed, changed } = shown;
    let state = match (installed, changed) {
        (true, true) => "included now",
        (true, false) => "included",
        (false, true) => "not included any more",
        (false, false) => "not included",
    };
    format!("config:   {config}\ninclude:  {include}\nin:       {user_config} ({state})")
}
