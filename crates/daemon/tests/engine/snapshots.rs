//! Snapshots that are taken, listed and removed, and what is left of one that could not be kept.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use banger_proto::api::{Garbage, SetVm, SnapshotList, SnapshotView, StateName, VmView};
use banger_proto::{ByteSize, Code, Problem};
use banger_testkit::{Answer, Events, HeldStep, TestDaemon, TestEnv};
use hyper::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::garbage::write_launch_file;
use super::{assert_nothing_left, create, delete, in_time, show};

/// The VM's disk.
pub(super) fn disk(env: &TestEnv, vm: &VmView) -> PathBuf {
    env.paths.vm_state_dir(&vm.id).join("writable.ext4")
}

/// Has the disk say `text`, which is four bytes, where its file system keeps nothing.
pub(super) fn mark(disk: &Path, text: &str) {
    let file = fs_err::OpenOptions::new().write(true).open(disk).unwrap();
    file.file().write_all_at(text.as_bytes(), 0).unwrap();
}

/// What a disk was marked with.
pub(super) fn read_mark(disk: &Path) -> String {
    let mut mark = [0; 4];
    fs_err::File::open(disk).unwrap().file().read_exact_at(&mut mark, 0).unwrap();
    String::from_utf8_lossy(&mark).into_owned()
}

/// What lies where the VM's snapshots are.
pub(super) fn shelf(env: &TestEnv, vm: &VmView) -> Vec<String> {
    names(&env.paths.vm_state_dir(&vm.id).join("snapshots"))
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

pub(super) async fn try_take(daemon: &TestDaemon, vm: &str, name: &str) -> Answer {
    let asked = json!({ "name": name });
    daemon.client.call(Method::POST, &format!("/v1/vms/{vm}/snapshots"), asked).await
}

pub(super) async fn take(daemon: &TestDaemon, vm: &str, name: &str) -> SnapshotView {
    try_take(daemon, vm, name).await.ok()
}

/// Asks for something whose daemon is going to be killed, so that nobody waits for the answer. Dropped, the
/// connection is closed.
pub(super) async fn begin(env: &TestEnv, path: &str, body: serde_json::Value) -> UnixStream {
    let mut stream = UnixStream::connect(env.paths.daemon_socket()).await.unwrap();
    let (body, kind) = (body.to_string(), "content-type: application/json");
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: banger\r\n{kind}\r\ncontent-length: {length}");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
    stream
}

/// Kills the daemon that is held at a step. A daemon in a thread still drops what it has, which a kill does
/// not: what is being written of the VM's snapshots is left as it lies.
pub(super) async fn kill(env: &TestEnv, daemon: TestDaemon, held: HeldStep, vm: &VmView) {
    let shelf = env.paths.vm_state_dir(&vm.id).join("snapshots");
    let aside = env.dir().join("aside");
    for entry in names(&shelf).iter().filter(|name| name.starts_with(".taking-")) {
        fs_err::create_dir_all(&aside).unwrap();
        let mut copy = Command::new("cp");
        copy.arg("-a").args([shelf.join(entry), aside.join(entry)]);
        assert!(copy.status().unwrap().success());
    }
    daemon.kill().await;
    held.release().await;
    for entry in names(&aside) {
        let _ = fs_err::remove_dir_all(shelf.join(&entry));
        fs_err::rename(aside.join(&entry), shelf.join(&entry)).unwrap();
    }
}

pub(super) async fn restore(daemon: &TestDaemon, vm: &str, name: &str, disk_only: bool) -> Events {
    let path = format!("/v1/vms/{vm}/snapshots/{name}/restore");
    daemon.client.events(&path, json!({ "disk_only": disk_only })).await
}

pub(super) async fn post(daemon: &TestDaemon, vm: &str, verb: &str) -> VmView {
    daemon.client.call(Method::POST, &format!("/v1/vms/{vm}/{verb}"), ()).await.ok()
}

pub(super) async fn list(daemon: &TestDaemon, query: &str) -> Vec<String> {
    let listed: SnapshotList = daemon.client.get(&format!("/v1/snapshots{query}")).await;
    let names = listed.snapshots.iter().map(|found| format!("{}/{}", found.vm_name, found.name));
    names.collect()
}

pub(super) async fn remove(daemon: &TestDaemon, vm: &str, name: &str) -> Answer {
    let path = format!("/v1/vms/{vm}/snapshots/{name}");
    daemon.client.call(Method::DELETE, &path, ()).await
}

#[tokio::test]
async fn a_vm_that_runs_is_written_with_its_memory_and_goes_on() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    mark(&disk(&env, &vm), "then");
    let taken = take(&daemon, "web", "one").await;
    assert_eq!((&taken.vm, taken.vm_name.as_str(), taken.memory), (&vm.id, "web", true));
    assert!(taken.size > ByteSize::from_bytes(0), "{taken:?}");
    assert!(taken.taken_at.parse::<jiff::Timestamp>().is_ok(), "{taken:?}");
    assert_eq!(shelf(&env, &vm), ["one"]);
    let directory = env.paths.vm_state_dir(&vm.id).join("snapshots/one");
    // What tried it has left nothing there.
    assert_eq!(names(&directory), ["snapshot.json", "state", "writable.ext4"]);
    assert_eq!(read_mark(&directory.join("writable.ext4")), "then");
    assert_eq!(env.world.running(), std::slice::from_ref(&vm.id));
    assert_eq!(env.network.taps(), std::slice::from_ref(&vm.id));
    assert_eq!(names(&env.paths.runtime_dir.join("vms")), Vec::<String>::new());
    // It goes on, at the time that it is.
    assert!(!env.world.is_paused(&vm.id));
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    assert_eq!(env.world.clock_set(&vm.id).len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_vm_that_stands_still_goes_on_standing_still() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    post(&daemon, "web", "pause").await;
    assert!(take(&daemon, "web", "one").await.memory);
    assert!(env.world.is_paused(&vm.id));
    assert_eq!(show(&daemon, "web").await.state, StateName::Paused);
    assert_eq!(env.world.clock_set(&vm.id), []);
    env.world.refuse_next_proof("a bit is wrong");
    assert!(!try_take(&daemon, "web", "two").await.status.is_success());
    assert!(env.world.is_paused(&vm.id));
    daemon.stop().await;
}

#[tokio::test]
async fn a_vm_that_is_down_has_a_disk_and_no_memory() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    post(&daemon, "web", "stop").await;
    mark(&disk(&env, &vm), "then");
    assert!(!take(&daemon, "web", "one").await.memory);
    let directory = env.paths.vm_state_dir(&vm.id).join("snapshots/one");
    assert_eq!(names(&directory), ["snapshot.json", "writable.ext4"]);
    assert_eq!(read_mark(&directory.join("writable.ext4")), "then");
    assert_eq!(show(&daemon, "web").await.state, StateName::Stopped);
    daemon.stop().await;
}

