//! A host whose VMMs are objects in memory and whose guests are the real agent's services, run
//! by this process for its own system.
//!
//! A [`World`] outlives the daemons of a test, as supervisors outlive a daemon.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use banger_agent::{Context, Hosted, Machine, Root, SshPlaces};
use banger_daemon::hypervisor::{
    Features, Found, GuestMachine, GuestStream, Hypervisor, HypervisorError, RunningVm,
    VmProcesses, VmmSpec,
};
use banger_daemon::step::Walk;
use banger_daemon::supervise::identity::ProcessIdentity;
use banger_proto::guest::{GuestConfig, SetClock};
use banger_proto::supervisor::VmmExit;
use banger_proto::{ByteSize, Problem, VmId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::hostile::Hostile;
use crate::machine::{Guest, Load};
use crate::ports::GuestPorts;
use crate::saved::{Saving, load_guest, save_guest};

/// Bytes on their way in one stream to an agent.
const STREAM_BUFFER: usize = 64 << 10;

/// What the next launch leads to.
#[derive(Debug, Clone, Default)]
pub enum Boot {
    /// A guest that can be configured.
    #[default]
    Works,
    /// The VMM does not start.
    Refused(String),
    /// The launch never comes to an end.
    Hangs,
    /// The VMM runs, the agent never calls; this stands on the console.
    Silent(String),
    /// The VMM ends before the agent calls; this stands on the console.
    Dies {
        /// How it ends.
        exit: VmmExit,
        /// Its console.
        console: String,
    },
    /// The agent refuses its configuration.
    Unconfigurable(Problem),
    /// A guest that does not power off when told to.
    Stubborn,
    /// A guest whose agent says nothing any more once it is configured.
    FallsSilent,
    /// A guest whose processors have nothing to do.
    Quiet,
    /// A guest whose processor does nothing but work.
    Busy,
    /// A guest whose root is this directory.
    InDirectory(PathBuf),
    /// A quiet guest with the test host's own SSH server, whose files are in this directory.
    WithSsh(PathBuf),
    /// A guest whose agent lies.
    Hostile(Hostile),
}

/// All VMMs there are, and what becomes of the next ones.
#[derive(Debug, Clone, Default)]
pub struct World {
    state: Arc<Mutex<State>>,
    /// Counts launches, for who waits for one.
    launches: Arc<watch::Sender<u32>>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    next: VecDeque<Boot>,
    vms: BTreeMap<VmId, Arc<FakeVm>>,
    /// Why nobody can tell how these ended.
    untold: BTreeMap<VmId, String>,
    pub(crate) saving: Saving,
}

impl World {
    /// Decides what the next launch leads to; several are used in order, then everything works.
    pub fn next_boot(&self, boot: Boot) {
        self.state().next.push_back(boot);
    }

    /// Whether the guest of a VMM that runs stands still.
    #[must_use]
    pub fn is_paused(&self, vm: &VmId) -> bool {
        self.state().vms.get(vm).is_some_and(|vm| vm.is_paused())
    }

    /// Has the guest of a VMM stand still or go on, which nobody asked for.
    ///
    /// # Panics
    /// When there is no such VM.
    pub fn set_paused(&self, vm: &VmId, paused: bool) {
        self.state().vms.get(vm).expect("a VM").paused.send_replace(paused);
    }

    /// How many launches have begun since the world began.
    #[must_use]
    pub fn launches(&self) -> u32 {
        *self.launches.borrow()
    }

    /// Ids of the VMMs that run.
    #[must_use]
    pub fn running(&self) -> Vec<VmId> {
        let state = self.state();
        let running = state.vms.iter().filter(|(_, vm)| vm.exit.borrow().is_none());
        running.map(|(id, _)| id.clone()).collect()
    }

    /// What a VM was started with.
    #[must_use]
    pub fn spec(&self, vm: &VmId) -> Option<VmmSpec> {
        self.state().vms.get(vm).map(|vm| vm.spec.clone())
    }

    /// What a guest was told at its last boot.
    #[must_use]
    pub fn configured(&self, vm: &VmId) -> Option<GuestConfig> {
        self.state().vms.get(vm)?.guest.hosted.configured()
    }

    /// What VMs a guest became after its boot, in order.
    #[must_use]
    pub fn renewed(&self, vm: &VmId) -> Vec<GuestConfig> {
        self.state().vms.get(vm).map(|vm| vm.guest.hosted.renewed()).unwrap_or_default()
    }

    /// What a guest's clock was set with, in order.
    #[must_use]
    pub fn clock_set(&self, vm: &VmId) -> Vec<SetClock> {
        self.state().vms.get(vm).map(|vm| vm.guest.hosted.clock_set()).unwrap_or_default()
    }

    /// The sizes that a guest's disk was grown to while it ran: what the VMM showed it, and what
    /// its agent was asked for.
    #[must_use]
    pub fn grown(&self, vm: &VmId) -> (Vec<ByteSize>, Vec<u64>) {
        let vm = self.state().vms.get(vm).cloned();
        vm.map(|vm| (vm.grown.borrow().clone(), vm.guest.hosted.grown())).unwrap_or_default()
    }

    /// Waits until a guest has been shown that its disk has grown.
    ///
    /// # Panics
    /// When there is no such VM.
    pub async fn shown_growth(&self, vm: &VmId) {
        let vm = self.state().vms.get(vm).cloned().expect("a VM");
        // The sender is in the VM: it cannot be gone.
        let _ = vm.grown.subscribe().wait_for(|grown| !grown.is_empty()).await;
    }

    /// Has programs of a guest listen at these ports from now on, and at no other.
    ///
    /// # Panics
    /// When there is no such VM.
    pub fn listen(&self, vm: &VmId, ports: impl IntoIterator<Item = u16>) {
        let vm = self.state().vms.get(vm).cloned().expect("a VM");
        vm.ports.set(ports.into_iter().collect());
    }

    /// Ends a VMM from the outside.
    pub fn end(&self, vm: &VmId, exit: VmmExit) {
        if let Some(vm) = self.state().vms.get(vm) {
            vm.end(exit);
        }
    }

    /// Ends a VMM together with everybody who could tell how.
    pub fn lose(&self, vm: &VmId) {
        if let Some(vm) = self.state().vms.remove(vm) {
            vm.end(VmmExit { code: None, signal: None, killed: false, stderr: String::new() });
        }
    }

    /// Ends a VMM and leaves only a record of that which is of no use.
    pub fn damage(&self, vm: &VmId, why: &str) {
        self.lose(vm);
        self.state().untold.insert(vm.clone(), why.to_owned());
    }

    /// Waits until `count` launches have begun since the world began.
    pub async fn launched(&self, count: u32) {
        let mut launches = self.launches.subscribe();
        // The sender is in `self`: it cannot be gone.
        let _ = launches.wait_for(|launches| *launches >= count).await;
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn launch_now(
        &self,
        spec: &VmmSpec,
        boot: Boot,
    ) -> Result<Arc<FakeVm>, HypervisorError> {
        let mut silent = false;
        let mut stubborn = false;
        let mut falls_silent = false;
        let mut load = None;
        let mut hostile = None;
        let mut ssh_dir = None;
        let mut root = Root::Own;
        let mut exit = None;
        let mut hosted = Hosted::default();
        let mut console = "a fake kernel boots\n".to_owned();
        match boot {
            Boot::Works | Boot::Hangs => {}
            Boot::Refused(message) => return Err(HypervisorError { message, source: None }),
            Boot::Silent(text) => (silent, console) = (true, text),
            Boot::Dies { exit: how, console: text } => (exit, console) = (Some(how), text),
            Boot::Unconfigurable(problem) => hosted = Hosted::refusing(problem),
            Boot::Stubborn => stubborn = true,
            Boot::FallsSilent => falls_silent = true,
            Boot::Quiet => load = Some(Load::None),
            Boot::Busy => load = Some(Load::Full),
            Boot::InDirectory(dir) => root = Root::Directory(dir),
            Boot::WithSsh(dir) => {
                ssh_dir = Some(dir);
                // The server's work is not the guest's, which it is told apart from here only.
                load = Some(Load::None);
            }
            Boot::Hostile(how) => hostile = Some(how),
        }
        let console =
            write_console(&spec.console_log, &console).map_err(|error| HypervisorError {
                message: "cannot write the console".to_owned(),
                source: Some(Box::new(error)),
            })?;
        let hosted = hosted.with_console(console);
        let mut hosted = match ssh_dir {
            Some(dir) => hosted.with_ssh_places(SshPlaces {
                dir: dir.join("run"),
                authorized_keys: dir.join("authorized_keys"),
            }),
            None => hosted,
        };
        let jobs = TempDir::new().map_err(|error| HypervisorError {
            message: "cannot make a place for jobs".to_owned(),
            source: Some(Box::new(error)),
        })?;
        if root == Root::Own {
            hosted = hosted.with_jobs(jobs.path().to_owned());
        }
        for disk in &spec.disks {
            fs_err::metadata(&disk.path).map_err(|error| HypervisorError {
                message: format!("disk `{}` is missing", disk.serial),
                source: Some(Box::new(error)),
            })?;
        }
        let going_on = spec.saved.as_ref();
        let going_on = going_on.map(|saved| load_guest(&saved.directory, spec)).transpose()?;
        let paused = spec.saved.as_ref().is_some_and(|saved| saved.paused);
        let exit = watch::Sender::new(exit);
        let jobs = Arc::new(jobs);
        let guest = Guest { hosted, exit: exit.clone(), stubborn, load, _jobs: jobs };
        let context = Context::new(root, Box::new(guest.clone()));
        if let Some(config) = going_on.flatten() {
            guest
                .hosted
                .configure(&context, &config)
                .map_err(|problem| HypervisorError { message: problem.message, source: None })?;
        }
        let vm = Arc::new(FakeVm {
            spec: spec.clone(),
            guest,
            exit,
            grown: watch::Sender::default(),
            paused: watch::Sender::new(paused),
            silent,
            falls_silent,
            hostile,
            ports: GuestPorts::default(),
            context,
        });
        let earlier = self.state().vms.insert(spec.vm.clone(), Arc::clone(&vm));
        assert!(
            earlier.is_none_or(|earlier| earlier.exit.borrow().is_some()),
            "two VMMs on one disk"
        );
        Ok(vm)
    }
}

/// Where all guests run: not in the runtime of whichever daemon speaks to them, with which their
/// tasks would end.
fn guests() -> &'static Handle {
    static GUESTS: LazyLock<Handle> = LazyLock::new(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    });
    &GUESTS
}

