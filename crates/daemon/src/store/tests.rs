//! The database as a file: private, checked, never made worse, and full.

use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use banger_proto::Problem;
use banger_proto::api::EndReason;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::*;
use crate::vm::state::tests::record;
use crate::vm::state::{Intent, VmState};

/// A database with a VM in it, closed again.
async fn database(dir: &Path) -> PathBuf {
    let path = dir.join("banger.db");
    let store = Store::open(&path).unwrap();
    store.insert_vm(record("web")).await.unwrap();
    path
}

/// The digest of every file in a directory, but of those by which SQLite's processes speak to each
/// other: the shared memory, and a log without anything in it.
fn contents(dir: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs_err::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| !path.to_str().unwrap().ends_with("-shm"))
        .map(|path| (path.clone(), fs_err::read(path).unwrap()))
        .filter(|(_, content)| !content.is_empty())
        .map(|(path, content)| (path, format!("{:x?}", Sha256::digest(content))))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn the_files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("banger.db"), "").unwrap();
    let store = Store::open(&dir.path().join("banger.db")).unwrap();
    store.insert_vm(record("web")).await.unwrap();
    for file in ["banger.db", "banger.db-wal", "banger.db-shm"] {
        let mode = dir.path().join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_damaged_one_is_refused_left_alone_and_the_way_on_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path()).await;
    let mut file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    assert!(pages > 2);
    // The second page is the root of the first table.
    file.seek(SeekFrom::Start(4096)).unwrap();
    file.write_all(&[0xa5; 4096]).unwrap();
    drop(file);
    let before = contents(dir.path());
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(matches!(examine(&path), Err(StoreError::Damaged { .. })));
    assert_eq!(contents(dir.path()), before);

    let problem = Problem::from(error);
    assert!(problem.message.contains("` is damaged: "), "{problem:?}");
    let [aside, copy] = problem.hints.as_slice() else { panic!("{problem:?}") };
    assert!(copy.starts_with("there is no copy of it"), "{copy}");
    // What is told to type does what it says.
    let typed = aside.split_once(": ").unwrap().1.split_once(';').unwrap().0;
    assert!(std::process::Command::new("sh").args(["-c", typed]).status().unwrap().success());
    let store = Store::open(&path).unwrap();
    assert_eq!(store.load_vms().await.unwrap(), []);
    assert!(dir.path().join("damaged/banger.db").exists());
}

#[tokio::test]
async fn the_newest_copy_is_told_and_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path()).await;
    copies::make_copy(&Connection::open(&path).unwrap(), &path, 1).unwrap();
    fs_err::write(&path, "this is no database, just some text that is long enough").unwrap();
    let problem = Problem::from(Store::open(&path).unwrap_err());
    let [aside, copy] = problem.hints.as_slice() else { panic!("{problem:?}") };
    let aside = aside.split_once(": ").unwrap().1.split_once(';').unwrap().0;
    let copy = copy.split_once(": ").unwrap().1;
    for typed in [aside, copy] {
        let status = std::process::Command::new("sh").args(["-c", typed]).status();
        assert!(status.unwrap().success(), "{typed}");
    }
    assert_eq!(Store::open(&path).unwrap().load_vms().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_newer_program_made_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path()).await;
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", migrate::KNOWN + 1).unwrap();
    drop(newer);
    let before = contents(dir.path());
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { .. }), "{error}");
    assert_eq!(contents(dir.path()), before);
    let problem = Problem::from(error);
    let newer = migrate::KNOWN + 1;
    let hint = format!("use the banger that made version {newer}, or a newer one");
    assert_eq!(problem.hints, [hint]);
}

#[tokio::test]
async fn looking_at_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path()).await;
    assert_eq!(examine(&path).unwrap(), migrate::KNOWN);
    // One from before the first migration is not migrated by being looked at.
    let old = dir.path().join("old.db");
    Connection::open(&old).unwrap().execute_batch("CREATE TABLE t (x INTEGER)").unwrap();
    let before = contents(dir.path());
    assert_eq!(examine(&old).unwrap(), 0);
    assert_eq!(contents(dir.path()), before);
    // Beside one that works with it, too.
    let store = Store::open(&path).unwrap();
    store.insert_vm(record("api")).await.unwrap();
    assert_eq!(examine(&path).unwrap(), migrate::KNOWN);
    store.remove_vm(record("api").id().clone()).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("banger.db");
    let store = Store::open(&path).unwrap();
    let web = record("web");
    store.insert_vm(web.clone()).await.unwrap();
    // SQLite's own limit: the same error as that of a file system without room.
    let limit = async |pages: u32| {
        let set = move |connection: &mut Connection| {
            let set = |row: &rusqlite::Row<'_>| row.get::<_, u32>(0);
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], set).unwrap();
            Ok(())
        };
        store.run(set).await.unwrap();
    };
    limit(1).await;
    let mut large = web.clone();
    large.state = VmState::Error {
        problem: Problem::new(banger_proto::Code::Timeout, "x".repeat(100_000)).into(),
    };
    large.intents = vec![Intent::Disk];
    let error = store.update_vm(large.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    let (shown, dir) = (path.display(), dir.path().display());
    assert_eq!(
        error.to_string(),
        format!("no space left for database `{shown}` to record a VM's state")
    );
    assert_eq!(error.hints(), [format!("make room on the disk of `{dir}` and try again")]);
    assert_eq!(store.load_vms().await.unwrap(), [web]);
    limit(1 << 20).await;
    store.update_vm(large.clone()).await.unwrap();
    assert_eq!(store.load_vms().await.unwrap(), [large]);
}

#[tokio::test]
async fn what_the_first_version_left_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("banger.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("fixtures/v1.sql")).unwrap();
    let store = Store::open(&path).unwrap();
    let vms = store.load_vms().await.unwrap();
    let [made, running, broken] = vms.as_slice() else { panic!("{vms:#?}") };
    assert_eq!(made.state, VmState::Stopped { ended: EndReason::NotStarted });
    assert_eq!((made.plan.env["A"].as_str(), made.intents.as_slice()), ("b", &[Intent::Disk][..]));
    assert_eq!(made.spec.vcpu, Some(2));
    assert_eq!(running.state, VmState::Running { guest: None });
    assert_eq!(running.intents, [Intent::Disk, Intent::Vmm]);
    assert_eq!(running.base.as_ref().unwrap().run.env["LANG"], "C.UTF-8");
    assert!(running.base.as_ref().unwrap().kernel.is_some());
    assert_eq!(running.workspace.as_ref().unwrap().branch.as_deref(), Some("main"));
    assert!(running.started_at.is_some());
    let VmState::Error { problem } = &broken.state else { panic!("{broken:#?}") };
    assert_eq!((problem.code.as_str(), problem.hints.len()), ("timeout", 1));
    // What there was not then: no history, and nothing stops them for being idle.
    for vm in &vms {
        assert_eq!(vm.plan.idle_stop, None);
        assert_eq!(store.load_history(vm.id().clone()).await.unwrap(), []);
        // And it can be written again.
        store.update_vm(vm.clone()).await.unwrap();
    }
    assert_eq!(store.load_vms().await.unwrap(), vms);
}
