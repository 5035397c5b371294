//! What happens to a VM when everything goes well.

use std::collections::BTreeSet;

use banger_proto::api::{EndReason, Event, ExecVm, Stage, StateName, StopVm, VmView, WaitFor};
use banger_proto::guest::InitKind;
use banger_proto::{ByteSize, Code, Problem};
use banger_testkit::{Boot, Hostile, TestDaemon, TestEnv, Then};
use futures_util::future::join_all;
use hyper::Method;
use tokio::io::AsyncReadExt;

use super::{assert_nothing_left, create, delete, list, named, show, until, until_none};

fn shell(script: &str) -> ExecVm {
    ExecVm { argv: ["sh", "-c", script].map(str::to_owned).to_vec(), ..Default::default() }
}

#[tokio::test]
async fn from_creation_to_deletion() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let client = &daemon.client;

    let mut asked = named("web");
    asked.env.insert("GREETING".into(), "hello".into());
    asked.wait = WaitFor::System;
    let mut events = client.events("/v1/vms", &asked).await;
    let mut stages = Vec::new();
    let planned = events
        .find(|event| match event {
            Event::Planned { vm, spec } => Some((vm.clone(), spec.clone())),
            _ => None,
        })
        .await;
    assert_eq!(planned.0.state, StateName::Created);
    assert_eq!(planned.1, "2 vcpu | 2048 MiB | 8G disk | fake (a world in memory)");
    let vm = loop {
        match events.next().await.unwrap() {
            Event::StageFinished { stage, .. } => stages.push(stage),
            Event::VmReady { vm, .. } => break vm,
            _ => {}
        }
    };
    assert_eq!(events.next().await, None, "the stream ends with readiness");
    assert_eq!(
        stages,
        [Stage::Image, Stage::Kernel, Stage::Disk, Stage::Boot, Stage::Configure, Stage::System]
    );
    assert_eq!(vm.state, StateName::Running);
    assert!(vm.disk_used < ByteSize::from_mib(2), "{}", vm.disk_used);

    let config = env.world.configured(&vm.id).unwrap();
    assert_eq!(config.hostname, "web");
    assert_eq!(config.machine_id.len(), 32);
    assert_eq!(config.random_seed.len(), 64);
    assert_eq!(config.env["GREETING"], "hello");
    let spec = env.world.spec(&vm.id).unwrap();
    assert_eq!(spec.disks[0].serial, "base");
    assert!(spec.disks[0].read_only && spec.disks[0].path.starts_with(env.paths.images_dir()));
    assert!(spec.cmdline.contains(&format!("banger.link={}", spec.link_magic)));

    let (stdout, exit) =
        client.exec("web", &shell("echo $GREETING; exit 7")).await.unwrap().finish().await;
    assert_eq!((stdout.as_str(), exit.code), ("hello\n", Some(7)));

    let stopped: VmView = client.call(Method::POST, "/v1/vms/web/stop", ()).await.ok();
    assert_eq!((stopped.state, stopped.ended), (StateName::Stopped, Some(EndReason::PoweredOff)));
    // Its commands cannot run now, and that is what is said.
    let refused = client.exec("web", &shell("true")).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert_eq!(refused.message, "VM `web` does not run: it is stopped");
    // Once more is no work and no error.
    let again: VmView = client.call(Method::POST, "/v1/vms/web/stop", ()).await.ok();
    assert_eq!(again.state, StateName::Stopped);

    // By a prefix of its id, too.
    let path = format!("/v1/vms/{}/start", &vm.id.as_str()[..6]);
    let started = client.events(&path, serde_json::json!({})).await.ready().await;
    assert_eq!((started.state, &started.ended), (StateName::Running, &None));
    assert_eq!(env.world.configured(&vm.id).unwrap().machine_id, config.machine_id);

    // A running VM is deleted without asking it.
    let was = delete(&daemon, "web").await;
    assert_eq!((was.id, was.state), (vm.id, StateName::Running));
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn the_guest_is_shown_as_it_tells_itself() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    // The agent's picture comes a moment after readiness.
    let vm = until(&daemon, "web", |vm| vm.guest.is_some()).await;
    assert_eq!(vm.guest.map(|guest| guest.init), Some(InitKind::Agent));
    daemon.stop().await;
}