/// What was changed and waits for the next start is not in the guest that is saved.
#[tokio::test]
async fn a_guest_is_saved_as_it_was_started() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let change = SetVm {
        vcpu: Some(3),
        memory: Some(ByteSize::from_mib(1024)),
        env: [("NEW".to_owned(), "1".to_owned())].into(),
        ..SetVm::default()
    };
    let change = daemon.client.call(Method::PATCH, "/v1/vms/web", change).await;
    assert_eq!(change.ok::<VmView>().pending.len(), 3);
    take(&daemon, "web", "one").await;
    let restored = restore(&daemon, "web", "one", false).await.ready().await;
    assert_eq!((restored.vcpu, restored.memory, restored.pending), (vm.vcpu, vm.memory, vec![]));
    let renewed = env.world.renewed(&vm.id);
    assert!(!renewed[0].env.contains_key("NEW"), "{renewed:?}");

    // The same of the image before, which a guest that was given another one has among its disks.
    post(&daemon, "web", "stop").await;
    let image = SetVm { image: Some(vm.image.clone()), ..SetVm::default() };
    let _ = daemon.client.call(Method::PATCH, "/v1/vms/web", image).await.ok::<VmView>();
    daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    assert_eq!(env.world.spec(&vm.id).unwrap().disks.len(), 3);
    take(&daemon, "web", "two").await;
    restore(&daemon, "web", "two", false).await.ready().await;
    // The guest has that disk still, and is saved with it.
    take(&daemon, "web", "three").await;
    post(&daemon, "web", "stop").await;
    daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    assert_eq!(env.world.spec(&vm.id).unwrap().disks.len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn a_name_is_that_of_one_snapshot_of_a_vm() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    create(&daemon, "db").await;
    take(&daemon, "web", "one").await;
    take(&daemon, "db", "one").await;
    let taken: Problem = try_take(&daemon, "web", "one").await.problem();
    assert_eq!(taken.code, Code::AlreadyExists);
    assert_eq!(taken.message, "VM `web` has a snapshot `one` already");
    assert_eq!(taken.hints, ["banger snapshot delete web one"]);
    for bad in ["", "-x", "x-", "A", "a/b", "..", ".taking-x"] {
        assert_eq!(try_take(&daemon, "web", bad).await.problem().code, Code::BadRequest, "{bad}");
    }
    assert_eq!(try_take(&daemon, "nobody", "one").await.problem().code, Code::NotFound);
    // Without one, it is the time: one that is a name, and that files can have.
    let named: SnapshotView =
        daemon.client.call(Method::POST, "/v1/vms/web/snapshots", json!({})).await.ok();
    let parsed = jiff::civil::DateTime::strptime("%Y-%m-%d-%H%M%S", named.name.as_str());
    assert!(parsed.is_ok(), "{named:?}");
    assert_eq!(shelf(&env, &vm), [named.name.as_str(), "one"]);

    // Two at once: the second finds out when it would be kept.
    let mut held = env.hold_at("snapshot.keep-snapshot web");
    let both =
        async { tokio::join!(try_take(&daemon, "web", "two"), try_take(&daemon, "web", "two")) };
    let (both, ()) = tokio::join!(both, async {
        held.entered_by(2).await;
        held.release().await;
    });
    let (kept, refused) = match both.0.status.is_success() {
        true => both,
        false => (both.1, both.0),
    };
    assert_eq!(kept.ok::<SnapshotView>().name.as_str(), "two");
    assert_eq!(refused.problem().code, Code::AlreadyExists);
    assert_eq!(shelf(&env, &vm).len(), 3);
    daemon.stop().await;
}

