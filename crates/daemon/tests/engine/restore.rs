//! VMs that are taken back to what they were.

use banger_proto::api::{
    CreateVm, EndReason, Event, ExecVm, SetVm, SnapshotView, StateName, VmView,
};
use banger_proto::{ByteSize, Code, Problem};
use banger_testkit::{Boot, Events, TestDaemon, TestEnv};
use hyper::Method;
use serde_json::json;

use super::snapshots::{
    begin, disk, list, mark, post, read_mark, remove, restore, shelf, take, try_take,
};
use super::{assert_nothing_left, create, delete, named, show, until};

/// Skips to the end of a restore that leaves the VM down.
async fn restored(events: &mut Events) -> VmView {
    let ended = |event: &Event| match event {
        Event::Restored { vm } => Some((**vm).clone()),
        Event::Failed { problem } => panic!("{problem:#?}"),
        _ => None,
    };
    let vm = events.find(ended).await;
    assert_eq!(events.next().await, None);
    vm
}

async fn start(daemon: &TestDaemon, vm: &str) -> VmView {
    daemon.client.events(&format!("/v1/vms/{vm}/start"), ()).await.ready().await
}

fn with_env(name: &str, value: &str) -> CreateVm {
    CreateVm { env: [(name.to_owned(), value.to_owned())].into(), ..named("web") }
}

#[tokio::test]
async fn a_vm_is_as_it_was_and_reaches_what_it_may_now() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let asked = CreateVm { nat: Some(false), ..with_env("WHEN", "then") };
    let vm = daemon.client.events("/v1/vms", asked).await.ready().await;
    let booted = env.world.configured(&vm.id).unwrap();
    mark(&disk(&env, &vm), "then");
    take(&daemon, "web", "one").await;

    mark(&disk(&env, &vm), "now!");
    let change = SetVm {
        vcpu: Some(3),
        memory: Some(ByteSize::from_mib(1024)),
        disk_size: Some("9G".parse().unwrap()),
        env: [("WHEN".to_owned(), "now".to_owned())].into(),
        nat: Some(true),
        autostart: Some(true),
        ..SetVm::default()
    };
    let _ = daemon.client.call(Method::PATCH, "/v1/vms/web", change).await.ok::<VmView>();
    post(&daemon, "web", "stop").await;
    start(&daemon, "web").await;

    let now = restore(&daemon, "web", "one", false).await.ready().await;
    assert_eq!(read_mark(&disk(&env, &vm)), "then");
    let (of_then, of_now) =
        ((vm.vcpu, vm.memory, vm.disk_size), (now.vcpu, now.memory, now.disk_size));
    assert_eq!(of_now, of_then);
    assert_eq!(fs_err::metadata(disk(&env, &vm)).unwrap().len(), vm.disk_size.bytes());
    assert_eq!(
        (&now.id, now.state, now.nat, now.autostart),
        (&vm.id, StateName::Running, true, true)
    );
    assert_eq!(now.pending, []);
    let spec = env.world.spec(&vm.id).unwrap();
    assert_eq!((spec.vcpu, spec.memory_mib), (vm.vcpu, vm.memory.mib()));
    assert!(!spec.saved.unwrap().paused);
    // It is told that it is who it was, with another seed.
    let renewed = env.world.renewed(&vm.id);
    let [renewed] = &renewed[..] else { panic!("{renewed:?}") };
    assert_eq!((&*renewed.hostname, &renewed.machine_id), ("web", &booted.machine_id));
    assert_eq!(renewed.ssh, booted.ssh);
    assert_eq!(renewed.network.as_ref().unwrap().mac, booted.network.unwrap().mac);
    assert_ne!(renewed.random_seed, booted.random_seed);
    assert_eq!(renewed.env["WHEN"], "then");
    let argv = ["sh", "-c", "echo $WHEN"].map(str::to_owned).to_vec();
    let asked = ExecVm { argv, ..ExecVm::default() };
    let (said, _) = daemon.client.exec("web", &asked).await.unwrap().finish().await;
    assert_eq!(said, "then\n");

    // Once more, and a start after that is a boot of what was gone back to.
    mark(&disk(&env, &vm), "now!");
    restore(&daemon, "web", "one", false).await.ready().await;
    post(&daemon, "web", "stop").await;
    start(&daemon, "web").await;
    assert_eq!(read_mark(&disk(&env, &vm)), "then");
    assert!(env.world.spec(&vm.id).unwrap().saved.is_none());
    assert_eq!(list(&daemon, "").await, ["web/one"]);
    daemon.stop().await;
}

