//! Snapshots of VMs: taking them, going back to them, listing and removing them.

use std::io::ErrorKind;
use std::sync::Arc;

use banger_proto::api::{RestoreSnapshot, SnapshotList, SnapshotView, TakeSnapshot};
use banger_proto::{Code, Problem, SnapshotName, VmName};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::{Engine, Work, stopping};
use crate::snapshot::{Held, Manifest, Origin, Shelf, Snapshot, compact, failed, not_there, prove};
use crate::step::{Operation, Step};
use crate::vm::desk::{Ask, VmHandle};
use crate::vm::state::VmRecord;

/// What was written of a VM, in a directory that goes with it.
pub(super) struct Taken {
    /// The files.
    pub(super) directory: TempDir,
    /// What they are of.
    pub(super) manifest: Manifest,
    /// How it was written.
    pub(super) held: Held,
}

impl Engine {
    /// Takes a snapshot of a VM. Goes on if the caller goes away.
    ///
    /// # Errors
    /// When `reference` means none or several, there is one of that name, or it cannot be written or
    /// used. Nothing is left of it then, and the VM is as it was.
    pub async fn take_snapshot(
        &self,
        reference: &str,
        asked: TakeSnapshot,
    ) -> Result<SnapshotView, Problem> {
        let handle = self.inner.registry.find(reference)?;
        let name = match asked.name {
            Some(name) => name,
            None => name_by_time()?,
        };
        let engine = self.clone();
        self.see_through(async move {
            let (id, vm_name) = identity(&handle);
            let shelf = Shelf::of(&engine.inner.host.paths, &id);
            if find(&shelf, &name)?.is_some() {
                return Err(name_taken(&name, &vm_name));
            }
            let Taken { directory, manifest, .. } = engine.take(&handle, name.clone()).await?;
            prove(&engine.inner.host, &manifest, directory.path()).await?;
            let walk = engine.inner.host.followers.walk(&vm_name, Operation::Snapshot);
            walk.enter(Step::KeepSnapshot).await;
            let kept_of = vm_name.clone();
            let kept = tokio::task::spawn_blocking(move || {
                shelf.keep(directory, &manifest.name)?.view(&id, &vm_name)
            });
            let what = format!("cannot keep snapshot `{name}`");
            let view = kept.await.map_err(|gone| failed(&what, &gone))?;
            let view = view.map_err(|error| match error.kind() {
                // Somebody else was faster.
                ErrorKind::AlreadyExists => name_taken(&name, &kept_of),
                _ => failed(&what, &error),
            })?;
            walk.enter(Step::Answer).await;
            tracing::info!(vm = %view.vm_name, snapshot = %view.name, size = %view.size, "snapshot taken");
            Ok(view)
        })
        .await
    }

    /// Takes a VM back to a snapshot: it has the disk of then, and runs if it did then. The last event is
    /// `vm_ready`, `restored` or `failed`. Goes on if the caller goes away.
    ///
    /// # Errors
    /// When `reference` means none or several, or there is no such snapshot.
    pub async fn restore_snapshot(
        &self,
        reference: &str,
        name: &SnapshotName,
        asked: RestoreSnapshot,
    ) -> Result<Work, Problem> {
        let handle = self.inner.registry.find(reference)?;
        let (id, vm_name) = identity(&handle);
        let shelf = Shelf::of(&self.inner.host.paths, &id);
        let snapshot = find(&shelf, name)?.ok_or_else(|| not_there(name, &vm_name))?;
        let (mut order, work) = self.order_for_good(banger_proto::api::WaitFor::Agent);
        let snapshot = Arc::new(snapshot);
        let runs = snapshot.manifest.memory.is_some() && !asked.disk_only;
        order.from = runs.then(|| Origin { snapshot: Arc::clone(&snapshot), whole: true });
        handle.ask(Ask::Restore { snapshot, order }).await;
        Ok(work)
    }

