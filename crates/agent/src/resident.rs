//! The agent's own process: it keeps the initramfs as its root, opens the transport, serves the link
//! for the life of the guest, and takes part in ending it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use banger_link::{LinkError, Magic, serve_guest};
use banger_proto::guest::cmdline as words;
use rustix::process::{Resource, Rlimit};

use crate::boot::{GuestMachine, Need, load_modules};
use crate::cmdline;
use crate::context::Context;
use crate::guard::Legacy;
use crate::jobs::Jobs;
use crate::port::Port;
use crate::root::Root;
use crate::services::serve_stream;
use crate::sys;
use crate::vsock::{self, GuestPort};

/// Threads for calls that block, from the beginning: one for what the host asks for, one for who listens at
/// ports. A guest that goes on as another VM needs both at once, and would start one before all else.
const THREADS: usize = 2;
/// How long a thread without work waits for some. It costs little while it waits.
const THREADS_STAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the agent cannot serve.
#[derive(Debug, thiserror::Error)]
enum ResidentError {
    /// The host did not say how it will introduce itself.
    #[error("the kernel command line has no valid `{}=`", words::LINK)]
    NoMagic,
    /// The host did not say where it will connect.
    #[error("the kernel command line has no valid `{}=`", words::VSOCK)]
    NoVsock,
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
        for warning in load_modules(Need::Boot) {
            eprintln!("banger-agent: {warning}");
        }
    }
    let magic = cmdline::load(words::LINK).and_then(|magic| magic.parse().ok());
    let magic = magic.ok_or(ResidentError::NoMagic)?;
    let door = match &legacy {
        None => UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?),
        // Process 1 closed its own when it became systemd.
        Some(_) => UnixStream::pair()?.0,
    };
    let transport = Transport::open()?;
    sys::keep_memory();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(512 << 10)
        .thread_keep_alive(THREADS_STAY)
        .build()?;
    runtime.block_on(async {
        start_threads();
        let machine = GuestMachine::default();
        let context = Context::new(Root::Init, Box::new(machine.clone()));
        machine.attach(door, &context)?;
        if let Some(legacy) = legacy {
            context.set_env(legacy.env);
            context.set_ssh_keys(legacy.ssh_keys);
            context.set_card(legacy.card);
            machine.resume(&context)?;
            let context = Arc::clone(&context);
            tokio::spawn(async move {
                if let Err(problem) = Jobs::recover(&context).await {
                    eprintln!("banger-agent: jobs are not known: {problem}");
                }
            });
        }
        loop {
            if let Err(error) = transport.serve(magic, &context).await? {
                let cause = std::error::Error::source(&error);
                eprintln!(
                    "banger-agent: {error}: {}",
                    cause.map(ToString::to_string).unwrap_or_default()
                );
            }
        }
    })
}

/// Has the runtime have [`THREADS`]: it starts one when none is free.
fn start_threads() {
    let all_run = Arc::new(Barrier::new(THREADS));
    for _ in 0..THREADS {
        let all_run = Arc::clone(&all_run);
        tokio::task::spawn_blocking(move || all_run.wait());
    }
}

/// What carries the guest link.
#[derive(Debug)]
enum Transport {
    /// A virtio-serial port.
    Port(Port),
    /// A port of the guest's virtio socket.
    Vsock(GuestPort),
}

impl Transport {
    /// That which the host offers.
    fn open() -> Result<Self, ResidentError> {
        match cmdline::load(words::VSOCK) {
            None => Ok(Self::Port(Port::open()?)),
            Some(port) => {
                let port = port.parse().map_err(|_| ResidentError::NoVsock)?;
                Ok(Self::Vsock(GuestPort::listen(port)?))
            }
        }
    }

    /// Serves one connection of the host's to its end.
    async fn serve(
        &self,
        magic: Magic,
        context: &Arc<Context>,
    ) -> std::io::Result<Result<(), LinkError>> {
        let serve = |stream| {
            tokio::spawn(serve_stream(Arc::clone(context), stream));
        };
        Ok(match self {
            Self::Port(port) => serve_guest(port.connected().await?, magic, serve).await,
            Self::Vsock(port) => {
                let stream = port.connected().await?;
                let reset = vsock::reset(&stream)?;
                tokio::select! {
                    served = serve_guest(stream, magic, serve) => served,
                    () = reset => Ok(()),
                }
            }
        })
    }
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