#[tokio::test]
async fn the_disk_alone_leaves_the_vm_down() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    mark(&disk(&env, &vm), "then");
    take(&daemon, "web", "one").await;
    for before in [None, Some("pause"), Some("stop")] {
        if let Some(verb) = before {
            post(&daemon, "web", verb).await;
        }
        mark(&disk(&env, &vm), "now!");
        let vm = restored(&mut restore(&daemon, "web", "one", true).await).await;
        assert_eq!(
            (vm.state, vm.ended),
            (StateName::Stopped, Some(EndReason::Restored)),
            "{before:?}"
        );
        assert_eq!(read_mark(&disk(&env, &show(&daemon, "web").await)), "then", "{before:?}");
        assert_eq!(env.world.running(), []);
        assert_eq!(start(&daemon, "web").await.state, StateName::Running);
        assert!(env.world.spec(&vm.id).unwrap().saved.is_none());
    }
    // One without memory is nothing but a disk.
    post(&daemon, "web", "stop").await;
    mark(&disk(&env, &vm), "down");
    take(&daemon, "web", "down").await;
    start(&daemon, "web").await;
    mark(&disk(&env, &vm), "now!");
    restored(&mut restore(&daemon, "web", "down", false).await).await;
    assert_eq!(read_mark(&disk(&env, &vm)), "down");
    daemon.stop().await;
}

#[tokio::test]
async fn a_vm_that_stands_still_or_is_down_goes_on_as_it_was() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    // A guest that stood still goes on, too.
    post(&daemon, "web", "pause").await;
    take(&daemon, "web", "one").await;
    for verb in [None, Some("pause"), Some("stop")] {
        if let Some(verb) = verb {
            post(&daemon, "web", verb).await;
        }
        let now = restore(&daemon, "web", "one", false).await.ready().await;
        assert_eq!(now.state, StateName::Running, "{verb:?}");
        assert!(!env.world.is_paused(&vm.id));
        assert_eq!(env.world.renewed(&vm.id).len(), 1, "{verb:?}");
        assert_eq!(env.network.taps(), std::slice::from_ref(&vm.id));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn there_has_to_be_such_a_snapshot() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    create(&daemon, "db").await;
    take(&daemon, "db", "one").await;
    let path = "/v1/vms/web/snapshots/one/restore";
    let refused = daemon.client.call(Method::POST, path, json!({})).await.problem();
    assert_eq!(
        (refused.code, &*refused.message),
        (Code::NotFound, "VM `web` has no snapshot `one`")
    );
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    daemon.stop().await;
}

/// Whoever removes a snapshot while its turn has not come leaves nothing to go back to.
#[tokio::test]
async fn a_vm_is_not_given_up_for_a_snapshot_that_was_removed_meanwhile() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    take(&daemon, "web", "one").await;
    let mut held = env.hold_at("pause.hold-guest web");
    let pausing = post(&daemon, "web", "pause");
    let removing = async {
        held.entered().await;
        let mut events = restore(&daemon, "web", "one", false).await;
        let _ = remove(&daemon, "web", "one").await.ok::<SnapshotView>();
        held.release().await;
        events.failed().await
    };
    let (_, problem) = tokio::join!(pausing, removing);
    assert_eq!(problem.code, Code::NotFound);
    assert_eq!(problem.message, "VM `web` has no snapshot `one`");
    assert!(env.world.is_paused(&vm.id), "given up");
    assert_eq!(post(&daemon, "web", "resume").await.state, StateName::Running);
    daemon.stop().await;
}

