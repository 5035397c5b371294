//! From a plan to a VM that runs commands, in named steps.
//!
//! ```text
//! prepare           make_disk        launch ─▶ hello ─▶ configure      file-sync, workspace, system
//! image, kernel ──▶ writable disk ──▶ supervisor, VMM, agent      ──▶ as far as asked
//! └──────── undone when they fail ───┘└──────── kept for a post-mortem when they fail ────┘
//! ```
//!
//! Each step that makes something records its [`Intent`] first. Whoever called decides by
//! [`Vm::vmm`] what a failure leads to: as long as no VMM was launched, everything is undone.
//!
//! From the launch on, every wait is raced against the VMM's death, the request's cancellation
//! and, until the VM is ready, a deadline: see [`watch`].

pub(crate) mod render;
mod watch;

use std::sync::Arc;

use banger_proto::api::{Event, GuestView, Stage, VmView, WaitFor};
use banger_proto::guest::{Configured, GuestConfig, InitKind, InitState, ServiceState, SshKeys};
use banger_proto::{Code, OpId, Problem};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::owned::Vm;
use super::plan::InForce;
use super::state::{Base, Intent, VmState};
use super::{bring_in, file_sync, files, program, set, undo};
use crate::forward::{Published, render_exposures};
use crate::guest::{GuestClient, GuestError};
use crate::hypervisor::{RunningVm, UNFIT_HINT};
use crate::net::Card;
use crate::progress::Progress;
use crate::snapshot::{self, Origin, Syncing};
use crate::step::Step;
use render::{Own, Parts, check_base, render_guest_config, render_vmm_spec};
use watch::{Deadline, Watch};

/// What a request wants of a boot.
#[derive(Debug)]
pub(crate) struct Order {
    /// What the guest goes on from, instead of booting.
    pub(crate) from: Option<Origin>,
    /// What ready means.
    pub(crate) wait: WaitFor,
    /// Who watches.
    pub(crate) progress: Progress,
    /// Set off when the client goes away.
    pub(crate) cancel: CancellationToken,
    /// When the request came.
    pub(crate) since: Instant,
    /// The request's id.
    pub(crate) op: Option<OpId>,
    /// Whether nobody is there to hear of a failure: the VM then keeps it in any case.
    pub(crate) unattended: bool,
}

impl Order {
    /// Whether the guest is to be as it was when it was saved.
    fn is_whole(&self) -> bool {
        self.from.as_ref().is_some_and(|from| from.whole)
    }

    /// Ends the request well.
    pub(crate) fn send_ready(&self, vm: VmView) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.send(Event::VmReady { vm: Box::new(vm), millis });
    }
}

/// Why a boot did not lead to a VM that runs.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request was taken back.
    Cancelled,
    /// Something failed.
    Problem(Box<Problem>),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

/// Makes a VM: everything from its image to its workspace. One that is not to start gets its
/// disk and no guest.
pub(crate) async fn create(
    vm: &mut Vm,
    order: &Order,
    cancel: &CancellationToken,
) -> Result<Option<GuestView>, Failure> {
    let parts = prepare(vm, order, cancel).await?;
    if vm.record.plan.no_start {
        let _ = make_disk(vm, order, None, &parts).await?;
        return Ok(None);
    }
    let (running, guest) = match begin_warm(vm, order, &parts, cancel).await? {
        Some(begun) => begun,
        None => {
            let syncing = make_disk(vm, order, order.from.as_ref(), &parts).await?;
            let begun = power_on(vm, &parts, order.from.as_ref(), order, cancel).await?;
            finish_sync(syncing).await?;
            begun
        }
    };
    if order.is_whole() {
        // What was brought in and waited for is in it.
        return Ok(Some(guest));
    }
    if !vm.record.plan.warm {
        vm.host.warm.want(&vm.host, &vm.record.plan, &parts);
    }
    sync_files(vm, &running, order, cancel).await?;
    bring_workspace(vm, &running, order, cancel).await?;
    await_system(vm, &running, guest, order, cancel).await.map(Some)
}

