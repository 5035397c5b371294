//! The tables `vms` and `intents`.

use std::str::FromStr;

use banger_proto::api::StateName;
use banger_proto::{Period, VmId};
use jiff::Timestamp;
use rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, history};
use crate::vm::state::{Intent, VmRecord, VmState};

impl Store {
    /// Records a new VM and so reserves its name.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], or when the database fails.
    pub async fn insert_vm(&self, record: VmRecord) -> Result<(), StoreError> {
        let failed = self.failed("record a VM");
        self.run(move |connection| {
            let row = VmRow::render(&record)?;
            let transaction = connection.transaction().map_err(&failed)?;
            let inserted = transaction.execute(
                "INSERT INTO vms (id, name, spec, plan, base, state, ended, problem, workspace,
                                  ephemeral, created_at, started_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                params![
                    row.id,
                    record.plan.name.as_str(),
                    row.spec,
                    row.plan,
                    row.base,
                    row.state,
                    row.ended,
                    row.problem,
                    row.workspace,
                    row.ephemeral,
                    row.created_at,
                    row.started_at,
                ],
            );
            match inserted {
                Ok(_) => {}
                Err(error) if violates_uniqueness(&error) => {
                    return Err(StoreError::NameTaken(record.plan.name.to_string()));
                }
                Err(error) => return Err(failed(error)),
            }
            history::append(&transaction, &row.id, &record.changes, &failed)?;
            transaction.commit().map_err(failed)
        })
        .await
    }

    /// Records where a VM is in its life: everything but what was asked, together with its
    /// intents and what became of it, in one transaction. A VM that is not there is left so.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_vm(&self, record: VmRecord) -> Result<(), StoreError> {
        let failed = self.failed("record a VM's state");
        self.run(move |connection| {
            let row = VmRow::render(&record)?;
            let transaction = connection.transaction().map_err(&failed)?;
            let found = transaction
                .execute(
                    "UPDATE vms SET plan = ?2, base = ?3, state = ?4, ended = ?5, problem = ?6,
                                    workspace = ?7, ephemeral = ?8, started_at = ?9, pause = ?10
                     WHERE id = ?1",
                    params![
                        row.id,
                        row.plan,
                        row.base,
                        row.state,
                        row.ended,
                        row.problem,
                        row.workspace,
                        row.ephemeral,
                        row.started_at,
                        row.pause,
                    ],
                )
                .map_err(&failed)?;
            if found == 0 {
                return Ok(());
            }
            transaction
                .execute("DELETE FROM intents WHERE vm = ?1", params![row.id])
                .map_err(&failed)?;
            for (position, intent) in (0_i64..).zip(&record.intents) {
                transaction
                    .execute(
                        "INSERT INTO intents (vm, position, what) VALUES (?1, ?2, ?3)",
                        params![row.id, position, render_intent(*intent)],
                    )
                    .map_err(&failed)?;
            }
            history::append(&transaction, &row.id, &record.changes, &failed)?;
            transaction.commit().map_err(failed)
        })
        .await
    }

    /// Forgets a VM. Done twice, it is done once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_vm(&self, vm: VmId) -> Result<(), StoreError> {
        let failed = self.failed("forget a VM");
        self.run(move |connection| {
            connection
                .execute("DELETE FROM vms WHERE id = ?1", params![vm.as_str()])
                .map(drop)
                .map_err(failed)
        })
        .await
    }

    /// Every VM, oldest first.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read: a VM must not be forgotten because a
    /// program does not understand it.
    pub async fn load_vms(&self) -> Result<Vec<VmRecord>, StoreError> {
        let failed = self.failed("list the VMs");
        self.run(move |connection| {
            let mut statement = connection
                .prepare(
                    "SELECT id, spec, plan, base, state, ended, problem, workspace, ephemeral,
                            created_at, started_at, pause
                     FROM vms ORDER BY created_at, id",
                )
                .map_err(&failed)?;
            let rows = statement
                .query_map([], VmRow::from_row)
                .and_then(|rows| rows.collect::<Result<Vec<_>, _>>())
                .map_err(&failed)?;
            drop(statement);
            rows.into_iter()
                .map(|row| {
                    let intents = load_intents(connection, &row.id).map_err(&failed)?;
                    row.parse(&intents)
                })
                .collect()
        })
        .await
    }

    /// Whether a VM is recorded.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_vm(&self, vm: VmId) -> Result<bool, StoreError> {
        let failed = self.failed("look for a VM");
        self.run(move |connection| {
            connection
                .query_row("SELECT 1 FROM vms WHERE id = ?1", params![vm.as_str()], |_| Ok(()))
                .optional()
                .map(|found| found.is_some())
                .map_err(failed)
        })
        .await
    }
}

