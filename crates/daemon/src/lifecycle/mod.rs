//! The program `bangerd`: from its start to its end.
//!
//! ```text
//! directories ─▶ log ─▶ lock ─▶ configuration ─▶ store ─▶ recovery ─▶ names ─▶ socket ─▶ serving
//!      ▲                                                                          │
//!      └────────────────── undone in reverse by SIGTERM, SIGINT, or a call ◀──────┘
//! ```
//!
//! VMs belong to their supervisors: they neither notice that a daemon ends nor that one starts. Where the
//! daemon is a service of the system, the socket is the service manager's, and a daemon that ends because
//! the host does stops its VMs first (`host_end.rs`).
//!
//! The runtime is single-threaded with a small blocking pool: the daemon waits, it does not
//! compute, and every worker thread would cost memory while nothing happens.

mod announce;
mod companion;
mod directories;
mod error;
mod host_end;
mod limits;
mod listen;
mod lock;
mod log;

use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use announce::Announcement;
use banger_fetch::{AuthFiles, Network};
use banger_proto::paths::system_runtime_dir;
use banger_proto::{Paths, build, exit_code};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use companion::{build_identity, find_agent, find_helper, find_supervisor};
pub use directories::{DirectoryError, ensure_runtime_dir};
pub use error::LifecycleError;
pub use listen::{ListenError, Listener};
pub use lock::{Lock, LockError};

use crate::config::{Config, load_resolved, observe_host};
use crate::dns::{DnsServer, Names};
use crate::engine::{Engine, Host};
use crate::exec::{Builder, HostEnv};
use crate::fetcher::{CredentialHelpers, Fetcher};
use crate::forward::Budget;
use crate::http::{Api, Requests, serve};
use crate::hypervisor::ConfiguredHypervisor;
use crate::image::Images;
use crate::kernel::Kernels;
use crate::net::user::UserOptions;
use crate::net::{self, NetworkOptions, VmNetwork};
use crate::ssh::Ssh;
use crate::step::Followers;
use crate::store::Store;
use crate::warm::Warm;

/// Most threads that block at a time; ten creates at once write ten disks.
const BLOCKING_THREADS: usize = 16;
/// How long a stopping daemon waits for answers under way.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// What the daemon gets from its surroundings, read once where the program starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where things are.
    pub paths: Paths,
    /// The user it works for.
    pub uid: u32,
    /// The program's own file; supervisors are started from it.
    pub executable: PathBuf,
    /// The agent to boot with, instead of the one beside the executable.
    pub agent: Option<PathBuf>,
    /// Log level, before the configuration's.
    pub log_level: Option<String>,
    /// Socket that is told of each step of what is done to VMs.
    pub steps: Option<PathBuf>,
    /// Environment of host programs.
    pub env: HostEnv,
    /// How the network is reached.
    pub network: Network,
    /// Where registry logins are looked up, unless the configuration names a file.
    pub logins: AuthFiles,
    /// Programs that keep such logins.
    pub credential_helpers: CredentialHelpers,
    /// Whether someone reads standard output to learn how the start goes (`--ready-fd 1`).
    pub announce: bool,
}

impl Options {
    /// Reads the surroundings and the arguments (`[--ready-fd 1]`).
    ///
    /// # Errors
    /// When there is no place for files.
    pub fn from_process(
        lookup: impl Fn(&str) -> Option<OsString>,
        executable: PathBuf,
        args: &[OsString],
    ) -> Result<Self, banger_proto::paths::PathsError> {
        use banger_proto::env;
        let text = |name: &str| lookup(name).and_then(|value| value.into_string().ok());
        let uid = rustix::process::getuid().as_raw();
        let paths = Paths::from_env(text, uid, directories::is_serviced(uid))?;
        let builder = paths
            .is_serviced()
            .then(|| Builder { executable: executable.clone(), socket: paths.builder_socket() });
        let host_env = HostEnv::from_env(&lookup).building_through(builder);
        Ok(Self {
            paths,
            uid,
            executable,
            agent: lookup(env::BANGER_AGENT_BIN).map(PathBuf::from),
            log_level: text(env::BANGER_LOG),
            steps: lookup(env::BANGER_STEPS).map(PathBuf::from),
            network: Network::from_env(text),
            logins: AuthFiles::from_env(text),
            credential_helpers: CredentialHelpers::from_env(host_env.clone(), &lookup),
            env: host_env,
            announce: args.starts_with(&["--ready-fd".into(), "1".into()]),
        })
    }