/// Begins a console log; the guest goes on with it.
fn write_console(log: &Path, text: &str) -> std::io::Result<std::fs::File> {
    fs_err::write(log, text)?;
    Ok(fs_err::OpenOptions::new().append(true).open(log)?.into_parts().0)
}

impl Hypervisor for World {
    fn features(&self) -> Features {
        Features {
            vmm: "fake".to_owned(),
            accel: "none".to_owned(),
            remark: Some("a world in memory".to_owned()),
            slowness: 1,
            machine: GuestMachine::Microvm,
        }
    }

    fn launch<'a>(
        &'a self,
        spec: &'a VmmSpec,
        _walk: &'a Walk,
    ) -> BoxFuture<'a, Result<Arc<dyn RunningVm>, HypervisorError>> {
        async move {
            let boot = self.state().next.pop_front().unwrap_or_default();
            self.launches.send_modify(|launches| *launches += 1);
            if matches!(boot, Boot::Hangs) {
                return std::future::pending().await;
            }
            self.launch_now(spec, boot).map(|vm| vm as Arc<dyn RunningVm>)
        }
        .boxed()
    }

    fn saved_with(&self) -> Result<String, HypervisorError> {
        Ok(self.saves_with())
    }

    fn prove<'a>(
        &'a self,
        spec: &'a VmmSpec,
        directory: &'a Path,
        walk: &'a Walk,
    ) -> BoxFuture<'a, Result<(), HypervisorError>> {
        self.try_saved(spec, directory, walk).boxed()
    }

    fn adopt<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<Found, HypervisorError>> {
        let untold = self.state().untold.get(vm).cloned();
        let vm = self.state().vms.get(vm).cloned();
        let found = vm.map_or(untold.map_or(Found::Gone, Found::Untold), |vm| {
            let exit = vm.exit.borrow().clone();
            exit.map_or_else(|| Found::Alive(vm), Found::Ended)
        });
        async move { Ok(found) }.boxed()
    }

    fn clean<'a>(&'a self, vm: &'a VmId) -> BoxFuture<'a, Result<(), HypervisorError>> {
        self.state().untold.remove(vm);
        self.state().vms.retain(|id, fake| id != vm || fake.exit.borrow().is_none());
        async { Ok(()) }.boxed()
    }
}

