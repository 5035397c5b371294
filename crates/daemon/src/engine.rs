//! The façade: what the interface and the tests call. Everything else hangs from an [`Engine`],
//! which is built in one place and passed down.
//!
//! How a VM comes to be, in the order of reading: [`Engine::create`] plans and records it
//! (`vm/plan.rs`, `store/vms.rs`) and starts its driver (`vm/driver.rs`), which boots it
//! (`vm/boot.rs`) and from then on does what it is asked (`vm/desk.rs`), until it is deleted
//! (`vm/undo.rs`).

mod artifacts;
mod autostart;
mod copy;
mod creation;
mod examine;
mod fork;
mod garbage;
mod host;
mod images;
mod insight;
mod jobs;
mod kernels;
mod life;
mod network;
mod ports;
mod prepare;
mod repair;
mod set;
mod snapshots;
mod ssh;
mod unused;
mod wait;
mod wake;
mod workspace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::api::{CreateVm, Event, ExecVm, VmView, WaitFor};
use banger_proto::{Code, Problem};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use copy::{CopyOut, OutPiece};
pub(crate) use creation::gather_entropy;
pub use host::Host;
pub use jobs::Attachment;
pub use ssh::SshConnection;
pub use workspace::Patch;

use crate::guest::{ExecSession, GuestClient, GuestError};
use crate::hypervisor::RunningVm;
use crate::operation;
use crate::progress::Progress;
use crate::rotated::Chunks;
use crate::step::{Operation, Step};
use crate::store::{Store, StoreError};
use crate::vm::boot::Order;
use crate::vm::desk::VmHandle;
use crate::vm::driver::Driver;
use crate::vm::news::News;
use crate::vm::recover::{Recovered, recover};
use crate::vm::registry::Registry;
use crate::vm::state::VmRecord;
use crate::vm::uses::Use;
use crate::vm::view::render_view;
use crate::vm::{console, files, program};
use crate::warm;

/// How long a stopping daemon waits for what is under way to be undone.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// How long an agent may take to start a command, one that was killed and comes back included:
/// ten times what that takes on a busy host without virtualisation.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// All VMs of one user. Cloned freely.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Arc<Host>,
    store: Store,
    registry: Registry,
    news: News,
    /// Held while a name is chosen and recorded, so that two requests do not choose the same.
    naming: tokio::sync::Mutex<()>,
    drivers: TaskTracker,
    /// Wakes who removes what no VM needs any more.
    unused: tokio::sync::Notify,
    stopping: CancellationToken,
    started_at: Timestamp,
}

/// Work under way for one request: its events, the last of which says how it ended. Dropping it
/// cancels the work, which is then undone; a restart goes on.
#[derive(Debug)]
pub struct Work {
    /// Absent after a failure, which is the last event whatever is still being cleared away.
    events: Option<mpsc::UnboundedReceiver<Event>>,
    _cancel: Option<DropGuard>,
}

/// A command that runs.
#[derive(Debug)]
pub struct Command {
    /// Its stream.
    pub session: ExecSession,
    /// What keeps its VM in use.
    pub in_use: Use,
}

impl Work {
    /// The next event; none when the request is over.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.events.as_mut()?.recv().await;
        if let Some(Event::Failed { .. }) = event {
            self.events = None;
        }
        event
    }
}

