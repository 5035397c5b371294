//! The agent's own process: it keeps the initramfs as its root, opens the port, serves the link
//! for the life of the guest, and takes part in ending it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use banger_link::{Magic, serve_guest};
use rustix::process::{Resource, Rlimit};

use crate::boot::{GuestMachine, load_modules};
use crate::context::Context;
use crate::guard::Legacy;
use crate::jobs::Jobs;
use crate::port::Port;
use crate::root::Root;
use crate::services::serve_stream;

/// Why the agent cannot serve.
#[derive(Debug, thiserror::Error)]
enum ResidentError {
    /// The host did not say how it will introduce itself.
    #[error("the kernel command line has no valid `banger.link=`")]
    NoMagic,
    /// A file or device the agent lives on.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Serves until the guest ends. Returns only on failure, and process 1 then ends the guest.
pub(crate) fn run() -> ExitCode {
    finish(serve(None))
}

/// Serves in the place of an agent that was killed beside the image's systemd.
pub(crate) fn run_again(legacy: Legacy) -> ExitCode {
    finish(serve(Some(legacy)))
}

fn finish(served: Result<std::convert::Infallible, ResidentError>) -> ExitCode {
    match served {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("banger-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(legacy: Option<Legacy>) -> Result<std::convert::Infallible, ResidentError> {
    // Losing the agent to a command that eats all memory would lose the guest.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let _ = rustix::process::setsid();
    if let Err(error) = join_control_group() {
        eprintln!("banger-agent: cannot join a control group: {error}");
    }
    let files = Rlimit { current: Some(65_536), maximum: Some(1_048_576) };
    let _ = rustix::process::setrlimit(Resource::Nofile, files);
    if legacy.is_none() {
        for warning in load_modules() {
            eprintln!("banger-agent: {warning}");
        }
    }
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let magic = parse_magic(&cmdline).ok_or(ResidentError::NoMagic)?;
    let door = match &legacy {
        None => UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?),
        // Process 1 closed its own when it became systemd.
        Some(_) => UnixStream::pair()?.0,
    };
    let port = Port::open()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(512 << 10)
        .build()?;
    runtime.block_on(async {
        let machine = GuestMachine::default();
        let context = Context::new(Root::Init, Box::new(machine.clone()));
        machine.attach(door, &context)?;
        if let Some(legacy) = legacy {
            context.set_env(legacy.env);
            context.set_ssh_keys(legacy.ssh_keys);
            machine.resume(&context)?;
            let context = Arc::clone(&context);
            tokio::spawn(async move {
                if let Err(problem) = Jobs::recover(&context).await {
                    eprintln!("banger-agent: jobs are not known: {problem}");
                }
            });
        }
        loop {
            let stream = port.connected().await?;
            let served = serve_guest(stream, magic, |stream| {
                tokio::spawn(serve_stream(Arc::clone(&context), stream));
            });
            if let Err(error) = served.await {
                let cause = std::error::Error::source(&error);
                eprintln!(
                    "banger-agent: {error}: {}",
                    cause.map(ToString::to_string).unwrap_or_default()
                );
            }
        }
    })
}

/// The agent's control group, and by inheritance that of all commands. systemd takes what it
/// finds in the top one for its own, and leaves another at the top alone. Inheriting spares every
/// command a move of its own (2 to 4 ms under emulation).
const CONTROL_GROUP: &str = "/sys/fs/cgroup/banger";

fn join_control_group() -> std::io::Result<()> {
    let group = std::path::Path::new(CONTROL_GROUP);
    std::fs::create_dir_all(group)?;
    std::fs::write(group.join("cgroup.procs"), "0")
}

/// The link's magic from the kernel command line.
fn parse_magic(cmdline: &str) -> Option<Magic> {
    let word = cmdline.split_ascii_whitespace().find_map(|word| word.strip_prefix("banger.link="));
    word?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magic_is_found_between_other_words() {
        let hex = "000102030405060708090a0b0c0d0e0f";
        let magic = parse_magic(&format!("quiet banger.link={hex} panic=-1\n")).unwrap();
        assert_eq!(magic.to_string(), hex);
        assert_eq!(parse_magic("quiet banger.link=12"), None);
        assert_eq!(parse_magic(""), None);
    }
}