/// Whether a row could not be written because its name is taken; ids are random.
fn violates_uniqueness(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_CONSTRAINT_UNIQUE)
}

fn load_intents(connection: &Connection, vm: &str) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("SELECT what FROM intents WHERE vm = ?1 ORDER BY position")?
        .query_map(params![vm], |row| row.get(0))?
        .collect()
}

/// A row as SQLite keeps it.
struct VmRow {
    id: String,
    spec: String,
    plan: String,
    base: Option<String>,
    state: String,
    ended: Option<String>,
    problem: Option<String>,
    workspace: Option<String>,
    ephemeral: bool,
    created_at: String,
    started_at: Option<String>,
    pause: Option<String>,
}

/// Why a VM stands still.
#[derive(Serialize, Deserialize)]
struct Pause {
    /// For how long nobody had used it, if that is why.
    idle: Option<Period>,
}

impl VmRow {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            spec: row.get("spec")?,
            plan: row.get("plan")?,
            base: row.get("base")?,
            state: row.get("state")?,
            ended: row.get("ended")?,
            problem: row.get("problem")?,
            workspace: row.get("workspace")?,
            ephemeral: row.get("ephemeral")?,
            created_at: row.get("created_at")?,
            started_at: row.get("started_at")?,
            pause: row.get("pause")?,
        })
    }

    fn render(record: &VmRecord) -> Result<Self, StoreError> {
        let id = record.id().to_string();
        let (ended, problem) = match &record.state {
            VmState::Stopped { ended } => (Some(ended), None),
            VmState::Error { problem } => (None, Some(problem)),
            _ => (None, None),
        };
        Ok(Self {
            spec: render_json(&id, "spec", &record.spec)?,
            plan: render_json(&id, "plan", &record.plan)?,
            base: record.base.as_ref().map(|base| render_json(&id, "base", base)).transpose()?,
            state: match &record.state {
                VmState::Paused { .. } => StateName::Running,
                state => state.name(),
            }
            .as_str()
            .to_owned(),
            ended: ended.map(|ended| render_json(&id, "ended", ended)).transpose()?,
            problem: problem.map(|problem| render_json(&id, "problem", problem)).transpose()?,
            workspace: record
                .workspace
                .as_ref()
                .map(|workspace| render_json(&id, "workspace", workspace))
                .transpose()?,
            ephemeral: record.ephemeral,
            created_at: record.created_at.to_string(),
            started_at: record.started_at.map(|time| time.to_string()),
            pause: match record.state {
                VmState::Paused { idle, .. } => Some(render_json(&id, "pause", &Pause { idle })?),
                _ => None,
            },
            id,
        })
    }

    fn parse(self, intents: &[String]) -> Result<VmRecord, StoreError> {
        let id = self.id.as_str();
        let wrong = |column| move |source| StoreError::Row { vm: id.to_owned(), column, source };
        let missing = |column| move || wrong(column)("it is empty".into());
        let state = match self.state.as_str() {
            "created" => VmState::Created,
            "preparing" => VmState::Preparing,
            "booting" => VmState::Booting,
            "running" => match parse_json(id, "pause", self.pause.as_deref())? {
                Some(Pause { idle }) => VmState::Paused { guest: None, idle },
                None => VmState::Running { guest: None },
            },
            "stopping" => VmState::Stopping,
            "stopped" => VmState::Stopped {
                ended: parse_json(id, "ended", self.ended.as_deref())?
                    .ok_or_else(missing("ended"))?,
            },
            "error" => VmState::Error {
                problem: parse_json(id, "problem", self.problem.as_deref())?
                    .ok_or_else(missing("problem"))?,
            },
            other => return Err(wrong("state")(format!("`{other}` is no state").into())),
        };
        let time = |column, text: &str| {
            Timestamp::from_str(text).map_err(|error| wrong(column)(Box::new(error)))
        };
        Ok(VmRecord {
            spec: parse_json(id, "spec", Some(&self.spec))?.ok_or_else(missing("spec"))?,
            plan: parse_json(id, "plan", Some(&self.plan))?.ok_or_else(missing("plan"))?,
            base: parse_json(id, "base", self.base.as_deref())?,
            state,
            workspace: parse_json(id, "workspace", self.workspace.as_deref())?,
            ephemeral: self.ephemeral,
            intents: intents
                .iter()
                .map(|what| parse_intent(what).ok_or_else(missing("what")))
                .collect::<Result<_, _>>()?,
            created_at: time("created_at", &self.created_at)?,
            started_at: self.started_at.as_deref().map(|t| time("started_at", t)).transpose()?,
            changes: Vec::new(),
        })
    }
}

