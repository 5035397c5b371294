//! A repository that is brought into a VM again.

use banger_proto::Code;
use banger_proto::api::{Applied, Branched, Stage, StateName, WorkspaceMode};
use banger_proto::guest::WORKSPACE_ID;
use banger_proto::guest::frame::Kind;
use banger_testkit::{Then, frame};

use super::*;
use crate::{create, delete, show};

fn read(top: &Path, path: &str) -> String {
    fs_err::read_to_string(top.join(path)).unwrap()
}

#[tokio::test]
async fn the_guest_follows_the_host() {
    let rig = Rig::new().await;
    let before = show(&rig.daemon, "web").await.workspace.unwrap();
    assert!(before.prepared_at.is_some() && !before.include_untracked);
    write(&rig.guest, "target/built", "by the guest");
    write(&rig.host, "sub/b", "second\n");
    fs_err::remove_file(rig.host.join("old")).unwrap();
    commit(&rig.host, "third");
    write(&rig.host, "a", "edited\n");
    write(&rig.host, "untracked", "u");

    let vm = rig.prepare(json!({ "include_untracked": true })).await.unwrap();
    let workspace = vm.workspace.unwrap();
    assert_eq!(workspace.head, Some(git(&rig.host, &["rev-parse", "HEAD"])));
    assert!(workspace.head != before.head && workspace.include_untracked);
    assert!(workspace.prepared_at > before.prepared_at);
    assert_eq!(read(&rig.guest, "a"), "edited\n");
    assert_eq!(read(&rig.guest, "untracked"), "u");
    assert_eq!(read(&rig.guest, "target/built"), "by the guest");
    assert!(!rig.guest.join("old").exists());
    assert_eq!(git(&rig.guest, &["status", "--short"]), " M a\n?? untracked");
    assert_eq!(git(&rig.guest, &["rev-list", "--count", "HEAD"]), "1");

    let vm = rig.prepare(json!({ "mode": "full" })).await.unwrap();
    assert_eq!(vm.workspace.unwrap().mode, WorkspaceMode::Full);
    assert_eq!(git(&rig.guest, &["rev-list", "--count", "HEAD"]), "3");
    assert!(!rig.guest.join("untracked").exists(), "it was not asked for again");
    // What is not said stays as it was.
    let branch = json!({ "branch": { "name": "topic", "from": "HEAD^" } });
    let workspace = rig.prepare(branch).await.unwrap().workspace.unwrap();
    assert_eq!((workspace.mode, workspace.branch.as_deref()), (WorkspaceMode::Full, Some("topic")));
    assert_eq!(workspace.head, before.head);
    assert_eq!(workspace.host_head, Some(git(&rig.host, &["rev-parse", "HEAD"])));
    assert_eq!(git(&rig.guest, &["status", "--short"]), "");
    assert_eq!(read(&rig.guest, "sub/b"), "b\n");

    // It is kept with the VM, and the guest's work is told from it.
    write(&rig.guest, "sub/b", "by the guest\n");
    fs_err::remove_dir_all(rig.guest.join("target")).unwrap();
    rig.round_trip("HEAD^").await;
    let Rig { env, daemon, .. } = rig;
    daemon.stop().await;
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(show(&daemon, "web").await.workspace, Some(workspace));
    daemon.stop().await;
}

#[tokio::test]
async fn edits_are_not_lost_unasked() {
    let rig = Rig::new().await;
    write(&rig.guest, "a", "by the guest\n");
    write(&rig.guest, "new \u{1b}[31m", "by the guest\n");
    write(&rig.guest, "target/out", "built");
    fs_err::remove_file(rig.guest.join("sub/b")).unwrap();
    let before = tree(&rig.guest);
    let problem = rig.prepare(json!({})).await.unwrap_err();
    assert_eq!(problem.code, Code::Conflict);
    let cause = &problem.causes[0];
    assert!(cause.contains("`a`, `new ") && cause.contains("`sub/b`"), "{problem:?}");
    assert!(!cause.contains("target"), "{problem:?}");
    let hints = problem.hints.join("\n");
    assert!(hints.contains("workspace export web --apply"), "{hints}");
    assert!(hints.contains("workspace prepare --force web"), "{hints}");
    assert_eq!(tree(&rig.guest), before);

    // What has come home is not lost.
    rig.post::<Applied>("apply", json!({})).await.unwrap();
    rig.prepare(json!({})).await.unwrap();
    assert_eq!(read(&rig.guest, "a"), "by the guest\n");
    assert_eq!(read(&rig.guest, "target/out"), "built");
    assert!(rig.patch().await.1.is_empty());
    write(&rig.guest, "a", "once more\n");
    rig.prepare(json!({ "force": true })).await.unwrap();
    assert_eq!(read(&rig.guest, "a"), "by the guest\n");
    rig.daemon.stop().await;
}

