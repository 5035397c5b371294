//! `banger completion`

use banger_proto::exit_code;
use clap::ValueEnum;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::Context;
use crate::environment::COMPLETE;
use crate::errors::{CliError, Outcome};

/// Print a script that teaches a shell banger's words
///
/// The script asks banger for names as you type; install it once, and it stays right.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Put the line of your shell into the file that it reads when it starts:
  source <(banger completion bash)                               ~/.bashrc
  source <(banger completion zsh)                                ~/.zshrc, after compinit
  banger completion fish | source                                ~/.config/fish/config.fish
  banger completion powershell | Out-String | Invoke-Expression  $PROFILE
  eval (banger completion elvish | slurp)                        ~/.config/elvish/rc.elv")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

pub(crate) fn completion(context: &Context, args: &Args) -> Outcome {
    let shell: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
        Shell::Powershell => &Powershell,
        Shell::Elvish => &Elvish,
    };
    let mut script = Vec::new();
    shell
        .write_registration(COMPLETE, "banger", "banger", "banger", &mut script)
        .map_err(|error| CliError::failure("cannot write the script").because(&error))?;
    context.ui.print_bytes(&script)?;
    Ok(exit_code::OK)
}
