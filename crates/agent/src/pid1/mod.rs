//! Process 1: starts the agent, becomes systemd or stays and does what an init must: reap,
//! heed signals, end the guest cleanly.
//!
//! ```text
//!  start ─▶ waiting ── Become ─▶ (systemd)
//!              │
//!              └── Stay ─▶ staying ─┬─ host's order, or agent gone ──────▶ ending ─▶ reboot(2)
//!                                   └─ signal ─▶ service asked to end ─────▲
//! ```
//!
//! It waits for any process that ends. The agent's commands are the agent's children, so their
//! ends never come here, and no exit code can be taken from whoever waits for it.

mod ending;
mod unmount;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::boot::{NEW_ROOT, SYSTEMD_POWER_OFF, SYSTEMD_REBOOT, mount_kernel_interfaces};
use crate::door::{self, Order, Report};
use crate::image_program::STOP_GRACE;
use crate::role::RESIDENT;
use crate::sys;

pub(crate) use ending::finish_for_systemd;

/// How long the agent may take to end the service: what the service gets, and some for the agent.
const SERVICE_DEADLINE: Duration = STOP_GRACE.saturating_add(Duration::from_secs(3));

/// What became of waiting for orders.
#[derive(Debug)]
enum Outcome {
    /// To become this program, once nothing of this one is left running.
    Become { program: String, notify_socket: String },
    /// The guest has to end.
    End { reboot: bool },
}

/// Runs the init. Returns only where the kernel refuses to let go of the machine.
pub(crate) fn run() -> ExitCode {
    for warning in mount_kernel_interfaces() {
        eprintln!("banger-agent: {warning}");
    }
    let initramfs = unmount::open_root();
    let reboot = live().unwrap_or_else(|error| {
        eprintln!("banger-agent: process 1: {error}");
        false
    });
    if let Ok(initramfs) = initramfs {
        unmount::leave_new_root(initramfs);
    }
    ending::stop_machine(reboot)
}

/// Lives until the machine is to be stopped; then whether it boots again.
fn live() -> io::Result<bool> {
    let mut init = Init::start_agent()?;
    loop {
        // Each round has a runtime of its own: what becomes another program leaves no handlers
        // behind.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome = runtime.block_on(init.wait());
        drop(runtime);
        match outcome? {
            Outcome::End { reboot } => return Ok(reboot),
            Outcome::Become { program, notify_socket } => {
                let error = match enter_new_root() {
                    Ok(()) => {
                        let mut command = Command::new(&program);
                        sys::block_signals_in(&mut command);
                        command.env("NOTIFY_SOCKET", notify_socket).exec()
                    }
                    Err(error) => error,
                };
                init.report(&Report::Failed(format!("`{program}`: {error}")));
            }
        }
    }
}

/// The init and its end of the door.
#[derive(Debug)]
struct Init {
    /// Process id of the agent.
    agent: u32,
    door: UnixStream,
    orders: mpsc::UnboundedReceiver<Order>,
}

impl Init {
    /// Starts the agent's process with the other end of the door as its standard input.
    fn start_agent() -> io::Result<Self> {
        let (door, far) = UnixStream::pair()?;
        let child = Command::new("/proc/self/exe")
            .arg0(RESIDENT)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(far)))
            .spawn()?;
        let (order, orders) = mpsc::unbounded_channel();
        let reader = door.try_clone()?;
        std::thread::Builder::new().name("door".into()).stack_size(64 << 10).spawn(move || {
            // Ends with the agent, and the channel with it.
            let _ = door::messages::<Order>(reader)
                .map_while(Result::ok)
                .try_for_each(|message| order.send(message));
        })?;
        Ok(Self { agent: child.id(), door, orders })
    }

    /// Waits for what comes next, reaping meanwhile.
    async fn wait(&mut self) -> io::Result<Outcome> {
        let mut children = signal(SignalKind::child())?;
        let mut requests = PowerSignals::new()?;
        // From now on the kernel asks process 1 what Ctrl-Alt-Del means.
        let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
        ending::reap();
        let (reboot, by_host) = loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Become { init, notify_socket }) => {
                        return Ok(Outcome::Become { program: init, notify_socket });
                    }
                    Some(Order::Stay) => {
                        let report = match enter_new_root() {
                            Ok(()) => Report::Entered,
                            Err(error) => Report::Failed(error.to_string()),
                        };
                        self.report(&report);
                    }
                    Some(Order::PowerOff { reboot }) => break (reboot, true),
                    Some(Order::Quiet | Order::ServiceEnded) => {}
                    None => {
                        eprintln!("banger-agent: the agent is gone, powering off");
                        break (false, true);
                    }
                },
                _ = children.recv() => ending::reap(),
                reboot = requests.next() => break (reboot, false),
            }
        };
        self.report(&Report::Stopping);
        if !by_host {
            self.await_service_end(&mut children).await;
        }
        ending::end_processes(self.agent, &mut children, &mut self.orders).await;
        Ok(Outcome::End { reboot })
    }

    /// The guest ends by its own doing: waits until the agent has ended the service, which is
    /// asked in its own way. (The host's order comes after that.)
    async fn await_service_end(&mut self, children: &mut Signal) {
        let deadline = sleep(SERVICE_DEADLINE);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Quiet | Order::Stay | Order::Become { .. }) => {}
                    Some(Order::ServiceEnded | Order::PowerOff { .. }) | None => return,
                },
                _ = children.recv() => ending::reap(),
                () = &mut deadline => return,
            }
        }
    }

    fn report(&self, report: &Report) {
        // The agent may be gone; then nobody needs to know.
        let _ = door::send(&self.door, report);
    }
}

/// The signals by which a guest's own tools ask an init to end: those of busybox, System V and
/// systemd together.
#[derive(Debug)]
struct PowerSignals {
    off: [Signal; 4],
    reboot: [Signal; 3],
}

impl PowerSignals {
    fn new() -> io::Result<Self> {
        let on = |number| signal(SignalKind::from_raw(number));
        let [usr1, usr2, power, term, int] =
            [Number::USR1, Number::USR2, Number::POWER, Number::TERM, Number::INT]
                .map(Number::as_raw);
        Ok(Self {
            off: [on(usr1)?, on(usr2)?, on(power)?, on(SYSTEMD_POWER_OFF)?],
            reboot: [on(term)?, on(int)?, on(SYSTEMD_REBOOT)?],
        })
    }

    /// The next request: whether to boot again.
    async fn next(&mut self) -> bool {
        let [usr1, usr2, power, systemd_off] = &mut self.off;
        let [term, int, systemd_reboot] = &mut self.reboot;
        tokio::select! {
            _ = usr1.recv() => false,
            _ = usr2.recv() => false,
            _ = power.recv() => false,
            _ = systemd_off.recv() => false,
            _ = term.recv() => true,
            _ = int.recv() => true,
            _ = systemd_reboot.recv() => true,
        }
    }
}

/// Makes the new root the root: of this process, and, being moved over the old one, of what the
/// kernel takes for the root of the guest. (A mere `chroot` would forbid user namespaces.)
fn enter_new_root() -> io::Result<()> {
    rustix::process::chdir(NEW_ROOT)?;
    rustix::mount::mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}