#[tokio::test]
async fn what_another_vmm_saved_is_refused_before_anything_is_given_up() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    mark(&disk(&env, &vm), "then");
    take(&daemon, "web", "one").await;
    mark(&disk(&env, &vm), "now!");
    env.world.change_vmm("a better world");
    let refused = restore(&daemon, "web", "one", false).await.failed().await;
    assert_eq!(refused.code, Code::Conflict);
    assert_eq!(refused.causes, ["it was taken with another VMM, or on another processor"]);
    assert!(refused.hints[0].contains("--disk"), "{refused:?}");
    // It runs on, and has done so all the time.
    assert_eq!(show(&daemon, "web").await.started_at, vm.started_at);
    assert_eq!(env.world.running(), std::slice::from_ref(&vm.id));
    assert_eq!(read_mark(&disk(&env, &vm)), "now!");
    restored(&mut restore(&daemon, "web", "one", true).await).await;
    assert_eq!(read_mark(&disk(&env, &vm)), "then");
    start(&daemon, "web").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_kill_and_a_deletion_cut_it_short() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    mark(&disk(&env, &vm), "then");
    take(&daemon, "web", "one").await;
    mark(&disk(&env, &vm), "now!");
    env.world.next_boot(Boot::Silent(String::new()));
    let mut events = restore(&daemon, "web", "one", false).await;
    env.world.launched(2).await;
    until(&daemon, "web", |vm| vm.state == StateName::Booting).await;
    let killed: VmView = daemon.client.call(Method::POST, "/v1/vms/web/kill", ()).await.ok();
    assert_eq!((killed.state, killed.ended), (StateName::Stopped, Some(EndReason::Killed)));
    assert_eq!(events.failed().await.code, Code::Cancelled);
    assert_eq!(env.world.running(), []);
    // It was taken back as far as that, and is of use.
    assert_eq!(read_mark(&disk(&env, &vm)), "then");
    start(&daemon, "web").await;

    env.world.next_boot(Boot::Silent(String::new()));
    let mut events = restore(&daemon, "web", "one", false).await;
    env.world.launched(4).await;
    delete(&daemon, "web").await;
    assert_eq!(events.failed().await.code, Code::Cancelled);
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_guest_that_does_not_go_on_leaves_the_disk_of_then() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    mark(&disk(&env, &vm), "then");
    take(&daemon, "web", "one").await;
    mark(&disk(&env, &vm), "now!");
    env.world.next_boot(Boot::Refused("no such luck".to_owned()));
    let refused = restore(&daemon, "web", "one", false).await.failed().await;
    assert_eq!(refused.causes, ["no such luck"]);
    let now = show(&daemon, "web").await;
    assert_eq!((now.state, now.ended), (StateName::Stopped, Some(EndReason::Restored)));
    assert_eq!(read_mark(&disk(&env, &vm)), "then");
    restore(&daemon, "web", "one", false).await.ready().await;
    daemon.stop().await;
}

/// Has a daemon be killed when a restore of `web` to `one` enters `step`.
async fn killed_at(env: &TestEnv, daemon: TestDaemon, step: &str) -> TestDaemon {
    let mut held = env.hold_at(step);
    let _begun = begin(env, "/v1/vms/web/snapshots/one/restore", json!({})).await;
    held.entered().await;
    daemon.kill().await;
    held.release().await;
    TestDaemon::start(env).await
}