fn render_intent(intent: Intent) -> &'static str {
    match intent {
        Intent::Disk => "disk",
        Intent::Vmm => "vmm",
    }
}

fn parse_intent(text: &str) -> Option<Intent> {
    [Intent::Disk, Intent::Vmm].into_iter().find(|intent| render_intent(*intent) == text)
}

pub(super) fn render_json(
    vm: &str,
    column: &'static str,
    value: &impl Serialize,
) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Row {
        vm: vm.to_owned(),
        column,
        source: Box::new(source),
    })
}

pub(super) fn parse_json<T: DeserializeOwned>(
    vm: &str,
    column: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, StoreError> {
    text.map(serde_json::from_str).transpose().map_err(|source| StoreError::Row {
        vm: vm.to_owned(),
        column,
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use banger_proto::api::{EndReason, RunConfig, VmWorkspace};
    use banger_proto::{Code, Problem};

    use super::*;
    use crate::vm::state::Base;
    use crate::vm::state::tests::record;

    #[tokio::test]
    async fn what_is_recorded_is_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("banger.db");
        let store = Store::open(&path).unwrap();
        let (mut web, mut api) = (record("web"), record("api"));
        web.created_at = Timestamp::from_second(2).unwrap();
        api.created_at = Timestamp::from_second(1).unwrap();
        api.ephemeral = true;
        store.insert_vm(web.clone()).await.unwrap();
        store.insert_vm(api.clone()).await.unwrap();
        web.base = Some(Base {
            digest: "d".into(),
            path: "/i/x.ext4".into(),
            run: RunConfig {
                env: [("A".to_owned(), "b".to_owned())].into(),
                ..RunConfig::default()
            },
            kernel: Some("/k/.versions/k-0".into()),
        });
        web.intents = vec![Intent::Disk, Intent::Vmm];
        web.workspace = Some(VmWorkspace {
            host_path: "/r".into(),
            guest_path: "/root/repo".into(),
            branch: Some("main".into()),
            include_untracked: true,
            ..VmWorkspace::default()
        });
        web.started_at = Some(web.created_at);
        for state in [
            VmState::Preparing,
            VmState::Running { guest: None },
            VmState::Paused { guest: None, idle: None },
            VmState::Paused { guest: None, idle: Some("5m".parse().unwrap()) },
            VmState::Stopped { ended: EndReason::Failed("x".into()) },
            VmState::Error { problem: Box::new(Problem::new(Code::Timeout, "slow").hint("wait")) },
        ] {
            web.state = state;
            store.update_vm(web.clone()).await.unwrap();
            drop(Store::open(&path).unwrap());
            // The second VM is the older one.
            assert_eq!(store.load_vms().await.unwrap(), [api.clone(), web.clone()]);
        }
        store.remove_vm(web.id().clone()).await.unwrap();
        store.remove_vm(web.id().clone()).await.unwrap();
        assert!(!store.has_vm(web.id().clone()).await.unwrap());
        // Its intents are gone too: the same id could be recorded again.
        web.intents = vec![Intent::Disk];
        store.update_vm(web).await.unwrap();
        assert_eq!(store.load_vms().await.unwrap(), [api]);
    }

    #[tokio::test]
    async fn a_name_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("banger.db")).unwrap();
        store.insert_vm(record("web")).await.unwrap();
        let mut second = record("api");
        second.plan.name = "web".parse().unwrap();
        let error = store.insert_vm(second).await.unwrap_err();
        assert!(matches!(&error, StoreError::NameTaken(name) if name == "web"), "{error}");
        assert_eq!(store.load_vms().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_stops_the_start_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("banger.db");
        let store = Store::open(&path).unwrap();
        store.insert_vm(record("web")).await.unwrap();
        Connection::open(&path).unwrap().execute("UPDATE vms SET plan = '{}'", []).unwrap();
        let error = store.load_vms().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "VM `776562000000` in the database cannot be read: column `plan`"
        );
    }
}