impl Engine {
    /// Brings every recorded VM to rest (see `vm/recover.rs`) and takes requests from then on.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub async fn open(host: Host, store: Store) -> Result<Self, StoreError> {
        let host = Arc::new(host);
        let recovered = recover(&host, &store).await?;
        host.images.remove_leftovers().await;
        ssh::settle(&host, recovered.iter().map(|vm| &vm.record)).await;
        network::settle(&host, recovered.iter().map(|vm| &vm.record)).await;
        let engine = Self {
            inner: Arc::new(Inner {
                host,
                store,
                registry: Registry::default(),
                news: News::default(),
                naming: tokio::sync::Mutex::default(),
                drivers: TaskTracker::new(),
                unused: tokio::sync::Notify::new(),
                stopping: CancellationToken::new(),
                started_at: Timestamp::now(),
            }),
        };
        for Recovered { record, vmm, stood_still } in recovered {
            let driver = engine.register(record, vmm);
            let ended = engine.clone();
            engine.inner.drivers.spawn(async move {
                if stood_still {
                    driver.catch_up().await;
                }
                driver.run().await;
                ended.collect_unused_later();
            });
        }
        let Inner { host, drivers, .. } = &*engine.inner;
        host.kernels.settle(engine.kernels_in_use().await).await;
        engine.collect_images().await;
        drivers.spawn(engine.clone().collect_unused_when_asked());
        let (host, stopping) = (Arc::clone(host), engine.inner.stopping.clone());
        drivers.spawn(warm::make_wanted(host, stopping));
        engine.follow_names();
        Ok(engine)
    }

    /// What VMs are made with.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.inner.host
    }

    /// When this engine was opened.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.inner.started_at
    }

    /// Every VM, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<VmView> {
        self.inner.registry.handles().iter().map(|handle| self.view(handle)).collect()
    }

    /// Number of VMs by state.
    #[must_use]
    pub fn count(&self) -> BTreeMap<&'static str, u32> {
        let mut counts = BTreeMap::new();
        for handle in self.inner.registry.handles() {
            let state = handle.shown.borrow().record.state.name();
            *counts.entry(state.as_str()).or_default() += 1;
        }
        counts
    }

    /// One VM, with its history.
    ///
    /// # Errors
    /// When `reference` means none or several.
    pub async fn show(&self, reference: &str) -> Result<VmView, Problem> {
        let mut view = self.view(&self.inner.registry.find(reference)?);
        match self.inner.store.load_history(view.id.clone()).await {
            Ok(history) => view.history = history,
            // How a VM is must be seen all the more when something is wrong with the database.
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(vm = %view.name, error, "no history");
            }
        }
        Ok(view)
    }

    /// Makes a VM. The last event is `vm_ready` or `failed`; for an ephemeral VM, dropping the
    /// work after that deletes the VM.
    #[must_use]
    pub fn create(&self, asked: CreateVm) -> Work {
        let (order, work) = self.order(asked.wait);
        let engine = self.clone();
        let creation = async move {
            let progress = order.progress.clone();
            match Box::pin(engine.plan_and_record(asked, order)).await {
                Ok((driver, order)) => {
                    // The driver owns VM and order now, and answers; the stream ends with it.
                    drop(progress);
                    driver.create_and_run(order).await;
                    engine.collect_unused_later();
                }
                Err(problem) => progress.send(Event::Failed { problem }),
            }
        };
        self.inner.drivers.spawn(creation.in_current_span());
        work
    }

    /// Starts a command in a VM.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM does not run and cannot be woken, the image
    /// lacks what is to be run, or the agent refuses.
    pub async fn exec(&self, reference: &str, asked: ExecVm) -> Result<Command, Problem> {
        let (record, vmm, in_use) = self.use_awake(reference).await?;
        let request = program::plan_exec(asked, &record)?;
        let walk = self.inner.host.followers.walk(&record.plan.name, Operation::Exec);
        walk.enter(Step::Command).await;
        let guest = GuestClient::new(vmm).within(START_DEADLINE);
        let session = guest.exec(&request).await.map_err(|error| match error {
            GuestError::Refused(problem) => program::explain_refusal(problem, &request, &record),
            error => {
                let message = format!("cannot run a command in VM `{}`", record.plan.name);
                Problem::new(Code::OperationFailed, message)
                    .because(&error)
                    .hint(format!("if it stays so: banger vm restart {}", record.plan.name))
            }
        })?;
        walk.enter(Step::Answer).await;
        Ok(Command { session, in_use })
    }

    /// The console of a VM: all of it or its last `tail` lines; then, with `follow`, what is
    /// written until the VM is down.
    ///
    /// # Errors
    /// When `reference` means none or several.
    pub fn logs(
        &self,
        reference: &str,
        tail: Option<usize>,
        follow: bool,
    ) -> Result<Chunks, Problem> {
        let handle = self.inner.registry.find(reference)?;
        let log = files::console_log(&self.inner.host.paths, handle.shown.borrow().record.id());
        Ok(console::stream(log, tail, follow.then(|| handle.shown.clone())))
    }

    /// Ends the engine: what is under way for requests is undone, ephemeral VMs go with their
    /// requests, all other VMs run on.
    pub async fn close(&self) {
        self.inner.stopping.cancel();
        self.inner.registry.clear();
        self.inner.drivers.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.inner.drivers.wait()).await.is_err() {
            tracing::warn!("some work did not end in time; the next start finishes it");
        }
        self.inner.host.network.close().await;
    }

    fn view(&self, handle: &VmHandle) -> VmView {
        render_view(&self.inner.host, &handle.shown.borrow().record)
    }

    /// An order that is taken back when its work is dropped.
    fn order(&self, wait: WaitFor) -> (Order, Work) {
        let (order, work) = self.order_for_good(wait);
        let cancel = order.cancel.clone().drop_guard();
        (order, Work { _cancel: Some(cancel), ..work })
    }

    /// An order that only the end of the daemon takes back.
    fn order_for_good(&self, wait: WaitFor) -> (Order, Work) {
        let (sender, events) = mpsc::unbounded_channel();
        let cancel = self.inner.stopping.child_token();
        let progress = Progress::new(sender);
        let (since, op) = (Instant::now(), operation::current());
        let order = Order { from: None, wait, progress, cancel, since, op, unattended: false };
        (order, Work { events: Some(events), _cancel: None })
    }

    fn register(&self, record: VmRecord, vmm: Option<Arc<dyn RunningVm>>) -> Box<Driver> {
        let Inner { host, store, registry, news, stopping, .. } = &*self.inner;
        let id = record.id().clone();
        let (host, store, registry) = (Arc::clone(host), store.clone(), registry.clone());
        let (news, ending) = (news.clone(), stopping.clone());
        let (driver, handle) = Driver::new(host, store, registry, record, vmm, news, ending);
        self.inner.registry.insert(id, handle);
        Box::new(driver)
    }

    /// Names that are taken.
    fn names(&self) -> std::collections::BTreeSet<String> {
        let handles = self.inner.registry.handles();
        handles.iter().map(|handle| handle.shown.borrow().record.plan.name.to_string()).collect()
    }
}

fn stopping() -> Problem {
    Problem::new(Code::Cancelled, "the daemon is stopping")
}
