//! What became of a VM's workspace, and its way home.

use banger_proto::api::{
    Applied, Branched, Event, Exported, PatchForm, WorkspaceSide, WorkspaceStatus,
};
use banger_proto::{Code, Problem, VmName};
use tokio::io::AsyncReadExt;
use tokio::sync::OwnedRwLockReadGuard;
use tokio_util::sync::CancellationToken;

use super::{Engine, OutPiece, START_DEADLINE, stopping};
use crate::exec::Piped;
use crate::guest::GuestClient;
use crate::vm::files;
use crate::vm::state::VmRecord;
use crate::vm::uses::Use;
use crate::workspace::GUEST_PATH;
use crate::workspace::home::{Gone, GuestTree, HomeError, ensure_settled, load_gone};

/// Bytes that are passed on at once.
const CHUNK: usize = 64 << 10;
/// Bytes that a guest's changes may have beyond the size of its disk: what the image held already
/// and was put in the workspace by a link or a copy.
const MORE_THAN_DISK: u64 = 1 << 30;

/// Most bytes that a VM's changed files may have.
pub(super) fn limit(record: &VmRecord) -> u64 {
    record.plan.disk_size.bytes().saturating_add(MORE_THAN_DISK)
}

/// While it is held, the VM runs for somebody and its workspace stays the same one.
#[derive(Debug)]
struct Held {
    _in_use: Use,
    _turn: OwnedRwLockReadGuard<()>,
}

/// A patch on its way to a client. Dropping it ends it.
#[derive(Debug)]
pub struct Patch {
    /// None once it has ended.
    git: Option<Piped>,
    tree: GuestTree,
    sent: u64,
    end: CancellationToken,
    _held: Held,
}

impl Patch {
    /// What comes next; none after the end.
    pub async fn next(&mut self) -> Option<OutPiece> {
        let git = self.git.as_mut()?;
        let mut chunk = Vec::with_capacity(CHUNK);
        let failed = |error| HomeError::Git(error).problem("");
        let read = tokio::select! {
            read = git.read_buf(&mut chunk) => read,
            () = self.end.cancelled() => {
                self.git = None;
                return Some(OutPiece::End(Event::Failed { problem: stopping() }));
            }
        };
        if let Ok(count @ 1..) = read {
            self.sent += count as u64;
            return Some(OutPiece::Bytes(chunk));
        }
        let problem = match (read, self.git.take()?.finish().await) {
            (_, Err(error)) => failed(error),
            (Err(error), _) => {
                Problem::new(Code::OperationFailed, "cannot read the patch").because(&error)
            }
            (Ok(_), Ok(())) => {
                let notes = std::mem::take(&mut self.tree.notes);
                let exported = Exported { bytes: self.sent, notes };
                return Some(OutPiece::End(Event::Exported { exported }));
            }
        };
        Some(OutPiece::End(Event::Failed { problem }))
    }
}

/// A workspace that is looked at, and its guest.
struct Looked {
    gone: Gone,
    guest: GuestClient,
    vm: VmName,
    limit: u64,
    held: Held,
}

impl Engine {
    /// How a VM's workspace is on both sides.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM does not run or has no workspace.
    pub async fn workspace_status(&self, reference: &str) -> Result<WorkspaceStatus, Problem> {
        let Looked { gone, guest, vm, held: _held, .. } = self.look(reference).await?;
        let explain = |error: HomeError| error.problem(vm.as_str());
        let looking = async { tokio::join!(gone.observe_host(), gone.count(&guest)) };
        let looked = self.inner.stopping.run_until_cancelled(looking).await;
        let (host, surveyed) = looked.ok_or_else(stopping)?;
        let ((head, dirty), (changed, surveyed)) =
            (host.map_err(explain)?, surveyed.map_err(explain)?);
        let short = |name: &str| name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
        Ok(WorkspaceStatus {
            base: gone.record.base.commit.clone(),
            host: WorkspaceSide {
                path: gone.git.top_level.display().to_string(),
                branch: head.branch(),
                head: head.commit,
                changed: dirty,
            },
            guest: WorkspaceSide {
                path: GUEST_PATH.to_owned(),
                head: surveyed.commit,
                branch: surveyed.reference.as_deref().map(short),
                changed,
            },
            notes: surveyed.notes,
        })
    }

