//! VMs that begin as copies of one that runs.

use std::sync::Arc;

use banger_proto::api::{
    ChangeCause, CreateVm, Event, FORK_INDEX, ForkVm, Forked, MAX_FORKS, VmView, WaitFor,
};
use banger_proto::{Code, Problem, VmName};
use futures_util::future::join_all;
use jiff::Timestamp;

use super::snapshots::{Taken, name_by_time};
use super::{Engine, Inner, Work, gather_entropy};
use crate::snapshot::{Manifest, Origin, Snapshot};
use crate::step::{Operation, Step};
use crate::vm::plan::{PlanError, plan_copy};
use crate::vm::state::{Cause, VmRecord, VmState};

impl Engine {
    /// Makes copies of a VM that runs: each goes on where that is, as another. Those that run are there even
    /// when others fail. Goes on if the caller goes away.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM does not run, a name is taken, or one of the copies
    /// does not come up; the first of these problems, which tells of the others.
    pub async fn fork(&self, reference: &str, asked: ForkVm) -> Result<Forked, Problem> {
        let handle = self.inner.registry.find(reference)?;
        if !(1..=MAX_FORKS).contains(&asked.count) {
            let message = format!("`{}` copies of a VM cannot be made at once", asked.count);
            return Err(
                Problem::new(Code::BadRequest, message).hint(format!("1 to {MAX_FORKS} can"))
            );
        }
        let record = handle.shown.borrow().record.clone();
        if !matches!(record.state, VmState::Running { .. } | VmState::Paused { .. }) {
            let message = format!(
                "VM `{}` does not run: it is {}",
                record.plan.name,
                record.state.name().as_str()
            );
            return Err(Problem::new(Code::Conflict, message)
                .hint(format!("banger vm start {}", record.plan.name)));
        }
        let engine = self.clone();
        self.see_through(async move {
            // Before the VM stands still for it.
            engine.name_copies(&record.plan.name, &asked)?;
            // Not tried before: the copies are the trial, and one that does not come up is undone.
            let Taken { directory, manifest, held } = engine.take(&handle, name_by_time()?).await?;
            let snapshot = Snapshot { directory: directory.path().to_owned(), manifest };
            let made = engine.make_copies(&Arc::new(snapshot), &asked).await;
            // What the copies have of its memory stays with them.
            let removed = tokio::task::spawn_blocking(move || directory.close());
            match removed.await.map_err(std::io::Error::other).and_then(|removed| removed) {
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "what a VM was copied from stays"),
            }
            let held_ms = u64::try_from(held.time.as_millis()).unwrap_or(u64::MAX);
            made.map(|vms| Forked { vms, held_ms })
        })
        .await
    }

    async fn make_copies(
        &self,
        snapshot: &Arc<Snapshot>,
        asked: &ForkVm,
    ) -> Result<Vec<VmView>, Problem> {
        let mut begun = Vec::new();
        let mut problem: Option<Problem> = None;
        {
            let _naming = self.inner.naming.lock().await;
            let names = self.name_copies(&snapshot.manifest.plan.name, asked)?;
            for (index, name) in (1..).zip(names) {
                let origin = Origin { snapshot: Arc::clone(snapshot), whole: true };
                match self.begin_copy(origin, name, index).await {
                    Ok(work) => begun.push(work),
                    // Those that were begun come up from the same files: they are waited for.
                    Err(error) => {
                        problem = Some(error);
                        break;
                    }
                }
            }
        }
        let ended = join_all(begun.into_iter().map(last_event)).await;
        let mut vms = Vec::new();
        for event in ended {
            match event {
                Some(Event::VmReady { vm, .. }) => vms.push(*vm),
                Some(Event::Failed { problem: another }) => match &mut problem {
                    Some(first) => first.causes.push(format!("also: {}", another.message)),
                    None => problem = Some(another),
                },
                _ => problem = problem.or(Some(super::stopping())),
            }
        }
        let Some(problem) = problem else { return Ok(vms) };
        let names: Vec<_> = vms.iter().map(|vm| vm.name.to_string()).collect();
        Err(if names.is_empty() {
            problem
        } else {
            problem.hint(format!("these copies run: {}", names.join(", ")))
        })
    }

    /// The names of the copies: those that were asked for, then the VM's with the first numbers that are
    /// free.
    fn name_copies(&self, parent: &VmName, asked: &ForkVm) -> Result<Vec<VmName>, Problem> {
        let taken = self.names();
        let mut names: Vec<VmName> = Vec::new();
        if asked.names.len() > asked.count as usize {
            let message = format!(
                "`{}` names are more than `{}` copies need",
                asked.names.len(),
                asked.count
            );
            return Err(Problem::new(Code::BadRequest, message));
        }
        for name in &asked.names {
            if taken.contains(name.as_str()) || names.contains(name) {
                return Err(PlanError::NameTaken(name.clone()).into());
            }
            names.push(name.clone().for_new_vm().map_err(PlanError::from)?);
        }
        let mut number = 1_u32;
        while names.len() < asked.count as usize {
            let name: VmName = number_name(parent, number)
                .parse()
                .map_err(|error| Problem::from_error(Code::OperationFailed, &error))?;
            if !taken.contains(name.as_str()) && !names.contains(&name) {
                names.push(name);
            }
            number += 1;
        }
        Ok(names)
    }

    /// Records a copy and has it come up.
    async fn begin_copy(&self, origin: Origin, name: VmName, index: u32) -> Result<Work, Problem> {
        let Inner { host, store, drivers, .. } = &*self.inner;
        let Manifest { plan, base, workspace, .. } = &origin.snapshot.manifest;
        let mut plan = plan_copy(plan, name.clone(), gather_entropy()?);
        plan.env.insert(FORK_INDEX.to_owned(), index.to_string());
        let (mut order, work) = self.order_for_good(WaitFor::Agent);
        let mut record = VmRecord {
            spec: CreateVm { name: Some(name), ..CreateVm::default() },
            plan,
            base: Some(base.clone()),
            state: VmState::Created,
            workspace: workspace.clone(),
            ephemeral: false,
            intents: Vec::new(),
            created_at: Timestamp::now(),
            started_at: None,
            changes: Vec::new(),
        };
        record.note_change(&Cause::begin(ChangeCause::Create, order.op.clone()));
        host.followers.walk(&record.plan.name, Operation::Create).enter(Step::Record).await;
        store.insert_vm(record.clone()).await?;
        record.changes.clear();
        let driver = self.register(record, None);
        order.from = Some(origin);
        let engine = self.clone();
        drivers.spawn(async move {
            driver.create_and_run(order).await;
            engine.collect_unused_later();
        });
        Ok(work)
    }
}

/// The name of a copy: the VM's, cut if need be, and a number.
fn number_name(parent: &VmName, number: u32) -> String {
    let suffix = format!("-{number}");
    let room = banger_proto::name::MAX_NAME_LEN - suffix.len();
    let parent = &parent.as_str()[..parent.as_str().len().min(room)];
    format!("{}{suffix}", parent.trim_end_matches('-'))
}

async fn last_event(mut work: Work) -> Option<Event> {
    let mut last = None;
    while let Some(event) = work.next().await {
        last = Some(event);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_named_after_the_vm() {
        let name = |text: &str, number| number_name(&text.parse().unwrap(), number);
        assert_eq!(name("web", 1), "web-1");
        let long = format!("{}-b", "a".repeat(61));
        assert_eq!(name(&long, 12), format!("{}-12", "a".repeat(60)));
        let edge = format!("{}-{}", "a".repeat(60), "bb");
        assert_eq!(name(&edge, 1), format!("{}-1", "a".repeat(60)));
    }
}