#[tokio::test]
async fn ten_at_once() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    // Without names: none may be given twice.
    let asked = serde_json::json!({});
    let created = join_all(
        (0..10).map(|_| async { daemon.client.events("/v1/vms", &asked).await.ready().await }),
    )
    .await;
    let names: BTreeSet<_> = created.iter().map(|vm| vm.name.clone()).collect();
    assert_eq!(names.len(), 10);
    let magics: BTreeSet<_> =
        created.iter().map(|vm| env.world.spec(&vm.id).unwrap().link_magic.to_string()).collect();
    assert_eq!(magics.len(), 10);
    let deletions = names.iter().map(|name| delete(&daemon, name.as_str()));
    assert_eq!(join_all(deletions).await.len(), 10);
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_name_is_given_once() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let mut first = daemon.client.events("/v1/vms", named("web")).await;
    let mut second = daemon.client.events("/v1/vms", named("web")).await;
    let outcome = async |events: &mut banger_testkit::Events| -> Result<VmView, Problem> {
        events
            .find(|event| match event {
                Event::VmReady { vm, .. } => Some(Ok((**vm).clone())),
                Event::Failed { problem } => Some(Err(problem.clone())),
                _ => None,
            })
            .await
    };
    let outcomes = [outcome(&mut first).await, outcome(&mut second).await];
    let failures: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let [problem] = failures.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(problem.code, Code::AlreadyExists);
    assert_eq!(problem.message, "a VM named `web` exists already");
    assert_eq!(list(&daemon).await.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_stubborn_guest_is_killed() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Stubborn);
    create(&daemon, "web").await;
    let asked = StopVm { grace_seconds: Some(0) };
    let stopped: VmView = daemon.client.call(Method::POST, "/v1/vms/web/stop", asked).await.ok();
    assert_eq!(stopped.ended, Some(EndReason::Killed));
    assert_eq!(env.world.running(), []);
    daemon.stop().await;
}

#[tokio::test]
async fn a_deletion_does_not_wait_for_a_stop() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Stubborn);
    create(&daemon, "web").await;
    let asked = StopVm { grace_seconds: Some(1_000_000) };
    let stop = daemon.client.call(Method::POST, "/v1/vms/web/stop", asked);
    let deletion = async {
        until(&daemon, "web", |vm| vm.state == StateName::Stopping).await;
        delete(&daemon, "web").await
    };
    let (stopped, _) = tokio::join!(stop, deletion);
    assert_eq!(stopped.ok::<VmView>().ended, Some(EndReason::Killed));
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_vm_that_powers_off_by_itself_is_stopped() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let exit = banger_proto::supervisor::VmmExit {
        code: Some(1),
        signal: None,
        killed: false,
        stderr: "qemu: guest triple-faulted".into(),
    };
    env.world.end(&vm.id, exit);
    let stopped = until(&daemon, "web", |vm| vm.state == StateName::Stopped).await;
    let how = "the VMM exited with code 1: qemu: guest triple-faulted".to_owned();
    assert_eq!(stopped.ended, Some(EndReason::Failed(how)));
    daemon.stop().await;
}

#[tokio::test]
async fn an_ephemeral_vm_goes_with_its_request() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let mut asked = named("web");
    asked.ephemeral = true;
    let mut events = daemon.client.events("/v1/vms", &asked).await;
    events.ready().await;
    assert!(show(&daemon, "web").await.ephemeral);
    drop(events);
    until_none(&daemon).await;
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_console_can_be_followed_to_its_end() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let logs = daemon.client.send(Method::GET, "/v1/vms/web/logs?follow=true", &[], "").await;
    let stream = http_body_util::BodyDataStream::new(logs.into_body());
    let stream = futures_util::TryStreamExt::map_err(stream, std::io::Error::other);
    let mut reader = tokio_util::io::StreamReader::new(stream);
    let mut first = vec![0; "a fake kernel boots\n".len()];
    reader.read_exact(&mut first).await.unwrap();
    assert_eq!(first, b"a fake kernel boots\n");
    // Rotated, as the supervisor does it.
    let log = std::path::Path::new(&vm.console_log);
    fs_err::rename(log, log.with_extension("log.1")).unwrap();
    fs_err::write(log, "and goes down\n").unwrap();
    let mut second = vec![0; "and goes down\n".len()];
    reader.read_exact(&mut second).await.unwrap();
    assert_eq!(second, b"and goes down\n");
    let _: VmView = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await.ok();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
    let tail = daemon.client.call(Method::GET, "/v1/vms/web/logs?tail=1", ()).await;
    assert_eq!(tail.body, "and goes down\n");
    daemon.stop().await;
}