#[tokio::test]
async fn those_of_one_vm_or_of_all_are_listed_and_one_is_removed() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let web = create(&daemon, "web").await;
    create(&daemon, "db").await;
    assert_eq!(list(&daemon, "").await, Vec::<String>::new());
    for (vm, name) in [("web", "b"), ("db", "c"), ("web", "a")] {
        take(&daemon, vm, name).await;
    }
    // The oldest of each first, not by their names.
    assert_eq!(list(&daemon, "").await, ["web/b", "web/a", "db/c"]);
    assert_eq!(list(&daemon, "?vm=web").await, ["web/b", "web/a"]);
    assert_eq!(list(&daemon, &format!("?vm={}", web.id)).await, ["web/b", "web/a"]);
    let unknown = daemon.client.call(Method::GET, "/v1/snapshots?vm=nobody", ()).await;
    assert_eq!(unknown.problem().code, Code::NotFound);
    // Also by the next daemon.
    daemon.kill().await;
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(list(&daemon, "").await, ["web/b", "web/a", "db/c"]);

    let was: SnapshotView = remove(&daemon, "web", "b").await.ok();
    assert_eq!((was.name.as_str(), was.memory), ("b", true));
    assert_eq!(shelf(&env, &web), ["a"]);
    let gone: Problem = remove(&daemon, "web", "b").await.problem();
    assert_eq!(
        (gone.code, gone.message.as_str()),
        (Code::NotFound, "VM `web` has no snapshot `b`")
    );
    assert_eq!(gone.hints, ["banger snapshot list web"]);
    take(&daemon, "web", "b").await;
    assert_eq!(list(&daemon, "?vm=web").await, ["web/a", "web/b"]);
    daemon.stop().await;
}

#[tokio::test]
async fn what_cannot_be_gone_on_from_is_not_kept() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    env.world.refuse_next_proof("a bit is wrong");
    let refused: Problem = try_take(&daemon, "web", "one").await.problem();
    assert_eq!(refused.message, "what was saved of the guest is of no use");
    assert_eq!(refused.causes, ["a bit is wrong"]);
    assert_eq!(shelf(&env, &vm), Vec::<String>::new());
    assert_eq!(list(&daemon, "").await, Vec::<String>::new());
    // Nothing has happened to the VM, and nobody is left who tried.
    assert_eq!(env.world.running(), std::slice::from_ref(&vm.id));
    assert_eq!(env.network.taps(), std::slice::from_ref(&vm.id));
    assert!(!env.world.is_paused(&vm.id));
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    take(&daemon, "web", "one").await;
    daemon.stop().await;
}

#[tokio::test]
async fn snapshots_go_with_their_vm() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    take(&daemon, "web", "one").await;
    delete(&daemon, "web").await;
    assert_nothing_left(&env, &daemon).await;
    assert_eq!(list(&daemon, "").await, Vec::<String>::new());
    // Also while one is tried, which then comes to nothing.
    create(&daemon, "web").await;
    for step in ["snapshot.prove web", "snapshot.report web", "snapshot.keep-snapshot web"] {
        let mut held = env.hold_at(step);
        let taking = try_take(&daemon, "web", "one");
        let deleting = async {
            held.entered().await;
            delete(&daemon, "web").await;
            held.release().await;
        };
        let (taken, ()) = tokio::join!(taking, deleting);
        assert_eq!(taken.problem().code, Code::OperationFailed, "{step}");
        assert_nothing_left(&env, &daemon).await;
        create(&daemon, "web").await;
    }
    delete(&daemon, "web").await;
    assert_eq!(env.network.taps(), []);
    daemon.stop().await;
}