    /// What fetches over the network as these surroundings and `config` say.
    pub(crate) fn fetcher(&self, config: &Config) -> Fetcher {
        let named = config.registry_auth_file.value.clone().map(AuthFiles::named);
        let logins = named.unwrap_or_else(|| self.logins.clone());
        let helpers = self.credential_helpers.clone();
        Fetcher::new(self.network.clone(), logins, helpers, &self.paths.cache_dir)
    }

    /// The keys for SSH into VMs as these surroundings and `config` say.
    pub(crate) fn ssh(&self, config: &Config) -> Ssh {
        Ssh::new(&self.paths, config.ssh_key_path.value.clone(), self.env.home())
    }
}

/// Runs the daemon in this process until it is told to end.
#[must_use]
pub fn run(options: Options) -> ExitCode {
    let mut announcement = Announcement::new(options.announce);
    match try_run(options, &mut announcement) {
        Ok(()) => ExitCode::from(exit_code::OK),
        Err(error) => {
            // Into the log, if there is one by now, and to whoever started this.
            tracing::error!(error = &error as &dyn std::error::Error, "the daemon ends");
            eprintln!("banger: {}", render_chain(&error));
            announcement.failed(&error.into());
            ExitCode::from(exit_code::FAILURE)
        }
    }
}

fn render_chain(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn try_run(options: Options, announcement: &mut Announcement) -> Result<(), LifecycleError> {
    // Everything made from here on, sockets above all, is this user's alone from its birth.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let inherited = listen::take_inherited()?;
    directories::ensure_all(&options.paths, options.uid)?;
    let mut lock = Lock::take(&options.paths.daemon_lock(), &options.paths.daemon_socket())?;
    let path = &options.paths.config_file;
    let (config, warnings) = load_resolved(path, options.env.home(), observe_host())?;
    log::start(&options.paths.daemon_log(), options.log_level.as_deref(), config.log_level.value)
        .map_err(LifecycleError::Log)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    limits::raise_open_files();
    let version = build::current().version;
    tracing::info!(version, pid = std::process::id(), "daemon starts");
    let runtime = build_runtime().map_err(LifecycleError::Runtime)?;
    let build = build_identity(&options.executable);
    let host = build_host(&options, config);
    let ended = runtime.block_on(async {
        let (signalled, stop) = (CancellationToken::new(), CancellationToken::new());
        let signals = watch_signals(signalled.clone()).map_err(LifecycleError::Runtime)?;
        let daemon = Daemon::open(host, options.uid, build, inherited).await?;
        lock.serves();
        announcement.ready();
        let (engine, ending) = (daemon.engine.clone(), stop.clone());
        let farewell = tokio::spawn(async move {
            signalled.cancelled().await;
            if engine.host().paths.is_serviced() {
                host_end::stop_vms(&engine).await;
            }
            ending.cancel();
        });
        let served = daemon.serve(stop).await;
        signals.abort();
        farewell.abort();
        served
    });
    // Blocking work that is still under way is bounded by itself, not by who waits for it.
    runtime.shutdown_background();
    tracing::info!("daemon ended");
    // Given back by the end of the process and not before: that work may still be under way.
    std::mem::forget(lock);
    ended
}

/// The runtime of a daemon. A test's daemon has the same: work that waits for a thread while it
/// holds what other threads wait for does so there, too.
///
/// # Errors
/// When the kernel refuses.
pub fn build_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
}