#[tokio::test]
async fn commits_are_not_lost_unasked() {
    let rig = Rig::new().await;
    write(&rig.guest, "a", "by the guest\n");
    commit(&rig.guest, "work");
    let work = git(&rig.guest, &["rev-parse", "HEAD"]);
    let lost = |problem: Problem, commit: &str| {
        assert!(problem.causes[0].contains(commit), "{problem:?}");
    };
    lost(rig.prepare(json!({})).await.unwrap_err(), &work);
    // Nor those that are not checked out.
    git(&rig.guest, &["checkout", "-q", "-b", "side"]);
    git(&rig.guest, &["commit", "-q", "--allow-empty", "-m", "side"]);
    let side = git(&rig.guest, &["rev-parse", "HEAD"]);
    git(&rig.guest, &["checkout", "-q", "main"]);
    git(&rig.guest, &["pack-refs", "--all"]);
    rig.post::<Branched>("branch", json!({ "name": "home" })).await.unwrap();
    rig.post::<Applied>("apply", json!({})).await.unwrap();
    let problem = rig.prepare(json!({})).await.unwrap_err();
    assert!(!problem.causes[0].contains(&work), "{problem:?}");
    lost(problem, &side);
    git(&rig.guest, &["branch", "-q", "-D", "side"]);
    rig.prepare(json!({})).await.unwrap();
    assert_eq!(git(&rig.guest, &["log", "--format=%s"]), "second");
    rig.daemon.stop().await;
}

#[tokio::test]
async fn one_after_the_other() {
    let rig = Rig::new().await;
    let (first, second) = tokio::join!(rig.prepare(json!({})), rig.prepare(json!({})));
    assert_eq!((first.err(), second.err()), (None, None));
    assert_eq!(rig.status().await.guest.changed, 0);
    rig.daemon.stop().await;
}

