//! The booted guest as the services see it: [`Machine`] for real.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use banger_proto::guest::{Configured, GuestConfig, InitChoice, InitKind, InitState, SetClock};
use banger_proto::{Code, Problem};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::overlay::open_new_root;
use super::systemd::Notify;
use super::{
    BootError, Need, SYSTEMD_POWER_OFF, SYSTEMD_REBOOT, device_files, files, grow, identity,
    load_modules, network, newroot, overlay, renewal, systemd,
};
use crate::context::{Context, KnownCard, Machine};
use crate::door::{Door, Order};
use crate::guard;
use crate::image_program::STOP_GRACE;
use crate::sys;

/// How much later than the guest runs what no start waits for is loaded. The first command has begun by then.
const LATER: Duration = Duration::from_secs(5);
/// How long that waits for services which do not come up.
const LONGEST_START: Duration = Duration::from_secs(120);

/// The guest that this process was booted in. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct GuestMachine {
    door: Arc<OnceLock<Door>>,
}

impl GuestMachine {
    /// Connects it to process 1 and to the context that it is the machine of. Needs a runtime
    /// around it.
    pub(crate) fn attach(&self, socket: UnixStream, context: &Arc<Context>) -> io::Result<()> {
        let weak = Arc::downgrade(context);
        let door = Door::new(socket, move || {
            if let Some(context) = weak.upgrade() {
                context.set_state(InitState::Stopping);
            }
        })?;
        let _ = self.door.set(door);
        tokio::spawn(self.clone().take_part_in_ending(Arc::clone(context)));
        tokio::spawn(load_late_modules(Arc::clone(context)));
        Ok(())
    }

    /// Goes on with a guest that is booted by an earlier agent and has systemd as process 1. How
    /// far that is will be told when it goes down; it has started, or commands would not be asked
    /// for.
    pub(crate) fn resume(&self, context: &Arc<Context>) -> io::Result<()> {
        let notify = Notify::bind()?;
        context.set_progress(InitKind::Systemd, InitState::Running);
        guard::start(context)?;
        tokio::spawn(notify.follow(Arc::downgrade(context)));
        Ok(())
    }

    /// While the guest is going down, whoever wanted that: ends the service, tells process 1 so,
    /// and then whenever no command is left.
    async fn take_part_in_ending(self, context: Arc<Context>) {
        let mut progress = context.watch_progress();
        if progress.wait_for(|now| now.state == InitState::Stopping).await.is_err() {
            return;
        }
        context.service.ask_to_end(STOP_GRACE);
        context.service.ended().await;
        if !matches!(self.door().map(|door| door.tell(&Order::ServiceEnded)), Ok(Ok(()))) {
            return;
        }
        let mut commands = context.watch_commands();
        while commands.wait_for(|count| *count == 0).await.is_ok() {
            let told = self.door().map(|door| door.tell(&Order::Quiet));
            if !matches!(told, Ok(Ok(()))) || commands.changed().await.is_err() {
                return;
            }
        }
    }

    fn door(&self) -> io::Result<&Door> {
        self.door.get().ok_or_else(|| io::Error::other("the machine is not attached"))
    }

    fn boot(&self, context: &Arc<Context>, config: &GuestConfig) -> Result<Configured, BootError> {
        let door = self.door().map_err(BootError::preparing("the door to process 1"))?;
        let mut warnings = identity::apply_to_kernel(config);
        warnings.extend(network::set_up(config.network.as_ref()));
        context.set_card(match &config.network {
            Some(network) => KnownCard::Mac(network.mac),
            None => KnownCard::None,
        });
        warnings.extend(overlay::mount(config)?);
        let root = open_new_root()?;
        warnings.extend(device_files::make(&root));
        newroot::mount_interfaces(&root)?;
        warnings.extend(files::write(&root, config)?);
        let found = match config.init {
            InitChoice::Auto => systemd::find(&root),
            InitChoice::Agent => None,
        };
        let init = match found {
            Some(init) => {
                systemd::prepare(&root)?;
                if let Some(network) = &config.network {
                    warnings.extend(systemd::leave_card(&root, network)?);
                }
                // Nothing of the new root is held open when systemd gets it.
                drop(root);
                let notify =
                    Notify::bind().map_err(BootError::preparing("the readiness socket"))?;
                let notify_socket = Notify::address();
                door.enter(&Order::Become { init: init.to_owned(), notify_socket })?;
                context.set_progress(InitKind::Systemd, InitState::Starting);
                tokio::spawn(notify.follow(Arc::downgrade(context)));
                InitKind::Systemd
            }
            None => {
                warnings.extend(newroot::complete_without_init(&root));
                drop(root);
                door.enter(&Order::Stay)?;
                context.set_progress(InitKind::Agent, InitState::Running);
                InitKind::Agent
            }
        };
        Ok(Configured { init, service: None, warnings })
    }
}

async fn load_late_modules(context: Arc<Context>) {
    let mut progress = context.watch_progress();
    let runs = progress.wait_for(|now| now.state == InitState::Running);
    // Whatever the services are doing by then.
    let _ = tokio::time::timeout(LONGEST_START, runs).await;
    tokio::time::sleep(LATER).await;
    let loaded = tokio::task::spawn_blocking(|| load_modules(Need::Late)).await;
    for warning in loaded.unwrap_or_default() {
        eprintln!("banger-agent: {warning}");
    }
}

impl Machine for GuestMachine {
    fn configure(
        &self,
        context: &Arc<Context>,
        config: &GuestConfig,
    ) -> Result<Configured, Problem> {
        self.boot(context, config).map_err(|error| {
            overlay::remove();
            Problem::from_error(Code::OperationFailed, &error)
        })
    }

    fn renew(&self, context: &Arc<Context>, config: &GuestConfig) -> Result<Vec<String>, Problem> {
        renewal::apply(context, config)
            .map_err(|error| Problem::from_error(Code::OperationFailed, &error))
    }

    fn set_clock(&self, request: &SetClock) -> Result<(), Problem> {
        let failed = identity::set_clock_and_randomness(request);
        if failed.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Code::OperationFailed, failed.join("; ")))
    }

    fn open_console(&self) -> io::Result<File> {
        // As itself, not as the agent's own output: what an image's init does to its console
        // (hanging it up, for one) must not make it deaf for good.
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::open("/dev/console", flags, Mode::empty())?.into())
    }

    fn grow_disk(&self, serial: &str, bytes: u64) -> Result<u64, Problem> {
        grow::grow_mounted(serial, bytes)
            .map_err(|error| Problem::from_error(Code::OperationFailed, &error))
    }

    fn power_off(&self, reboot: bool) -> Result<(), Problem> {
        let failed = |error: &dyn std::error::Error| {
            Problem::new(Code::OperationFailed, "cannot tell process 1 to end the guest")
                .because(error)
        };
        let door = self.door().map_err(|error| failed(&error))?;
        // Where process 1 has become systemd the door is closed.
        if door.tell(&Order::PowerOff { reboot }).is_ok() {
            return Ok(());
        }
        let number = if reboot { SYSTEMD_REBOOT } else { SYSTEMD_POWER_OFF };
        let Some(signal) = sys::signal(number) else { return Ok(()) };
        rustix::process::kill_process(Pid::INIT, signal).map_err(|errno| failed(&errno))
    }
}