/// Everything VMs are made with, from the surroundings and the configuration.
fn build_host(options: &Options, config: Config) -> Host {
    let Options { paths, executable, agent, env, .. } = options;
    let hypervisor = ConfiguredHypervisor::new(
        &config,
        env.clone(),
        paths.clone(),
        find_supervisor(executable),
        find_helper(executable),
    );
    let fetcher = options.fetcher(&config);
    let catalog_url = config.catalog_url.value.clone();
    let names = Arc::new(Names::default());
    Host {
        images: Images::new(paths, env, &fetcher, catalog_url.clone()),
        kernels: Kernels::new(paths, env, &fetcher, catalog_url),
        ssh: options.ssh(&config),
        network: VmNetwork::new(
            net::choose(
                config.network.value,
                &system_runtime_dir(options.uid),
                UserOptions {
                    helper: find_helper(executable),
                    runtime_dir: paths.runtime_dir.clone(),
                    env: env.clone(),
                    bridge: config.bridge_name.value.clone(),
                },
            ),
            NetworkOptions {
                subnet: config.subnet.value,
                required: config.network.value.is_required(),
                uid: options.uid,
            },
            Arc::clone(&names),
        ),
        forwards: Budget::new(limits::observe_open_files().forwards),
        helper: find_helper(executable),
        agent: find_agent(executable, agent.clone()),
        initramfs: Arc::default(),
        warm: Warm::new(paths, config.warm_starts.value),
        followers: Followers::at(options.steps.clone()),
        names,
        env: env.clone(),
        paths: paths.clone(),
        config,
        hypervisor: Arc::new(hypervisor),
    }
}

/// A daemon that is recovered and can be connected to.
#[derive(Debug)]
pub struct Daemon {
    engine: Engine,
    names: Option<DnsServer>,
    listener: Listener,
    owner: u32,
    build: String,
}

impl Daemon {
    /// Opens the store, recovers, and binds the socket, unless one was `inherited`; undone as far as it
    /// came if it fails. The caller has the lock and has prepared the directories.
    ///
    /// # Errors
    /// When the store is of no use or the socket cannot be made.
    pub async fn open(
        host: Host,
        owner: u32,
        build: String,
        inherited: Option<UnixListener>,
    ) -> Result<Self, LifecycleError> {
        let store = Store::open(&host.paths.database())?;
        let socket = host.paths.daemon_socket();
        host.images.remove_leftovers().await;
        let engine = Engine::open(host, store).await?;
        let host = engine.host();
        let names = host.names.serve_host(host.config.dns_listen.value);
        host.network.route_names().await;
        let listener = match inherited {
            Some(inherited) => Listener::inherited(inherited),
            None => Listener::bind(&socket),
        };
        match listener {
            Ok(listener) => {
                engine.autostart().await;
                Ok(Self { engine, names, listener, owner, build })
            }
            Err(error) => {
                engine.close().await;
                Err(error.into())
            }
        }
    }

    /// Answers until `stop` is set off, by whomever or by a call; then takes back what is under
    /// way.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), LifecycleError> {
        let Self { engine, names, listener, owner, build } = self;
        let requests = Requests::default();
        let api = Api { engine: engine.clone(), owner, requests, stop: stop.clone(), build };
        let (incoming, bound) = listener.into_parts();
        let mut serving =
            std::pin::pin!(serve(incoming, limits::observe_open_files().requests, api));
        let served = tokio::select! {
            served = &mut serving => served,
            () = stop.cancelled() => {
                // Work under way is taken back first: its streams then end by themselves.
                let answering = tokio::time::timeout(ANSWER_GRACE, &mut serving);
                let (answered, ()) = tokio::join!(answering, engine.close());
                answered.unwrap_or(Ok(()))
            }
        };
        engine.close().await;
        drop(names);
        drop(bound);
        served.map_err(LifecycleError::Serve)
    }
}

fn watch_signals(stop: CancellationToken) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
        stop.cancel();
    }))
}
