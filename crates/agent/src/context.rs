//! What all services of one guest share: where commands run, their environment, how far the
//! guest is, and the machine under it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use banger_proto::guest::{
    Configured, GuestConfig, Health, InitKind, InitState, SetClock, SshKeys,
};
use banger_proto::{MacAddress, Problem};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::hosted::Hosted;
use crate::image_program::Service;
use crate::jobs::{self, Jobs};
use crate::root::Root;
use crate::ssh::SshPlaces;

/// Where the kernel tells how long the processors did what.
pub(crate) const CPU_TIMES: &str = "/proc/stat";

/// The machine that configuring and powering off act on: a booted guest, or [`Hosted`].
pub trait Machine: Send + Sync {
    /// Brings the guest up to where commands run in [`Context::root`]. Called on a thread that
    /// may block; never twice at a time, and not again after it succeeded.
    ///
    /// # Errors
    /// What failed; the guest is then as unconfigured as before.
    fn configure(
        &self,
        context: &Arc<Context>,
        config: &GuestConfig,
    ) -> Result<Configured, Problem>;

    /// Makes a running guest the VM that `config` describes, in all that is identity: disks and init
    /// stay. Called on a thread that may block; never twice at a time, nor while configuring. May be
    /// called again after it failed. Returns what did not work and does not matter as much.
    ///
    /// # Errors
    /// What failed; the guest may then be neither wholly.
    fn renew(&self, context: &Arc<Context>, config: &GuestConfig) -> Result<Vec<String>, Problem>;

    /// Sets the wall clock, and begins the kernel's randomness anew where there is a seed for it.
    ///
    /// # Errors
    /// All that failed, after both were tried.
    fn set_clock(&self, request: &SetClock) -> Result<(), Problem>;

    /// Opens what is written to when there is nobody to tell: the console.
    ///
    /// # Errors
    /// When there is none.
    fn open_console(&self) -> io::Result<File>;

    /// Opens the directory that jobs are kept in, in the guest whose root this is; makes it where
    /// there is none. Called on a thread that may block.
    ///
    /// # Errors
    /// When it cannot be made; the error names it.
    fn open_jobs(&self, root: &Root) -> io::Result<OwnedFd> {
        root.open()?.ensure_directory(Path::new(jobs::DIRECTORY))
    }

    /// How long the processors did what: the text of `/proc/stat` (proc_stat(5)).
    ///
    /// # Errors
    /// When it cannot be read; the error does not name it.
    fn read_cpu_times(&self) -> io::Result<String> {
        std::fs::read_to_string(CPU_TIMES)
    }

    /// Uses all of the writable disk with this serial, which is or is about to be of `bytes`.
    /// Called on a thread that may block. Returns the size of the file system in bytes.
    ///
    /// # Errors
    /// When it is not that large in time, or the file system does not grow.
    fn grow_disk(&self, serial: &str, bytes: u64) -> Result<u64, Problem>;

    /// Where the files of SSH are in the guest's root; none for a machine that is nobody's guest.
    fn ssh_places(&self) -> Option<SshPlaces> {
        Some(SshPlaces::default())
    }

    /// The agent's own program, as a command in [`Context::root`] finds it.
    fn own_program(&self) -> String {
        // Means the file that runs, wherever that is and whether it still has a name.
        "/proc/self/exe".to_owned()
    }

    /// Starts to end the guest. The reply has been sent by then, and the service has ended.
    ///
    /// # Errors
    /// When nobody could be told to.
    fn power_off(&self, reboot: bool) -> Result<(), Problem>;
}

/// The network card that the agent has set up, as far as it knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KnownCard {
    /// An earlier agent may have set one up.
    #[default]
    Unknown,
    /// None.
    None,
    /// The one with this address.
    Mac(MacAddress),
}

/// How far the guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) init: Option<InitKind>,
    pub(crate) state: InitState,
}