    /// Everything in a VM's workspace since the commit that was brought in.
    ///
    /// # Errors
    /// As [`workspace_status`](Self::workspace_status), and when what the guest says makes no tree.
    pub async fn export(&self, reference: &str, form: PatchForm) -> Result<Patch, Problem> {
        let (tree, _, vm, held) = self.bring_home(self.look(reference).await?).await?;
        let options: &[&str] = match form {
            PatchForm::Patch => &["--patch", "--binary", "--full-index", "--find-renames"],
            PatchForm::Stat => &["--stat", "--find-renames"],
            PatchForm::Names => &["--name-only", "--no-renames"],
        };
        let explain = |error: HomeError| error.problem(vm.as_str());
        let program = tree.diff(options).await.map_err(explain)?;
        let git = program.spawn_piped().map_err(HomeError::Git).map_err(explain)?;
        let end = self.inner.stopping.clone();
        Ok(Patch { git: Some(git), tree, sent: 0, end, _held: held })
    }

    /// Makes the changes in a VM's workspace to the files of the repository on the host.
    ///
    /// # Errors
    /// As [`export`](Self::export), and when one of them meets a change of the host's; then nothing
    /// was changed.
    pub async fn apply_workspace(&self, reference: &str) -> Result<Applied, Problem> {
        let (tree, _, vm, _held) = self.bring_home(self.look(reference).await?).await?;
        let path = tree.gone.git.top_level.display().to_string();
        let (files, notes) = tree.apply().await.map_err(|error| error.problem(vm.as_str()))?;
        Ok(Applied { path, files, notes })
    }

    /// Makes the branch `name` of the commits in a VM's workspace.
    ///
    /// # Errors
    /// As [`export`](Self::export), and when the branch is there or there are no commits.
    pub async fn bring_branch(&self, reference: &str, name: &str) -> Result<Branched, Problem> {
        let looked = self.look(reference).await?;
        let explain = |error: HomeError, vm: &VmName| error.problem(vm.as_str());
        let checked = looked.gone.require_new_branch(name).await;
        checked.map_err(|error| explain(error, &looked.vm))?;
        let limit = looked.limit;
        let (tree, guest, vm, _held) = self.bring_home(looked).await?;
        let path = tree.gone.git.top_level.display().to_string();
        let bringing = tree.bring_branch(&guest, name, limit);
        let brought = self.inner.stopping.run_until_cancelled(bringing).await;
        let (commit, notes) = brought.ok_or_else(stopping)?.map_err(|error| explain(error, &vm))?;
        Ok(Branched { path, branch: name.to_owned(), commit, notes })
    }

    /// Until the daemon stops: a guest that goes on for ever holds nobody up.
    async fn bring_home(
        &self,
        looked: Looked,
    ) -> Result<(GuestTree, GuestClient, VmName, Held), Problem> {
        let Looked { gone, guest, vm, limit, held } = looked;
        let bringing = gone.bring_home(&guest, limit);
        let tree = self.inner.stopping.run_until_cancelled(bringing).await;
        let tree = tree.ok_or_else(stopping)?.map_err(|error| error.problem(vm.as_str()))?;
        Ok((tree, guest, vm, held))
    }

    async fn look(&self, reference: &str) -> Result<Looked, Problem> {
        let handle = self.inner.registry.find(reference)?;
        let (record, vmm, in_use) = self.use_awake(reference).await?;
        let held = Held { _in_use: in_use, _turn: handle.workspace.clone().read_owned().await };
        let shelf = files::workspace(&self.inner.host.paths, record.id());
        let vm = record.plan.name.clone();
        let guest = GuestClient::new(vmm).within(START_DEADLINE);
        let load = async {
            ensure_settled(&shelf, &guest, vm.as_str()).await?;
            load_gone(&self.inner.host.env, shelf.clone(), vm.as_str()).await
        };
        let gone = load.await.map_err(|error| error.problem(vm.as_str()))?;
        let limit = limit(&record);
        Ok(Looked { gone, guest, vm, limit, held })
    }
}
