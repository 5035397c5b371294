//! `banger vm ssh`

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use banger_proto::api::{StateName, VmView};
use clap_complete::ArgValueCandidates;

use super::attach::remind;
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::foreground;
use crate::reference::{VmRef, parse_host, vm_path};
use crate::signals::Signals;

/// The client, looked for on the search path.
const CLIENT: &str = "ssh";
/// Its exit code when the connection failed or was lost, as when the VM went down.
const CLIENT_FAILED: u8 = 255;

/// Run a command, or a shell, in a running VM over SSH
///
/// For what ssh can do and `exec` cannot, like forwarding. Starts this host's ssh, which knows the
/// VM's key; exits with its exit code: the command's own, or 255. Your SSH agent stays here
/// unless you say -A.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm ssh web                            a shell
  banger vm ssh web -- make test
  banger vm ssh -N -L 8080:localhost:80 web    the VM's port 80 at port 8080 here
For ssh, scp and rsync themselves:
  banger ssh-config --install")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(value_parser = parse_host, add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    #[command(flatten)]
    options: Options,
    /// Command and its arguments, as ssh takes them [default: a shell]
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Options that ssh has by the same letters.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of ssh")]
struct Options {
    /// User to be in the VM [default: root]
    #[arg(short, long, value_name = "USER")]
    login: Option<String>,
    /// Forward a port or socket of this host to the VM (can be repeated)
    #[arg(short = 'L', value_name = "HERE:THERE")]
    local_forward: Vec<String>,
    /// Forward a port or socket of the VM to this host (can be repeated)
    #[arg(short = 'R', value_name = "THERE:HERE")]
    remote_forward: Vec<String>,
    /// Be a SOCKS proxy whose connections begin in the VM (can be repeated)
    #[arg(short = 'D', value_name = "HERE")]
    dynamic_forward: Vec<String>,
    /// Run no command
    #[arg(short = 'N')]
    no_command: bool,
    /// Ask for a terminal even for a command
    #[arg(short)]
    terminal: bool,
    /// Let the VM use your SSH agent: whoever is root in it can, too
    #[arg(short = 'A')]
    agent: bool,
    /// Any option of ssh_config(5) (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    option: Vec<String>,
    /// Say what ssh does; more often for more
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Options {
    /// The options as ssh has them. A value stands right behind its letter, so that none is taken
    /// for another option.
    fn render(&self) -> Vec<String> {
        let valued = [
            ('l', self.login.as_slice()),
            ('L', &self.local_forward),
            ('R', &self.remote_forward),
            ('D', &self.dynamic_forward),
            ('o', &self.option),
        ];
        let valued = valued.into_iter().flat_map(|(letter, values)| {
            values.iter().map(move |value| format!("-{letter}{value}"))
        });
        let flags = [('N', self.no_command), ('t', self.terminal), ('A', self.agent)];
        let flags =
            flags.into_iter().filter(|(_, set)| *set).map(|(letter, _)| format!("-{letter}"));
        let verbose = std::iter::repeat_n("-v".to_owned(), self.verbose.into());
        valued.chain(flags).chain(verbose).collect()
    }
}

pub(crate) async fn ssh(context: &Context, args: Args) -> Outcome {
    ssh_to(context, args).await.map_err(CliError::in_guest_command)
}

async fn ssh_to(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let client = context.daemon(&mut signals).await?;
    let vm: VmView = signals.race(client.get(&vm_path(&args.vm, ""))).await?;
    let rests = matches!(vm.state, StateName::Paused | StateName::Stopped | StateName::Error);
    // One that sleeps is woken by the connection, and one on its way tells where it leads itself.
    if rests && !vm.is_asleep() {
        let message = format!("VM `{}` does not run: it is {}", vm.name, vm.state.as_str());
        let verb = if vm.state == StateName::Paused { "resume" } else { "start" };
        return Err(CliError::failure(message).hint(format!("banger vm {verb} {}", vm.name)));
    }
    let config = (context.hooks.ssh_client)()?.config;
    let mut client = client_for(&config, &vm, &args);
    let is_session = args.command.is_empty() && !args.options.no_command;
    if !is_session || !context.ui.interactive() {
        // Nothing is left to do: what ends it, ends ssh.
        return Err(not_started(&vm, &client.exec()));
    }
    let code = foreground::run(client, &mut signals).await;
    let code = code.map_err(|error| not_started(&vm, &error))?;
    if code != CLIENT_FAILED {
        remind(context, &vm);
    }
    Ok(code)
}

fn client_for(config: &Path, vm: &VmView, args: &Args) -> Command {
    let mut client = Command::new(CLIENT);
    client.arg("-F").arg(config).args(args.options.render()).arg(format!("{}.vm", vm.name));
    if !args.command.is_empty() {
        client.arg("--").args(&args.command);
    }
    client
}

fn not_started(vm: &VmView, error: &io::Error) -> CliError {
    let failure = CliError::failure(format!("cannot start `{CLIENT}`")).because(error);
    match error.kind() {
        io::ErrorKind::NotFound => failure
            .hint("install OpenSSH's client")
            .hint(format!("a shell without it: banger vm exec -it {}", vm.name)),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_ssh() {
        let options = Options {
            login: Some("dev".into()),
            local_forward: vec!["1:a:2".into(), "-x".into()],
            option: vec!["LogLevel=ERROR".into()],
            no_command: true,
            verbose: 2,
            ..Options::default()
        };
        let expected = ["-ldev", "-L1:a:2", "-L-x", "-oLogLevel=ERROR", "-N", "-v", "-v"];
        assert_eq!(options.render(), expected);
    }
}