/// A repository with one commit, an edit after it, and a file that git does not know.
fn make_repository(env: &TestEnv) -> std::path::PathBuf {
    let repo = env.dir().join("repo");
    fs_err::create_dir(&repo).expect("a directory");
    let git = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(&repo).args(["-c", "user.name=A", "-c", "user.email=a@b.c"]).args(args);
        git.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", env.dir());
        assert!(git.status().expect("git").success(), "{args:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    fs_err::write(repo.join("tracked"), "committed").expect("a file");
    git(&["add", "tracked"]);
    git(&["commit", "-q", "-m", "first"]);
    fs_err::write(repo.join("tracked"), "edited").expect("a file");
    fs_err::write(repo.join("untracked"), "").expect("a file");
    repo
}

#[tokio::test]
async fn a_vm_whose_workspace_is_on_its_way_is_only_deleted() {
    let env = TestEnv::new();
    let repo = make_repository(&env);
    let daemon = TestDaemon::start(&env).await;
    let sleeps = Hostile { service: "unpack", answer: Vec::new(), then: Then::Sleeps };
    env.world.next_boot(Boot::Hostile(sleeps));
    let asked = serde_json::json!({ "name": "web", "workspace": { "path": repo } });
    let mut events = daemon.client.events("/v1/vms", asked).await;
    let begun = |event: &Event| match event {
        Event::StageStarted { stage: Stage::Workspace } => Some(()),
        Event::Failed { problem } => panic!("{problem:#?}"),
        _ => None,
    };
    events.find(begun).await;
    for verb in ["stop", "kill"] {
        let path = format!("/v1/vms/web/{verb}");
        let refused = daemon.client.call(Method::POST, &path, ()).await.problem();
        assert_eq!(refused.code, Code::Conflict);
        assert!(refused.hints[0].contains("banger vm delete web"), "{refused:?}");
    }
    delete(&daemon, "web").await;
    assert_eq!(events.failed().await.code, Code::Cancelled);
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_workspace_travels_into_the_guest() {
    let env = TestEnv::new();
    let (repo, guest) = (make_repository(&env), env.dir().join("guest"));
    fs_err::create_dir_all(guest.join("root")).unwrap();

    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::InDirectory(guest.clone()));
    let path = repo.display().to_string();
    let asked = serde_json::json!({ "name": "web", "workspace": { "path": path } });
    let mut events = daemon.client.events("/v1/vms", asked).await;
    let mut notices = Vec::new();
    let vm = events
        .find(|event| match event {
            Event::Notice { text } => {
                notices.push(text.clone());
                None
            }
            Event::Failed { problem } => panic!("{problem:#?}"),
            Event::VmReady { vm, .. } => Some(vm.clone()),
            _ => None,
        })
        .await;
    let workspace = vm.workspace.unwrap();
    assert_eq!((workspace.host_path, workspace.branch), (path, Some("main".to_owned())));
    assert_eq!(workspace.guest_path, "/root/repo");
    let there = guest.join("root/repo");
    assert_eq!(fs_err::read_to_string(there.join("tracked")).unwrap(), "edited");
    assert!(!there.join("untracked").exists());
    assert!(notices.iter().any(|text| text.contains("--include-untracked")), "{notices:?}");
    // It is kept with the VM.
    assert_eq!(show(&daemon, "web").await.workspace.unwrap().head, workspace.head);
    daemon.stop().await;
}