    /// The snapshots of one VM, or of all.
    ///
    /// # Errors
    /// When `reference` means none or several, or they cannot be listed.
    pub async fn list_snapshots(&self, reference: Option<&str>) -> Result<SnapshotList, Problem> {
        let handles = match reference {
            Some(reference) => vec![self.inner.registry.find(reference)?],
            None => self.inner.registry.handles(),
        };
        let paths = self.inner.host.paths.clone();
        let vms: Vec<_> = handles.iter().map(identity).collect();
        let listed = tokio::task::spawn_blocking(move || {
            let mut snapshots = Vec::new();
            for (id, name) in vms {
                for snapshot in Shelf::of(&paths, &id).list()? {
                    match snapshot.view(&id, &name) {
                        Ok(view) => snapshots.push(view),
                        // Somebody has removed it since.
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok::<_, std::io::Error>(SnapshotList { snapshots })
        });
        const WHAT: &str = "cannot list the snapshots";
        listed.await.map_err(|gone| failed(WHAT, &gone))?.map_err(|error| failed(WHAT, &error))
    }

    /// Removes a snapshot, and returns it as it was.
    ///
    /// # Errors
    /// When `reference` means none or several, there is no such snapshot, its VM is being taken back to it,
    /// or it cannot be removed.
    pub async fn delete_snapshot(
        &self,
        reference: &str,
        name: SnapshotName,
    ) -> Result<SnapshotView, Problem> {
        let handle = self.inner.registry.find(reference)?;
        let (id, vm_name) = identity(&handle);
        if handle.shown.borrow().record.plan.restoring.as_ref() == Some(&name) {
            let message = format!("VM `{vm_name}` is being taken back to snapshot `{name}`");
            return Err(Problem::new(Code::Conflict, message));
        }
        let shelf = Shelf::of(&self.inner.host.paths, &id);
        let what = format!("cannot remove snapshot `{name}`");
        let removed = tokio::task::spawn_blocking(move || {
            let Some(snapshot) = find(&shelf, &name)? else {
                return Err(not_there(&name, &vm_name));
            };
            let view = snapshot.view(&id, &vm_name);
            let view = view.map_err(|error| failed("cannot look at the snapshot", &error))?;
            shelf.remove(&name).map_err(|error| failed("cannot remove the snapshot", &error))?;
            Ok(view)
        });
        let removed = removed.await.map_err(|gone| failed(&what, &gone))?;
        self.collect_unused_later();
        removed
    }

    /// Writes a VM's disk, and its guest's memory if it runs. Whether a guest goes on from them is not tried.
    pub(super) async fn take(
        &self,
        handle: &VmHandle,
        name: SnapshotName,
    ) -> Result<Taken, Problem> {
        const WHAT: &str = "cannot make a place for the snapshot";
        let (id, _) = identity(handle);
        let directory = Shelf::of(&self.inner.host.paths, &id).begin();
        let directory = directory.map_err(|error| failed(WHAT, &error))?;
        let (reply, answer) = oneshot::channel();
        handle.ask(Ask::Hold { into: directory.path().to_owned(), reply }).await;
        let (mut held, record) = answer.await.unwrap_or_else(|_| Err(stopping()))?;
        let manifest = describe(name, &record, &mut held)?;
        // Before anybody begins from it: what it is over stays meanwhile, whatever becomes of the VM.
        manifest.save(directory.path()).map_err(|error| failed(WHAT, &error))?;
        compact(directory.path()).await?;
        Ok(Taken { directory, manifest, held })
    }

    /// Does `work` to its end, whoever waits for it; the daemon's end waits for it, too.
    pub(super) async fn see_through<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let done = self.inner.drivers.spawn(work.in_current_span());
        done.await.map_err(|gone| Problem::from_error(Code::OperationFailed, &gone))?
    }
}

fn describe(name: SnapshotName, record: &VmRecord, held: &mut Held) -> Result<Manifest, Problem> {
    Manifest::of(name, record, held.memory.take()).ok_or_else(|| {
        let message = format!("VM `{}` has no image yet", record.plan.name);
        Problem::new(Code::Conflict, message)
    })
}

fn identity(handle: &VmHandle) -> (banger_proto::VmId, VmName) {
    let shown = handle.shown.borrow();
    (shown.record.id().clone(), shown.record.plan.name.clone())
}

fn find(shelf: &Shelf, name: &SnapshotName) -> Result<Option<Snapshot>, Problem> {
    shelf.find(name).map_err(|error| failed(&format!("cannot read snapshot `{name}`"), &error))
}

/// A name that tells when it was taken.
pub(super) fn name_by_time() -> Result<SnapshotName, Problem> {
    let text = Timestamp::now().strftime("%Y-%m-%d-%H%M%S").to_string();
    text.parse().map_err(|error| Problem::from_error(Code::OperationFailed, &error))
}

fn name_taken(name: &SnapshotName, vm: &VmName) -> Problem {
    Problem::new(Code::AlreadyExists, format!("VM `{vm}` has a snapshot `{name}` already"))
        .hint(format!("banger snapshot delete {vm} {name}"))
}