/// A VMM that runs or ran.
#[derive(Debug)]
pub(crate) struct FakeVm {
    spec: VmmSpec,
    guest: Guest,
    exit: watch::Sender<Option<VmmExit>>,
    /// Sizes that the guest was shown, in order.
    grown: watch::Sender<Vec<ByteSize>>,
    paused: watch::Sender<bool>,
    silent: bool,
    falls_silent: bool,
    hostile: Option<Hostile>,
    ports: GuestPorts,
    context: Arc<Context>,
}

impl FakeVm {
    /// The first end counts.
    fn end(&self, exit: VmmExit) {
        self.exit.send_if_modified(|now| {
            let first = now.is_none();
            now.get_or_insert(exit);
            first
        });
    }

    async fn ended(&self) -> VmmExit {
        let mut exit = self.exit.subscribe();
        let exit = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        // The sender is in `self`: it cannot be gone.
        exit.unwrap_or(VmmExit { code: None, signal: None, killed: true, stderr: String::new() })
    }
}

impl RunningVm for FakeVm {
    fn dial(&self) -> BoxFuture<'_, Result<GuestStream, HypervisorError>> {
        async move {
            if self.silent || self.exit.borrow().is_some() {
                self.ended().await;
                return Err(HypervisorError { message: "the VMM ended".to_owned(), source: None });
            }
            let (host, guest) = tokio::io::duplex(STREAM_BUFFER);
            let (context, mut exit) = (Arc::clone(&self.context), self.exit.subscribe());
            let (hostile, ports) = (self.hostile.clone(), self.ports.clone());
            let mut paused = self.paused.subscribe();
            let heard = !(self.falls_silent && self.guest.hosted.configured().is_some());
            guests().spawn(async move {
                let serve = async {
                    // The sender is in the VM; with it the guest is gone.
                    let _ = paused.wait_for(|paused| !paused).await;
                    if let Some(hostile) = hostile {
                        hostile.serve(context, guest).await;
                    } else if heard {
                        ports.serve(context, guest).await;
                    } else {
                        // Kept open all the same.
                        let _guest = guest;
                        std::future::pending().await
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = exit.wait_for(Option::is_some) => {}
                }
            });
            Ok(Box::new(host) as GuestStream)
        }
        .boxed()
    }

