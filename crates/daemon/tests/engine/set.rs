//! Changing VMs that are there.

use banger_proto::api::{ExecVm, SetVm, Setting, StateName, VmView};
use banger_proto::{ByteSize, Code, Problem};
use banger_testkit::{Answer, Boot, TestDaemon, TestEnv};
use hyper::Method;

use super::{create, delete, named, show};

async fn patch(daemon: &TestDaemon, vm: &str, asked: &SetVm) -> Answer {
    daemon.client.call(Method::PATCH, &format!("/v1/vms/{vm}"), asked).await
}

async fn set(daemon: &TestDaemon, vm: &str, asked: &SetVm) -> VmView {
    patch(daemon, vm, asked).await.ok()
}

async fn stop(daemon: &TestDaemon, vm: &str) -> VmView {
    daemon.client.call(Method::POST, &format!("/v1/vms/{vm}/stop"), ()).await.ok()
}

async fn start(daemon: &TestDaemon, vm: &str) -> VmView {
    daemon.client.events(&format!("/v1/vms/{vm}/start"), ()).await.ready().await
}

fn size(text: &str) -> ByteSize {
    text.parse().expect("a size")
}

/// Length of the file of a VM's disk.
fn length(env: &TestEnv, vm: &VmView) -> u64 {
    let disk = env.paths.vm_state_dir(&vm.id).join("writable.ext4");
    fs_err::metadata(disk).expect("a disk").len()
}

fn disk(text: &str) -> SetVm {
    SetVm { disk_size: Some(size(text)), ..SetVm::default() }
}

#[tokio::test]
async fn what_needs_a_start_waits_for_it_also_across_daemons() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let mut asked = named("web");
    asked.env.insert("OLD".into(), "1".into());
    let vm = daemon.client.events("/v1/vms", asked).await.ready().await;
    let change = SetVm {
        vcpu: Some(3),
        memory: Some(size("1G")),
        env: [("NEW".to_owned(), "2".to_owned())].into(),
        unset_env: ["OLD".to_owned()].into(),
        ..SetVm::default()
    };
    let changed = set(&daemon, "web", &change).await;
    let pending = [Setting::Vcpu, Setting::Memory, Setting::Env];
    assert_eq!((changed.vcpu, changed.memory, &changed.pending[..]), (3, size("1G"), &pending[..]));
    let printed = |daemon: &TestDaemon| {
        let argv = ["sh", "-c", "echo $OLD$NEW"].map(str::to_owned).to_vec();
        let client = daemon.client.clone();
        async move {
            let asked = ExecVm { argv, ..ExecVm::default() };
            client.exec("web", &asked).await.unwrap().finish().await.0
        }
    };
    assert_eq!(printed(&daemon).await, "1\n", "what runs is as it was");
    daemon.kill().await;

    let daemon = TestDaemon::start(&env).await;
    assert_eq!(show(&daemon, "web").await.pending, pending);
    assert_eq!(stop(&daemon, "web").await.pending, []);
    assert_eq!(start(&daemon, "web").await.pending, []);
    let spec = env.world.spec(&vm.id).unwrap();
    assert_eq!((spec.vcpu, spec.memory_mib), (3, 1024));
    assert_eq!(printed(&daemon).await, "2\n");
    daemon.stop().await;
}

#[tokio::test]
async fn a_disk_grows_in_a_running_guest() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let grown = set(&daemon, "web", &disk("9G")).await;
    assert_eq!((grown.disk_size, &grown.pending[..]), (size("9G"), &[][..]));
    assert_eq!(length(&env, &vm), 9 << 30);
    assert_eq!(env.world.grown(&vm.id), (vec![size("9G")], vec![9 << 30]));
    // Again makes sure of it.
    set(&daemon, "web", &disk("9G")).await;
    assert_eq!(env.world.grown(&vm.id).1, [9 << 30, 9 << 30]);

    let refused = patch(&daemon, "web", &disk("8G")).await.problem();
    assert_eq!(refused.code, Code::BadRequest);
    assert!(refused.message.contains("of 9G and can only grow"), "{refused:?}");
    stop(&daemon, "web").await;
    let grown = set(&daemon, "web", &disk("10G")).await;
    assert_eq!((grown.state, length(&env, &vm)), (StateName::Stopped, 10 << 30));
    daemon.stop().await;
}