/// The directory of records of the VM `web`.
async fn shelf(rig: &Rig) -> PathBuf {
    let vm = show(&rig.daemon, "web").await;
    rig.env.paths.vm_state_dir(&vm.id).join("workspace")
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[tokio::test]
async fn the_record_is_that_of_the_guests_tree_whenever_the_daemon_died() {
    let rig = Rig::new().await;
    let shelf = shelf(&rig).await;
    let (current, next, older) = (shelf.join("current"), shelf.join("next"), shelf.join("older"));
    copy(&current, &older);
    write(&rig.host, "a", "edited\n");
    rig.prepare(json!({})).await.unwrap();
    write(&rig.guest, "sub/b", "by the guest\n");
    // Died after the trees were exchanged.
    fs_err::rename(&current, &next).unwrap();
    copy(&older, &current);
    assert_eq!(rig.status().await.guest.changed, 1);
    assert!(!next.exists());
    // Died after the records were, but before the older one was removed.
    copy(&older, &next);
    assert_eq!(rig.status().await.guest.changed, 1);
    assert!(!next.exists());
    // Died before the trees were exchanged: then the newer record is of nothing.
    fs_err::rename(&older, &next).unwrap();
    assert_eq!(rig.status().await.guest.changed, 1);
    assert!(!next.exists());
    // What an older daemon brought in has no name, and is told by that.
    let (base, marker) = (current.join("base.json"), rig.guest.join(".git").join(WORKSPACE_ID));
    let named = fs_err::read_to_string(&base).unwrap();
    copy(&current, &next);
    let mut unnamed: serde_json::Value = serde_json::from_str(&named).unwrap();
    unnamed["id"] = serde_json::Value::Null;
    fs_err::write(&base, unnamed.to_string()).unwrap();
    fs_err::remove_file(marker).unwrap();
    assert_eq!(rig.status().await.guest.changed, 1);
    assert!(!next.exists());
    // A tree that is neither has no changes that could be told.
    copy(&current, &next);
    write(&rig.guest, Path::new(".git").join(WORKSPACE_ID), "another");
    let problem = rig.answer("patch").await.unwrap_err();
    assert_eq!(problem.code, Code::Conflict);
    assert!(problem.message.contains("is not what was brought in"), "{problem:?}");
    assert!(rig.prepare(json!({})).await.is_err());
    rig.prepare(json!({ "force": true })).await.unwrap();
    assert_eq!(rig.status().await.guest.changed, 0);
    rig.daemon.stop().await;
}

#[tokio::test]
async fn what_is_there_without_a_record_is_given_up_only_when_asked() {
    let rig = Rig::new().await;
    fs_err::remove_dir_all(shelf(&rig).await).unwrap();
    let problem = rig.prepare(json!({})).await.unwrap_err();
    assert!(problem.message.ends_with("was not brought in by banger"), "{problem:?}");
    rig.prepare(json!({ "force": true })).await.unwrap();
    // And what is not there any more is no loss.
    fs_err::remove_dir_all(&rig.guest).unwrap();
    rig.prepare(json!({})).await.unwrap();
    assert_eq!(rig.status().await.guest.changed, 0);
    rig.daemon.stop().await;
}

#[tokio::test]
async fn a_vm_is_deleted_while_its_workspace_is_prepared() {
    let env = TestEnv::new();
    let host = env.dir().join("repo");
    repository(&host);
    let daemon = TestDaemon::start(&env).await;
    let sleeps = Hostile { service: "unpack", answer: Vec::new(), then: Then::Sleeps };
    env.world.next_boot(Boot::Hostile(sleeps));
    create(&daemon, "web").await;
    let mut events = daemon.client.events(PREPARE, json!({ "path": host })).await;
    let begun = |event: &Event| match event {
        Event::StageStarted { stage: Stage::Workspace } => Some(()),
        _ => None,
    };
    in_time(events.find(begun)).await;
    delete(&daemon, "web").await;
    assert_eq!(prepared(&mut events).await.unwrap_err().code, Code::OperationFailed);
    daemon.stop().await;
}

#[tokio::test]
async fn what_cannot_be_prepared() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    let refused = async |asked: serde_json::Value| {
        daemon.client.call(Method::POST, PREPARE, asked).await.problem()
    };
    let problem = refused(json!({})).await;
    assert_eq!(problem.hints, ["banger vm workspace prepare web PATH"]);
    let asked = json!({ "path": env.dir() });
    let problem = prepared(&mut daemon.client.events(PREPARE, &asked).await).await.unwrap_err();
    assert!(problem.message.contains("is not in a git repository"), "{problem:?}");
    let _: VmView = daemon.client.call(Method::POST, "/v1/vms/web/kill", ()).await.ok();
    assert_eq!(show(&daemon, "web").await.state, StateName::Stopped);
    let problem = refused(asked).await;
    assert_eq!((problem.code, &*problem.hints[0]), (Code::Conflict, "banger vm start web"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_guest_that_lies_about_its_commits_is_harmless() {
    let said = json!({
        "commit": "--upload-pack=x",
        "commits": ["--upload-pack=x", "HEAD", "\u{1b}]0;owned\u{7}", "a\nb", "f".repeat(9999)],
    });
    let end = frame(Kind::Event, said.to_string().as_bytes());
    let answer = [frame(Kind::Accepted, b"{}"), end].concat();
    let rig = Rig::lying(Hostile { service: "survey", answer, then: Then::Swallows }).await;
    let problem = rig.prepare(json!({ "path": rig.host })).await.unwrap_err();
    assert_eq!(problem.code, Code::Conflict);
    let said = problem.causes.join("");
    assert!(!said.contains('\u{1b}') && said.len() < 1000, "{said:?}");
    rig.daemon.stop().await;
}