/// A kill at each step: the next daemon has the guest go on, ends who tried what it was saved as, and
/// removes that.
#[tokio::test]
async fn a_snapshot_whose_daemon_is_killed_comes_to_nothing() {
    let env = TestEnv::new();
    let mut daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    take(&daemon, "web", "old").await;
    let stands_still = ["copy-disk", "free-guest"];
    let steps = ["save-guest", "prove", "report", "end-vmm", "keep-snapshot"];
    for step in steps.into_iter().chain(stands_still) {
        let mut held = env.hold_at(&format!("snapshot.{step} web"));
        let _begun = begin(&env, "/v1/vms/web/snapshots", json!({ "name": "new" })).await;
        held.entered().await;
        let times = env.world.clock_set(&vm.id).len();
        assert_eq!(env.world.is_paused(&vm.id), stands_still.contains(&step), "{step}");
        assert_eq!(shelf(&env, &vm).len(), 2, "{step}");
        kill(&env, daemon, held, &vm).await;
        daemon = TestDaemon::start(&env).await;
        assert_eq!(shelf(&env, &vm), ["old"], "{step}");
        assert_eq!(env.world.running(), std::slice::from_ref(&vm.id), "{step}");
        assert!(!env.world.is_paused(&vm.id), "{step}");
        assert_eq!(show(&daemon, "web").await.state, StateName::Running, "{step}");
        if stands_still.contains(&step) {
            // Nobody else tells it how long it stood still.
            in_time(async {
                while env.world.clock_set(&vm.id).len() == times {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }
    restore(&daemon, "web", "old", false).await.ready().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_guest_that_a_killed_daemon_held_while_it_was_paused_stays_so() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    post(&daemon, "web", "pause").await;
    let mut held = env.hold_at("snapshot.copy-disk web");
    let _begun = begin(&env, "/v1/vms/web/snapshots", json!({})).await;
    held.entered().await;
    kill(&env, daemon, held, &vm).await;
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(shelf(&env, &vm), Vec::<String>::new());
    assert!(env.world.is_paused(&vm.id));
    assert_eq!(show(&daemon, "web").await.state, StateName::Paused);
    assert_eq!(post(&daemon, "web", "resume").await.state, StateName::Running);
    daemon.stop().await;
}

/// Who tries a snapshot is no VM that is recorded, and is not left behind either.
#[tokio::test]
async fn who_tries_a_snapshot_is_no_garbage() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let mut held = env.hold_at("snapshot.report web");
    let taking = try_take(&daemon, "web", "one");
    let collecting = async {
        held.entered().await;
        let probe = env.world.running().into_iter().find(|id| *id != vm.id);
        let probe = probe.expect("somebody who tries it");
        // As the supervisor of one does.
        write_launch_file(&env, &probe, &vm.console_log);
        let asked = json!({ "dry_run": false });
        let garbage = daemon.client.call(Method::POST, "/v1/system/gc", asked).await;
        assert_eq!(garbage.ok::<Garbage>(), Garbage::default());
        assert!(env.paths.vm_runtime_dir(&probe).exists());
        held.release().await;
    };
    let (taken, ()) = tokio::join!(taking, collecting);
    let _ = taken.ok::<SnapshotView>();
    daemon.stop().await;
}

/// Gives the image's name another file.
fn replace_image(env: &TestEnv, name: &str) {
    let images = env.paths.images_dir();
    let manifest = images.join(format!("{name}.json"));
    let text = fs_err::read_to_string(&manifest).unwrap();
    fs_err::write(images.join("newer.ext4"), "").unwrap();
    fs_err::write(manifest, text.replace("of-a-test.ext4", "newer.ext4")).unwrap();
}

/// An image stays as long as a snapshot is of a VM that was made from it.
#[tokio::test]
async fn what_a_snapshot_is_over_stays_as_long_as_it() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    take(&daemon, "web", "one").await;
    let (old, name) = (env.paths.images_dir().join("of-a-test.ext4"), vm.image.clone());
    assert!(old.exists());
    post(&daemon, "web", "stop").await;
    replace_image(&env, &name);
    let image = SetVm { image: Some(name), ..SetVm::default() };
    let _ = daemon.client.call(Method::PATCH, "/v1/vms/web", &image).await.ok::<VmView>();
    daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    post(&daemon, "web", "stop").await;
    let prune = async || daemon.client.call(Method::POST, "/v1/images/prune", ()).await.status;
    assert!(prune().await.is_success());
    assert!(old.exists(), "the snapshot's disk is over it");
    restore(&daemon, "web", "one", false).await.ready().await;
    assert_eq!(env.world.spec(&vm.id).unwrap().disks[0].path, old);

    post(&daemon, "web", "stop").await;
    let _ = daemon.client.call(Method::PATCH, "/v1/vms/web", image).await.ok::<VmView>();
    daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    post(&daemon, "web", "stop").await;
    let _ = remove(&daemon, "web", "one").await.ok::<SnapshotView>();
    assert!(prune().await.is_success());
    assert!(!old.exists(), "nothing is over it any more");
    daemon.stop().await;
}
