//! Bringing a repository into a VM that runs, in the place of the one that is there.
//!
//! It does not pass through the VM's driver: a VM is stopped, changed or deleted meanwhile as ever,
//! and the transfer then ends with its guest. Only what became of it is the driver's to record.

use banger_proto::api::{Event, PrepareWorkspace, Stage, VmWorkspace, WorkspaceSource};
use banger_proto::{Code, Problem, VmName};
use tracing::Instrument;

use super::workspace::limit;
use super::{Engine, START_DEADLINE, Work};
use crate::guest::GuestClient;
use crate::vm::bring_in::{Target, bring_in_again};
use crate::vm::desk::Ask;
use crate::vm::files;

impl Engine {
    /// Brings a repository into a VM. The last event is `workspace_ready` or `failed`. Until the
    /// whole of it is in the guest, dropping the work leaves what is there as it is.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM does not run, or no repository is known.
    pub async fn prepare(&self, reference: &str, asked: PrepareWorkspace) -> Result<Work, Problem> {
        let handle = self.inner.registry.find(reference)?;
        let (record, vmm, in_use) = self.use_awake(reference).await?;
        let (name, id) = (record.plan.name.clone(), record.plan.id.clone());
        let target = Target {
            vm: name.clone(),
            shelf: files::workspace(&self.inner.host.paths, record.id()),
            guest: GuestClient::new(vmm).within(START_DEADLINE),
            limit: limit(&record),
            force: asked.force,
        };
        let source = plan_source(asked, record.workspace.as_ref(), &name)?;
        let engine = self.clone();
        Ok(self.obtain(|progress| async move {
            // One after the other, and not while somebody reads what would be replaced.
            let turn = handle.workspace.clone().write_owned().await;
            let stage = progress.stage(Stage::Workspace);
            let sent = bring_in_again(&engine.inner.host, &target, &source, &progress).await;
            let sent = sent.map_err(|error| error.problem(&name))?;
            // From here on the guest goes on by itself, and what comes of it is recorded, also when
            // nobody waits any more.
            let (told, vm, recorder) = (progress.clone(), name.clone(), engine.clone());
            let settle = async move {
                let _held = (in_use, turn);
                let settled = sent.settle(&told).await.map_err(|error| error.problem(&vm))?;
                tracing::info!(%vm, commit = ?settled.head, "workspace prepared");
                let workspace = Box::new(settled);
                let note = |reply| Ask::NoteWorkspace { workspace, reply };
                recorder.ask_and_wait(id.as_str(), note).await
            };
            let settled = engine.inner.drivers.spawn(settle.in_current_span()).await;
            let vm =
                settled.map_err(|gone| Problem::from_error(Code::OperationFailed, &gone))??;
            stage.finish();
            Ok(Event::WorkspaceReady { vm: Box::new(vm) })
        }))
    }
}

/// Which repository, and how much of it.
fn plan_source(
    asked: PrepareWorkspace,
    present: Option<&VmWorkspace>,
    vm: &VmName,
) -> Result<WorkspaceSource, Problem> {
    let PrepareWorkspace { path, mode, branch, include_untracked, force: _ } = asked;
    let again = present.filter(|present| path.as_ref().is_none_or(|p| *p == present.host_path));
    let mode = mode.or(again.map(|present| present.mode)).unwrap_or_default();
    let path = path.or_else(|| Some(present?.host_path.clone())).ok_or_else(|| {
        let message = format!("VM `{vm}` has no workspace, so its repository has to be named");
        Problem::new(Code::BadRequest, message)
            .hint(format!("banger vm workspace prepare {vm} PATH"))
    })?;
    if !path.starts_with('/') {
        let message = format!("workspace path `{path}` is not absolute");
        return Err(Problem::new(Code::BadRequest, message));
    }
    Ok(WorkspaceSource { path, include_untracked, mode, branch })
}

#[cfg(test)]
mod tests {
    use banger_proto::api::WorkspaceMode;

    use super::*;

    #[test]
    fn what_is_not_said_is_as_it_was() {
        let vm: VmName = "web".parse().unwrap();
        let present = VmWorkspace {
            host_path: "/repo".into(),
            mode: WorkspaceMode::Full,
            ..VmWorkspace::default()
        };
        let plan = |path: Option<&str>, present: Option<&VmWorkspace>| {
            let path = path.map(str::to_owned);
            let asked = PrepareWorkspace { path, ..PrepareWorkspace::default() };
            plan_source(asked, present, &vm).map(|source| (source.path, source.mode))
        };
        let is = |path: &str, mode| Ok((path.to_owned(), mode));
        assert_eq!(plan(None, Some(&present)), is("/repo", WorkspaceMode::Full));
        assert_eq!(plan(Some("/repo"), Some(&present)), is("/repo", WorkspaceMode::Full));
        assert_eq!(plan(Some("/b"), Some(&present)), is("/b", WorkspaceMode::Shallow));
        assert_eq!(plan(None, None).unwrap_err().hints, ["banger vm workspace prepare web PATH"]);
        assert_eq!(plan(Some("b"), None).unwrap_err().code, Code::BadRequest);
    }
}