/// Begins a VM as a copy of one that has booted, if there is one like it. Whatever that fails for, it boots;
/// how it began is in its plan.
async fn begin_warm(
    vm: &mut Vm,
    order: &Order,
    parts: &Parts,
    cancel: &CancellationToken,
) -> Result<Option<(Arc<dyn RunningVm>, GuestView)>, Failure> {
    let host = Arc::clone(&vm.host);
    if order.from.is_some() || vm.record.spec.cold {
        return Ok(None);
    }
    let Some(origin) = host.warm.find(&host, &vm.record.plan, parts) else { return Ok(None) };
    let then = origin.snapshot.manifest.plan.link_magic.clone();
    let own = std::mem::replace(&mut vm.record.plan.link_magic, then);
    vm.record.plan.warm = true;
    let begun = async {
        let syncing = make_disk(vm, order, Some(&origin), parts).await?;
        let begun = power_on(vm, parts, Some(&origin), order, cancel).await?;
        finish_sync(syncing).await?;
        Ok(begun)
    };
    match begun.await {
        Ok(begun) => Ok(Some(begun)),
        Err(Failure::Cancelled) => Err(Failure::Cancelled),
        Err(Failure::Problem(problem)) => {
            tracing::warn!(vm = %vm.name(), %problem, causes = ?problem.causes, "VM boots instead");
            host.warm.give_up(&origin);
            vm.bring_down().await?;
            undo::remove_disk(&host, vm.record.id(), &vm.walk).await?;
            vm.record.plan.link_magic = own;
            vm.record.plan.warm = false;
            Ok(None)
        }
    }
}

/// Boots a VM that was made before; its disk stays as it is. Returns its guest.
pub(crate) async fn start(
    vm: &mut Vm,
    order: &Order,
    cancel: &CancellationToken,
) -> Result<GuestView, Failure> {
    snapshot::finish_restoring(vm).await?;
    let parts = prepare(vm, order, cancel).await?;
    vm.record.base = Some(parts.base.clone());
    // Where that was asked for and not done.
    set::grow_file(vm).await?;
    let (running, guest) = power_on(vm, &parts, order.from.as_ref(), order, cancel).await?;
    if order.is_whole() {
        return Ok(guest);
    }
    sync_files(vm, &running, order, cancel).await?;
    await_system(vm, &running, guest, order, cancel).await
}

/// Steps `image` and `kernel`: gets what is missing.
async fn prepare(vm: &mut Vm, order: &Order, cancel: &CancellationToken) -> Result<Parts, Failure> {
    vm.show(VmState::Preparing);
    let host = Arc::clone(&vm.host);
    let plan = vm.record.plan.clone();
    let walk = vm.walk.clone();
    let work = async {
        walk.enter(Step::Image).await;
        let stage = order.progress.stage(Stage::Image);
        let (base, wanted) = match &vm.record.base {
            Some(base) => (check_base(base)?, None),
            None => {
                let image = host.images.ensure(&plan.image, false, &order.progress).await;
                let image = image.map_err(Problem::from)?;
                let (digest, path, run) = (image.digest, image.path, image.run);
                (Base { digest, path, run, kernel: None }, image.kernel_ref)
            }
        };
        stage.finish();
        // An image without a program of its own is found out before anything is made for it.
        program::plan_service(&plan, &base.run).map_err(Problem::from)?;
        walk.enter(Step::Kernel).await;
        let stage = order.progress.stage(Stage::Kernel);
        // What an image wants that was not here when the VM was planned is known only now.
        let wanted = wanted.filter(|_| vm.record.spec.kernel.is_none());
        let name = wanted.unwrap_or_else(|| plan.kernel.clone());
        let kernel = match base.kernel.as_deref() {
            Some(directory) => host.kernels.reopen(directory).await,
            None => host.kernels.ensure(&name, false, &order.progress).await,
        };
        let kernel = kernel.map_err(Problem::from)?;
        let notice = kernel.check(host.hypervisor.features().machine).map_err(Problem::from)?;
        if let Some(notice) = notice {
            order.progress.notice(notice);
        }
        let initramfs = host.ensure_initramfs(&kernel).await?;
        stage.finish();
        let base = Base { kernel: Some(kernel.directory), ..base };
        let parts = Parts { kernel: kernel.vmlinux, initramfs, modules: kernel.loadable, base };
        Ok((parts, name))
    };
    let prepared = tokio::select! {
        prepared = work => prepared,
        () = cancel.cancelled() => Err(Failure::Cancelled),
    };
    let (parts, kernel) = prepared?;
    vm.record.plan.kernel = kernel;
    Ok(parts)
}

async fn finish_sync(syncing: Option<Syncing>) -> Result<(), Problem> {
    match syncing {
        Some(syncing) => syncing.finish().await,
        None => Ok(()),
    }
}

