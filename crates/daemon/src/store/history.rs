//! The table `history`: what became of each VM.

use banger_proto::VmId;
use banger_proto::api::VmChange;
use rusqlite::{Connection, params};

use super::vms::{parse_json, render_json};
use super::{Store, StoreError};

/// Changes that are kept of one VM: some thirty starts and stops, in about 20 KiB.
const KEPT: i64 = 100;

/// Adds changes to a VM's history, within the caller's transaction, and forgets the oldest ones.
pub(super) fn append(
    connection: &Connection,
    vm: &str,
    changes: &[VmChange],
    failed: &impl Fn(rusqlite::Error) -> StoreError,
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let last = connection
        .prepare_cached("SELECT COALESCE(MAX(number), 0) FROM history WHERE vm = ?1")
        .and_then(|mut last| last.query_row(params![vm], |row| row.get::<_, i64>(0)))
        .map_err(failed)?;
    let mut number = last;
    for change in changes {
        number += 1;
        let change = render_json(vm, "change", change)?;
        connection
            .prepare_cached("INSERT INTO history (vm, number, change) VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| insert.execute(params![vm, number, change]))
            .map_err(failed)?;
    }
    connection
        .prepare_cached("DELETE FROM history WHERE vm = ?1 AND number <= ?2")
        .and_then(|mut delete| delete.execute(params![vm, number - KEPT]))
        .map(drop)
        .map_err(failed)
}

impl Store {
    /// What became of a VM, oldest first: its last hundred changes.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be read.
    pub async fn load_history(&self, vm: VmId) -> Result<Vec<VmChange>, StoreError> {
        let failed = self.failed("read a VM's history");
        self.run(move |connection| {
            let rows: Vec<String> = connection
                .prepare_cached("SELECT change FROM history WHERE vm = ?1 ORDER BY number")
                .and_then(|mut select| {
                    select.query_map(params![vm.as_str()], |row| row.get(0))?.collect()
                })
                .map_err(failed)?;
            let parsed = rows.iter().map(|row| parse_json(vm.as_str(), "change", Some(row)));
            Ok(parsed.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::api::ChangeCause;

    use super::*;
    use crate::vm::state::tests::record;
    use crate::vm::state::{Cause, VmState};

    #[tokio::test]
    async fn the_last_changes_of_each_vm_are_kept_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("banger.db")).unwrap();
        let (mut web, mut api) = (record("web"), record("api"));
        for vm in [&mut web, &mut api] {
            vm.note_change(&Cause::noticed(ChangeCause::Create));
            store.insert_vm(vm.clone()).await.unwrap();
            vm.changes.clear();
        }
        web.state = VmState::Running { guest: None };
        for _ in 0..KEPT {
            web.note_change(&Cause::begin(ChangeCause::Start, None));
            store.update_vm(web.clone()).await.unwrap();
            web.changes.clear();
        }
        web.state = VmState::Stopping;
        web.note_change(&Cause::begin(ChangeCause::Stop, None));
        web.note_change(&Cause::begin(ChangeCause::Kill, None));
        let noted = web.changes.clone();
        store.update_vm(web.clone()).await.unwrap();

        let history = store.load_history(web.id().clone()).await.unwrap();
        assert_eq!(history.len(), usize::try_from(KEPT).unwrap());
        // The creation and what came after it have made room for the newest.
        assert_eq!(history[0].cause, ChangeCause::Start);
        assert_eq!(history[history.len() - 2..], noted);
        let other = store.load_history(api.id().clone()).await.unwrap();
        assert_eq!(
            other.iter().map(|change| change.cause).collect::<Vec<_>>(),
            [ChangeCause::Create]
        );

        store.remove_vm(web.id().clone()).await.unwrap();
        assert_eq!(store.load_history(web.id().clone()).await.unwrap(), []);
        // What is recorded of a VM that is gone does not come back.
        store.update_vm(web.clone()).await.unwrap();
        assert_eq!(store.load_history(web.id().clone()).await.unwrap(), []);
    }
}