/// One guest, as its services see it. Shared by all streams.
pub struct Context {
    /// Where commands run and trees are unpacked.
    pub(crate) root: Root,
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) service: Service,
    pub(crate) jobs: Jobs,
    progress: watch::Sender<Progress>,
    /// Commands running now. A `watch` so that the end of the last one is an event.
    commands: watch::Sender<u32>,
    env: Mutex<BTreeMap<String, String>>,
    ssh_keys: Mutex<Option<SshKeys>>,
    card: Mutex<KnownCard>,
    /// Whether what the host asks for comes before everything else that the guest does.
    hurry: watch::Sender<bool>,
    /// Held while configuring or renewing.
    configuring: tokio::sync::Mutex<()>,
    /// Whether it was said that there is no mise.
    told_missing_tools: AtomicBool,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("root", &self.root)
            .field("progress", &*self.progress.borrow())
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Whether it is to be said now that a workspace's tools are missing: once in a guest's life.
    pub(crate) fn tell_missing_tools(&self) -> bool {
        !self.told_missing_tools.swap(true, Ordering::Relaxed)
    }

    /// An unconfigured guest whose commands will run in `root`.
    #[must_use]
    pub fn new(root: Root, machine: Box<dyn Machine>) -> Arc<Self> {
        Arc::new(Self {
            root,
            machine,
            service: Service::none(),
            jobs: Jobs::default(),
            progress: watch::Sender::new(Progress { init: None, state: InitState::Unconfigured }),
            commands: watch::Sender::new(0),
            env: Mutex::default(),
            ssh_keys: Mutex::default(),
            card: Mutex::default(),
            hurry: watch::Sender::new(false),
            configuring: tokio::sync::Mutex::default(),
            told_missing_tools: AtomicBool::new(false),
        })
    }

    /// A guest that is the calling process's own system: configuring and powering off are
    /// recorded in `hosted`, commands run as they are. For tests and fakes.
    #[must_use]
    pub fn hosted(hosted: Hosted) -> Arc<Self> {
        Self::new(Root::Own, Box::new(hosted))
    }

    /// Whether commands can run.
    pub(crate) fn is_configured(&self) -> bool {
        self.progress.borrow().state != InitState::Unconfigured
    }

    /// Whether the guest is going down.
    pub(crate) fn is_stopping(&self) -> bool {
        self.progress.borrow().state == InitState::Stopping
    }

    /// Notes how far the guest is; watchers are told when it is news.
    pub(crate) fn set_progress(&self, init: InitKind, state: InitState) {
        let new = Progress { init: Some(init), state };
        self.progress.send_if_modified(|now| std::mem::replace(now, new) != new);
    }

    /// Moves on to `state`; never back, and not before a configuration.
    pub(crate) fn set_state(&self, state: InitState) {
        let rank = |state| match state {
            InitState::Unconfigured => 0,
            InitState::Starting => 1,
            InitState::Running => 2,
            InitState::Stopping => 3,
        };
        self.progress.send_if_modified(|now| {
            let news = now.init.is_some() && rank(state) > rank(now.state);
            if news {
                now.state = state;
            }
            news
        });
    }

    /// Who is process 1; none before configuration.
    pub(crate) fn init(&self) -> Option<InitKind> {
        self.progress.borrow().init
    }

    /// Follows how far the guest is.
    pub(crate) fn watch_progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Follows the number of running commands.
    pub(crate) fn watch_commands(&self) -> watch::Receiver<u32> {
        self.commands.subscribe()
    }

    /// Counts a command until the guard is dropped.
    pub(crate) fn count_command(self: &Arc<Self>) -> CommandCount {
        self.commands.send_modify(|count| *count += 1);
        CommandCount(Arc::clone(self))
    }

    /// The environment every command gets.
    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        self.env.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_env(&self, env: BTreeMap<String, String>) {
        *self.env.lock().unwrap_or_else(PoisonError::into_inner) = env;
    }

    /// The keys of this guest, as far as it was given some.
    pub(crate) fn ssh_keys(&self) -> Option<SshKeys> {
        self.ssh_keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_ssh_keys(&self, keys: Option<SshKeys>) {
        *self.ssh_keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The card that the agent has set up.
    pub(crate) fn card(&self) -> KnownCard {
        *self.card.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_card(&self, card: KnownCard) {
        *self.card.lock().unwrap_or_else(PoisonError::into_inner) = card;
    }

    /// Begins or ends that what the host asks for comes before everything else.
    pub(crate) fn set_hurry(&self, hurries: bool) {
        self.hurry.send_replace(hurries);
    }

    /// Whether it does, to be watched for its end; none if not.
    pub(crate) fn hurry(&self) -> Option<watch::Receiver<bool>> {
        self.hurry.borrow().then(|| self.hurry.subscribe())
    }

    /// The right to configure or renew, unless somebody has it.
    pub(crate) fn begin_configuring(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.configuring.try_lock().ok()
    }

    /// The picture that the host gets.
    pub(crate) fn health(&self) -> Health {
        let Progress { init, state } = *self.progress.borrow();
        Health {
            boot_id: boot_id().to_owned(),
            uptime_ms: uptime_ms(),
            init,
            state,
            commands: *self.commands.borrow(),
            service: self.service.state(),
        }
    }
}

/// One running command in the count of [`Health::commands`].
#[derive(Debug)]
pub(crate) struct CommandCount(Arc<Context>);

impl Drop for CommandCount {
    fn drop(&mut self) {
        self.0.commands.send_modify(|count| *count -= 1);
    }
}

/// The kernel's boot id; empty when there is no `/proc`. It stays what it was when it is first asked for.
pub(crate) fn boot_id() -> &'static str {
    static BOOT_ID: LazyLock<String> = LazyLock::new(|| {
        let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        told.map(|id| id.trim().to_owned()).unwrap_or_default()
    });
    &BOOT_ID
}

/// Milliseconds since the kernel started.
pub(crate) fn uptime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0)
}