/// Step `disk`: the VM's own writable file system. No byte of the image is copied. A copy of another's is
/// returned as one that is still on its way to the host's disk.
async fn make_disk(
    vm: &mut Vm,
    order: &Order,
    origin: Option<&Origin>,
    parts: &Parts,
) -> Result<Option<Syncing>, Failure> {
    vm.record.base = Some(parts.base.clone());
    vm.intend(Intent::Disk, VmState::Preparing).await?;
    vm.walk.enter(Step::Disk).await;
    let stage = order.progress.stage(Stage::Disk);
    let (paths, id) = (vm.host.paths.clone(), vm.record.id().clone());
    let size = vm.record.plan.disk_size;
    if let Some(from) = origin {
        let syncing = snapshot::begin_disk(&from.snapshot, &paths, &id).await?;
        stage.finish();
        return Ok(Some(syncing));
    }
    let made = tokio::task::spawn_blocking(move || {
        files::ensure_state_dir(&paths, &id)
            .map_err(|error| Problem::from_error(Code::OperationFailed, &error))?;
        crate::disk::create_writable(&files::disk(&paths, &id), size).map_err(Problem::from)
    });
    made.await.map_err(|gone| Problem::from_error(Code::OperationFailed, &gone))??;
    stage.finish();
    Ok(None)
}

/// Steps `launch`, `hello` and `configure`: afterwards commands run.
async fn power_on(
    vm: &mut Vm,
    parts: &Parts,
    origin: Option<&Origin>,
    order: &Order,
    cancel: &CancellationToken,
) -> Result<(Arc<dyn RunningVm>, GuestView), Failure> {
    // Two VMMs must never write to one disk: an earlier one that could not be removed comes first.
    if vm.record.intents.contains(&Intent::Vmm) {
        vm.bring_down().await?;
    }
    publish(vm, order)?;
    let ssh = introduce(vm, order).await?;
    vm.record.plan.in_force = Some(InForce::of(&vm.record.plan));
    vm.intend(Intent::Vmm, VmState::Booting).await?;
    let card = plug_in(vm, order).await?;
    vm.walk.enter(Step::Launch).await;
    let stage = order.progress.stage(Stage::Boot);
    let deadline = Deadline::for_ready(vm);
    let (paths, id) = (&vm.host.paths, vm.record.id());
    let own = Own {
        disk: files::disk(paths, id),
        console_log: files::console_log(paths, id),
        card: card.as_ref(),
        saved: origin.map(Origin::saved),
    };
    let spec = render_vmm_spec(&vm.record.plan, parts, own)?;
    if let Some(origin) = origin {
        origin.check(&vm.host, &spec.disks, card.is_some())?;
    }
    let host = Arc::clone(&vm.host);
    let running = tokio::select! {
        launched = host.hypervisor.launch(&spec, &vm.walk) => launched.map_err(|error| {
            Problem::new(Code::OperationFailed, format!("cannot start VM `{}`", vm.name()))
                .because(&error)
                .hint(UNFIT_HINT)
        })?,
        () = cancel.cancelled() => return Err(Failure::Cancelled),
    };
    vm.vmm = Some(Arc::clone(&running));
    let guest = GuestClient::new(Arc::clone(&running));
    let watch = Watch { vm, running: &running, cancel };
    vm.walk.enter(Step::Greet).await;
    let hello = watch.over("greet", Some(&deadline), guest.hello()).await?;
    stage.finish();
    let stage = order.progress.stage(Stage::Configure);
    vm.walk.enter(Step::Configure).await;
    let network = card.map(|card| card.guest);
    let config =
        GuestConfig { ssh: Some(ssh), network, ..render_guest_config(&vm.record.plan, parts)? };
    let configured = match origin {
        None => watch.over("configure", Some(&deadline), guest.configure(&config)).await?,
        Some(_) => watch.over("renew", Some(&deadline), guest.renew(&config)).await?,
    };
    for warning in &configured.warnings {
        order.progress.notice(warning.clone());
    }
    if let Some(ServiceState::Failed { reason }) = &configured.service {
        order.progress.notice(format!("the image's program did not start: {reason}"));
    }
    stage.finish();
    let known = origin.and_then(|from| from.snapshot.manifest.memory.as_ref()?.guest.as_ref());
    let state = match configured.init {
        _ if let Some(known) = known => known.state,
        InitKind::Agent => InitState::Running,
        InitKind::Systemd => InitState::Starting,
    };
    let Configured { init, service, .. } = configured;
    Ok((running, GuestView { init, state, boot_id: hello.boot_id, service, agent_gone: false }))
}