#[tokio::test]
async fn a_guest_that_does_not_answer_gets_its_disk_later() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::FallsSilent);
    let vm = create(&daemon, "web").await;
    let larger = disk("9G");
    let growing = patch(&daemon, "web", &larger);
    let killing = async {
        env.world.shown_growth(&vm.id).await;
        assert_eq!(show(&daemon, "web").await.pending, [Setting::DiskSize]);
        // It waits for the guest; a kill does not.
        daemon.client.call(Method::POST, "/v1/vms/web/kill", ()).await.ok::<VmView>()
    };
    let (problem, killed) = tokio::join!(growing, killing);
    let problem = problem.problem();
    assert_eq!(killed.state, StateName::Stopped);
    assert_eq!(problem.message, "VM `web` runs on with the disk it had");
    assert!(problem.hints[0].contains("from the next start"), "{problem:?}");
    assert_eq!(start(&daemon, "web").await.disk_size, size("9G"));
    assert_eq!(length(&env, &vm), 9 << 30);
    daemon.stop().await;
}

#[tokio::test]
async fn a_daemon_that_was_killed_while_a_disk_grew_is_followed_by_one_that_goes_on() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    // As one leaves it that is killed right after the request was recorded.
    daemon.kill().await;
    let database = rusqlite::Connection::open(env.paths.database()).unwrap();
    let sql = "UPDATE vms SET plan = json_set(plan, '$.disk_size', ?1)";
    assert_eq!(database.execute(sql, [9_i64 << 30]).unwrap(), 1);
    drop(database);
    let daemon = TestDaemon::start(&env).await;
    super::until(&daemon, "web", |vm| vm.pending.is_empty()).await;
    assert_eq!(length(&env, &vm), 9 << 30);
    assert_eq!(env.world.grown(&vm.id), (vec![size("9G")], vec![9 << 30]));
    daemon.stop().await;
}

#[tokio::test]
async fn another_image_is_for_a_vm_that_is_down() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let image = vm.image.clone();
    let asked = SetVm { image: Some(image), vcpu: Some(3), ..SetVm::default() };
    let refused = patch(&daemon, "web", &asked).await.problem();
    assert_eq!((refused.code, &*refused.hints[0]), (Code::Conflict, "banger vm stop web"));
    assert_eq!(show(&daemon, "web").await.vcpu, vm.vcpu, "nothing of it is done");
    assert_eq!(env.world.configured(&vm.id).unwrap().rebuild, 0);
    stop(&daemon, "web").await;
    assert_eq!(set(&daemon, "web", &asked).await.vcpu, 3);
    start(&daemon, "web").await;
    let config = env.world.configured(&vm.id).unwrap();
    assert_eq!((config.rebuild, config.previous_serial.as_deref()), (1, Some("previous")));
    let disks = env.world.spec(&vm.id).unwrap().disks;
    let last = disks.last().unwrap();
    assert_eq!((&*last.serial, last.read_only), ("previous", true));

    // The image before is needed once.
    stop(&daemon, "web").await;
    let asked = SetVm { image: Some("no/such:image".into()), ..SetVm::default() };
    assert!(!patch(&daemon, "web", &asked).await.status.is_success());
    assert_eq!(show(&daemon, "web").await.image, vm.image);
    start(&daemon, "web").await;
    let config = env.world.configured(&vm.id).unwrap();
    assert_eq!((config.rebuild, config.previous_serial), (1, None));
    daemon.stop().await;
}

#[tokio::test]
async fn a_vm_that_is_being_made_is_not_changed() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Silent(String::new()));
    let _events = daemon.client.events("/v1/vms", named("web")).await;
    env.world.launched(1).await;
    let refused: Problem = patch(&daemon, "web", &disk("9G")).await.problem();
    assert_eq!((refused.code, &*refused.causes[0]), (Code::Conflict, "it is still being made"));
    delete(&daemon, "web").await;
    daemon.stop().await;
}