    fn power_button(&self) -> BoxFuture<'_, Result<(), HypervisorError>> {
        let pressed = self.guest.power_off(false);
        async move {
            pressed.map_err(|problem| HypervisorError { message: problem.message, source: None })
        }
        .boxed()
    }

    fn grow_disk(&self, disk: u32, size: ByteSize) -> BoxFuture<'_, Result<(), HypervisorError>> {
        let grown = match self.spec.disks.get(disk as usize) {
            Some(disk) if !disk.read_only => {
                self.grown.send_modify(|grown| grown.push(size));
                Ok(())
            }
            _ => Err(HypervisorError {
                message: format!("disk {disk} cannot be grown"),
                source: None,
            }),
        };
        async { grown }.boxed()
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), HypervisorError>> {
        self.paused.send_replace(true);
        async { Ok(()) }.boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), HypervisorError>> {
        self.paused.send_replace(false);
        async { Ok(()) }.boxed()
    }

    fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// The guest is what it was configured with.
    fn save<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, Result<(), HypervisorError>> {
        self.paused.send_replace(true);
        let saved = save_guest(self.guest.hosted.configured(), &self.spec, directory);
        async { saved }.boxed()
    }

    fn kill(&self) -> BoxFuture<'_, Result<(), HypervisorError>> {
        self.end(VmmExit { code: None, signal: Some(9), killed: true, stderr: String::new() });
        async { Ok(()) }.boxed()
    }

    fn exited(&self) -> BoxFuture<'_, VmmExit> {
        self.ended().boxed()
    }

    /// Both are this process.
    fn processes(&self) -> Option<VmProcesses> {
        let own = ProcessIdentity::observe(std::process::id())?;
        Some(VmProcesses { vmm: own, supervisor: own })
    }
}