/// Takes the ports of the host that lead to the VM: one that cannot be had is worth no boot.
fn publish(vm: &mut Vm, order: &Order) -> Result<(), Problem> {
    let asked = &vm.record.plan.publish;
    if !vm.keeps_ports {
        vm.published = Some(Published::open(asked, &vm.host.forwards)?);
    }
    render_exposures(asked).into_iter().for_each(|notice| order.progress.notice(notice));
    Ok(())
}

/// Step `network`: the VM's place on it. A VM that asks for nothing there runs without one where there
/// can be none.
async fn plug_in(vm: &mut Vm, order: &Order) -> Result<Option<Card>, Failure> {
    vm.walk.enter(Step::Network).await;
    let host = Arc::clone(&vm.host);
    let (plan, id) = (&vm.record.plan, vm.record.id());
    let place = host.network.attach(id, &plan.name, plan.lease, &plan.wishes()).await;
    let place = place.map_err(Problem::from)?;
    vm.record.plan.lease = Some(place.lease);
    let card = match place.card {
        Ok(card) => Some(card),
        Err(error) => {
            let problem = Problem::from(error);
            let why = std::iter::once(problem.message).chain(problem.causes);
            let why = why.collect::<Vec<_>>().join(": ");
            tracing::warn!(vm = %vm.name(), why, "VM without a network");
            order.progress.notice(format!("the VM has no network: {why}"));
            None
        }
    };
    if let Some(in_force) = &mut vm.record.plan.in_force {
        in_force.address = card.as_ref().map(|card| card.guest.address);
    }
    // Recorded before there is a guest: who finds the VM knows its address.
    vm.intend(Intent::Vmm, VmState::Booting).await?;
    Ok(card)
}

/// Makes sure that the VM and this user have keys for SSH, and that the VM's is known before it
/// first runs.
async fn introduce(vm: &Vm, order: &Order) -> Result<SshKeys, Problem> {
    let (ssh, id, name) = (vm.host.ssh.clone(), vm.record.id().clone(), vm.name().clone());
    let made = tokio::task::spawn_blocking(move || ssh.introduce(&id, &name)).await;
    let made = made.map_err(|gone| Problem::from_error(Code::OperationFailed, &gone))?;
    let (keys, notice) = made.map_err(Problem::from)?;
    if let Some(notice) = notice {
        order.progress.notice(notice);
    }
    Ok(keys)
}

/// Step `file-sync`: the host's files that every VM gets, if there are any.
async fn sync_files(
    vm: &mut Vm,
    running: &Arc<dyn RunningVm>,
    order: &Order,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    if vm.host.config.file_sync.is_empty() {
        return Ok(());
    }
    vm.walk.enter(Step::FileSync).await;
    let host = Arc::clone(&vm.host);
    let guest = GuestClient::new(Arc::clone(running));
    let work = file_sync::sync_files(&host, &guest, &order.progress);
    Watch { vm, running, cancel }.over("copy files into", None, work).await
}

/// Step `workspace`: the repository that was asked for, if one was.
async fn bring_workspace(
    vm: &mut Vm,
    running: &Arc<dyn RunningVm>,
    order: &Order,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let Some(source) = vm.record.plan.workspace.clone() else { return Ok(()) };
    vm.walk.enter(Step::Workspace).await;
    let stage = order.progress.stage(Stage::Workspace);
    let host = Arc::clone(&vm.host);
    let guest = GuestClient::new(Arc::clone(running));
    let watch = Watch { vm, running, cancel };
    let record = files::workspace(&host.paths, vm.record.id());
    let work = bring_in::bring_in(&host, &record, &source, &guest, &order.progress);
    let workspace = watch.over("bring the workspace into", None, work).await?;
    vm.record.workspace = Some(workspace);
    stage.finish();
    Ok(())
}

/// Step `system`: the image's own init has finished, if the request waits for that.
async fn await_system(
    vm: &Vm,
    running: &Arc<dyn RunningVm>,
    guest_view: GuestView,
    order: &Order,
    cancel: &CancellationToken,
) -> Result<GuestView, Failure> {
    if order.wait != WaitFor::System {
        return Ok(guest_view);
    }
    vm.walk.enter(Step::System).await;
    let stage = order.progress.stage(Stage::System);
    let deadline = Deadline::for_ready(vm);
    let guest = GuestClient::new(Arc::clone(running));
    let work = async {
        let mut health = guest.watch().await?;
        while let Some(health) = health.next().await? {
            if health.state == InitState::Running {
                return Ok(());
            }
        }
        Err(GuestError::Protocol("watch"))
    };
    Watch { vm, running, cancel }.over("follow", Some(&deadline), work).await?;
    stage.finish();
    Ok(GuestView { state: InitState::Running, ..guest_view })
}