#[tokio::test]
async fn what_a_kill_broke_off_is_finished_by_the_next_start() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = daemon.client.events("/v1/vms", with_env("WHEN", "then")).await.ready().await;
    mark(&disk(&env, &vm), "then");
    take(&daemon, "web", "one").await;
    let env_now = SetVm { env: [("WHEN".to_owned(), "now".to_owned())].into(), ..SetVm::default() };
    let _ = daemon.client.call(Method::PATCH, "/v1/vms/web", env_now).await.ok::<VmView>();
    mark(&disk(&env, &vm), "now!");

    // Before it is recorded, the VM is down as it was.
    let daemon = killed_at(&env, daemon, "restore.end-vmm web").await;
    let now = until(&daemon, "web", |vm| vm.state == StateName::Stopped).await;
    assert_ne!(now.ended, Some(EndReason::Restored));
    assert_eq!(read_mark(&disk(&env, &vm)), "now!");
    start(&daemon, "web").await;
    assert_eq!(env.world.configured(&vm.id).unwrap().env["WHEN"], "now");

    // From then on it is what it is taken back to.
    let daemon = killed_at(&env, daemon, "restore.copy-disk web").await;
    let now = show(&daemon, "web").await;
    assert_eq!((now.state, now.ended), (StateName::Stopped, Some(EndReason::Restored)));
    assert_eq!((env.world.running(), read_mark(&disk(&env, &vm))), (vec![], "now!".to_owned()));
    let refused = remove(&daemon, "web", "one").await.problem();
    assert_eq!(refused.code, Code::Conflict);
    assert_eq!(refused.message, "VM `web` is being taken back to snapshot `one`");
    start(&daemon, "web").await;
    assert_eq!(read_mark(&disk(&env, &vm)), "then");
    assert_eq!(env.world.configured(&vm.id).unwrap().env["WHEN"], "then");
    // That was it.
    mark(&disk(&env, &vm), "now!");
    post(&daemon, "web", "stop").await;
    start(&daemon, "web").await;
    assert_eq!(read_mark(&disk(&env, &vm)), "now!");

    // When all was copied and the guest did not go on yet, the next start boots it.
    let daemon = killed_at(&env, daemon, "restore.launch web").await;
    assert_eq!(read_mark(&disk(&env, &vm)), "then");
    assert_eq!(env.world.running(), []);
    start(&daemon, "web").await;
    let _ = remove(&daemon, "web", "one").await.ok::<SnapshotView>();
    daemon.stop().await;
}

/// Whatever else is done with a VM that was not taken back all the way is done with what it is then.
#[tokio::test]
async fn what_a_kill_broke_off_is_finished_before_anything_else() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    mark(&disk(&env, &vm), "then");
    take(&daemon, "web", "one").await;
    mark(&disk(&env, &vm), "now!");
    let daemon = killed_at(&env, daemon, "restore.copy-disk web").await;
    take(&daemon, "web", "two").await;
    assert_eq!(read_mark(&disk(&env, &vm)), "then");
    mark(&disk(&env, &vm), "more");
    restored(&mut restore(&daemon, "web", "two", true).await).await;
    assert_eq!(read_mark(&disk(&env, &vm)), "then");

    mark(&disk(&env, &vm), "now!");
    start(&daemon, "web").await;
    let daemon = killed_at(&env, daemon, "restore.copy-disk web").await;
    let image = SetVm { image: Some(vm.image.clone()), ..SetVm::default() };
    let _ = daemon.client.call(Method::PATCH, "/v1/vms/web", image).await.ok::<VmView>();
    assert_eq!(read_mark(&disk(&env, &vm)), "then");
    mark(&disk(&env, &vm), "now!");
    start(&daemon, "web").await;
    assert_eq!(read_mark(&disk(&env, &vm)), "now!");
    daemon.stop().await;
}

#[tokio::test]
async fn a_snapshot_that_is_gone_keeps_the_vm_from_starting_until_it_is_taken_elsewhere() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    take(&daemon, "web", "one").await;
    mark(&disk(&env, &vm), "next");
    take(&daemon, "web", "two").await;
    let daemon = killed_at(&env, daemon, "restore.copy-disk web").await;
    // Somebody tidies up.
    fs_err::remove_dir_all(env.paths.vm_state_dir(&vm.id).join("snapshots/one")).unwrap();
    let lost: Problem = daemon.client.events("/v1/vms/web/start", ()).await.failed().await;
    assert_eq!(lost.code, Code::NotFound);
    assert_eq!(lost.message, "cannot take VM `web` back to snapshot `one`");
    assert_eq!(lost.causes, ["it is not there any more"]);
    assert_eq!(lost.hints, ["to take it elsewhere: banger snapshot list web"]);
    assert_eq!(show(&daemon, "web").await.state, StateName::Stopped);
    assert!(!try_take(&daemon, "web", "three").await.status.is_success());
    assert_eq!(shelf(&env, &vm), ["two"]);
    restore(&daemon, "web", "two", false).await.ready().await;
    assert_eq!(read_mark(&disk(&env, &vm)), "next");
    daemon.stop().await;
}
