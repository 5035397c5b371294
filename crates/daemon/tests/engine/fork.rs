//! Copies of VMs that run.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use banger_proto::api::{CreateVm, FORK_INDEX, ForkVm, Forked, Publish, StateName, VmView};
use banger_proto::{Code, Problem};
use banger_testkit::{Answer, Boot, TestDaemon, TestEnv};
use hyper::Method;
use serde_json::json;

use super::snapshots::{begin, disk, kill, mark, post, read_mark, shelf};
use super::{create, delete, list, named, show};

async fn try_fork(daemon: &TestDaemon, vm: &str, count: u32, names: &[&str]) -> Answer {
    let asked = json!({ "count": count, "names": names });
    daemon.client.call(Method::POST, &format!("/v1/vms/{vm}/fork"), asked).await
}

async fn fork(daemon: &TestDaemon, vm: &str, count: u32, names: &[&str]) -> Vec<VmView> {
    try_fork(daemon, vm, count, names).await.ok::<Forked>().vms
}

fn names(vms: &[VmView]) -> Vec<&str> {
    vms.iter().map(|vm| vm.name.as_str()).collect()
}

/// What only one VM can have, as the guest was told it.
fn identity(env: &TestEnv, vm: &VmView) -> Vec<String> {
    let told = env.world.renewed(&vm.id).pop();
    let told = told.or_else(|| env.world.configured(&vm.id)).expect("a guest that was told");
    let network = told.network.expect("a network");
    let card = env.world.spec(&vm.id).unwrap().card.unwrap();
    assert_eq!((told.hostname.as_str(), card.mac), (vm.name.as_str(), network.mac));
    assert_eq!(vm.address, Some(network.address));
    let key = told.ssh.expect("keys").host_key;
    let (mac, address) = (network.mac.to_string(), network.address.to_string());
    vec![
        vm.id.to_string(),
        told.hostname,
        told.machine_id,
        mac,
        address,
        key,
        told.random_seed,
        card.tap,
    ]
}

#[tokio::test]
async fn each_copy_is_another_vm() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = port.local_addr().unwrap().port();
    drop(port);
    let published = Publish { address: Ipv4Addr::LOCALHOST.into(), host, guest: 80 };
    let mut asked = CreateVm { publish: [published].into(), autostart: true, ..named("web") };
    asked.env.insert("WHOSE".into(), "all".into());
    let parent = daemon.client.events("/v1/vms", asked).await.ready().await;
    create(&daemon, "web-2").await;
    mark(&disk(&env, &parent), "then");

    let copies = fork(&daemon, "web", 3, &[]).await;
    // The first that are free, in the order of their numbers.
    assert_eq!(names(&copies), ["web-1", "web-3", "web-4"]);
    for (index, copy) in (1..).zip(&copies) {
        assert_eq!(
            (copy.state, copy.ephemeral, copy.autostart),
            (StateName::Running, false, false)
        );
        assert_eq!(
            (copy.vcpu, copy.memory, &copy.image),
            (parent.vcpu, parent.memory, &parent.image)
        );
        assert_eq!(copy.published, BTreeSet::new());
        assert_eq!(read_mark(&disk(&env, copy)), "then");
        let told = env.world.renewed(&copy.id);
        let [told] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&*told.env[FORK_INDEX], &*told.env["WHOSE"]), (&*index.to_string(), "all"));
        let spec = env.world.spec(&copy.id).unwrap();
        assert!(spec.saved.is_some_and(|saved| !saved.paused));
        assert_eq!(shelf(&env, copy), Vec::<String>::new());
    }
    let all: Vec<_> = copies.iter().chain([&parent]).map(|vm| identity(&env, vm)).collect();
    for what in 0..all[0].len() {
        let different: BTreeSet<_> = all.iter().map(|identity| &identity[what]).collect();
        assert_eq!(different.len(), all.len(), "{what}: {all:?}");
    }
    // The VM itself goes on as it was, and nothing is left of what they were copied from.
    let now = show(&daemon, "web").await;
    assert_eq!((now.state, &now.published), (StateName::Running, &parent.published));
    assert!(!env.world.is_paused(&parent.id));
    assert_eq!(env.world.renewed(&parent.id), []);
    assert_eq!(shelf(&env, &parent), Vec::<String>::new());
    assert_eq!((env.world.running().len(), env.network.taps().len()), (5, 5));
    // Each is on its own from here on.
    mark(&disk(&env, &copies[0]), "mine");
    assert_eq!(read_mark(&disk(&env, &parent)), "then");
    delete(&daemon, "web").await;
    post(&daemon, "web-1", "stop").await;
    daemon.client.events("/v1/vms/web-1/start", ()).await.ready().await;
    let booted = env.world.configured(&copies[0].id).unwrap();
    assert_eq!((&*booted.env[FORK_INDEX], &booted.hostname[..]), ("1", "web-1"));
    assert_eq!(booted.machine_id, all[0][2]);
    assert_eq!(read_mark(&disk(&env, &copies[0])), "mine");
    daemon.stop().await;
}

#[tokio::test]
async fn copies_have_the_names_that_were_asked_for() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let parent = create(&daemon, "web").await;
    let copies = fork(&daemon, "web", 3, &["left", "web-1"]).await;
    assert_eq!(names(&copies), ["left", "web-1", "web-2"]);

    let refused =
        async |count, names: &[&str]| try_fork(&daemon, "web", count, names).await.problem();
    let taken = refused(1, &["left"]).await;
    assert_eq!(
        (taken.code, &*taken.message),
        (Code::AlreadyExists, "a VM named `left` exists already")
    );
    assert_eq!(refused(2, &["new", "new"]).await.code, Code::AlreadyExists);
    let many = refused(1, &["a", "b"]).await;
    assert_eq!(
        (many.code, &*many.message),
        (Code::BadRequest, "`2` names are more than `1` copies need")
    );
    for count in [0, 65] {
        let refused = refused(count, &[]).await;
        assert_eq!((refused.code, &*refused.hints[0]), (Code::BadRequest, "1 to 64 can"));
    }
    assert_eq!(refused(1, &["Not a name"]).await.code, Code::BadRequest);
    assert_eq!(try_fork(&daemon, "nobody", 1, &[]).await.problem().code, Code::NotFound);
    // None of these had the VM stand still for it.
    assert_eq!(env.world.clock_set(&parent.id).len(), 1);
    assert_eq!(list(&daemon).await.len(), 4);
    daemon.stop().await;
}

#[tokio::test]
async fn only_what_runs_or_stands_still_is_copied() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let parent = create(&daemon, "web").await;
    post(&daemon, "web", "pause").await;
    let copies = fork(&daemon, "web", 1, &[]).await;
    assert_eq!(copies[0].state, StateName::Running);
    assert!(!env.world.is_paused(&copies[0].id));
    assert_eq!(show(&daemon, "web").await.state, StateName::Paused);
    assert!(env.world.is_paused(&parent.id));
    post(&daemon, "web", "stop").await;
    let refused = try_fork(&daemon, "web", 1, &[]).await.problem();
    assert_eq!(
        (refused.code, &*refused.message),
        (Code::Conflict, "VM `web` does not run: it is stopped")
    );
    assert_eq!(refused.hints, ["banger vm start web"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_copy_can_be_copied() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let parent = create(&daemon, "web").await;
    let child = fork(&daemon, "web", 2, &[]).await.remove(1);
    let grandchild = fork(&daemon, child.name.as_str(), 1, &[]).await.remove(0);
    assert_eq!((child.name.as_str(), grandchild.name.as_str()), ("web-2", "web-2-1"));
    let told = env.world.renewed(&grandchild.id).pop().unwrap();
    assert_eq!(told.env[FORK_INDEX], "1");
    let all = [&parent, &child, &grandchild].map(|vm| identity(&env, vm));
    for what in 0..all[0].len() {
        let different: BTreeSet<_> = all.iter().map(|identity| &identity[what]).collect();
        assert_eq!(different.len(), all.len(), "{what}: {all:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn copies_that_come_up_stay_when_others_do_not() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let parent = create(&daemon, "web").await;
    env.world.next_boot(Boot::Refused("no such luck".to_owned()));
    let problem: Problem = try_fork(&daemon, "web", 3, &[]).await.problem();
    assert_eq!(problem.causes, ["no such luck"]);
    let listed = list(&daemon).await;
    let there: Vec<_> =
        listed.iter().map(|vm| vm.name.as_str()).filter(|name| *name != "web").collect();
    assert_eq!(there.len(), 2);
    let mut sorted = there.clone();
    sorted.sort_unstable();
    let [host, run] = problem.hints.as_slice() else { panic!("{problem:?}") };
    assert!(host.ends_with("banger doctor"), "{host}");
    assert_eq!(*run, format!("these copies run: {}", sorted.join(", ")));
    assert!(listed.iter().all(|vm| vm.state == StateName::Running), "{listed:?}");
    assert_eq!(shelf(&env, &parent), Vec::<String>::new());

    for _ in 0..2 {
        env.world.next_boot(Boot::Refused("no such luck".to_owned()));
    }
    let problem = try_fork(&daemon, "web", 2, &[]).await.problem();
    assert_eq!(list(&daemon).await.len(), 3);
    assert!(!problem.hints.iter().any(|hint| hint.contains("copies run")), "{problem:?}");
    assert!(problem.causes.iter().any(|cause| cause.starts_with("also: ")), "{problem:?}");
    assert_eq!(shelf(&env, &parent), Vec::<String>::new());
    assert!(!env.world.is_paused(&parent.id));
    daemon.stop().await;
}

#[tokio::test]
async fn copies_that_were_begun_come_up_when_a_later_one_cannot_be_recorded() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let parent = create(&daemon, "web").await;
    let database = rusqlite::Connection::open(env.paths.database()).unwrap();
    let refuse = "CREATE TRIGGER full BEFORE INSERT ON vms WHEN NEW.name = 'web-2' \
                  BEGIN SELECT RAISE(ABORT, 'no room'); END";
    database.execute_batch(refuse).unwrap();
    let problem = try_fork(&daemon, "web", 3, &[]).await.problem();
    assert_eq!(problem.hints.last().unwrap(), "these copies run: web-1");
    let mut there: Vec<_> = list(&daemon).await;
    there.retain(|vm| vm.name.as_str() != "web");
    assert_eq!(names(&there), ["web-1"]);
    assert_eq!(there[0].state, StateName::Running);
    assert_eq!(shelf(&env, &parent), Vec::<String>::new());
    database.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(names(&fork(&daemon, "web", 1, &[]).await), ["web-2"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_fork_whose_daemon_is_killed_leaves_no_half_copy() {
    let env = TestEnv::new();
    let mut daemon = TestDaemon::start(&env).await;
    let parent = create(&daemon, "web").await;
    for step in [
        "snapshot.copy-disk web",
        "snapshot.free-guest web",
        "create.record web-1",
        "create.disk web-2",
        "create.greet web-2",
    ] {
        let mut held = env.hold_at(step);
        let asked = ForkVm { count: 2, names: vec![] };
        let asked = serde_json::to_value(asked).unwrap();
        let _begun = begin(&env, "/v1/vms/web/fork", asked).await;
        held.entered().await;
        kill(&env, daemon, held, &parent).await;
        daemon = TestDaemon::start(&env).await;
        // Those that were ready stay.
        for copy in list(&daemon).await.iter().filter(|vm| vm.id != parent.id) {
            assert_eq!((step, copy.state), ("create.greet web-2", StateName::Running), "{copy:?}");
            delete(&daemon, copy.name.as_str()).await;
        }
        assert_eq!(env.world.running(), std::slice::from_ref(&parent.id), "{step}");
        assert!(!env.world.is_paused(&parent.id), "{step}");
        assert_eq!(shelf(&env, &parent), Vec::<String>::new(), "{step}");
        assert_eq!(env.network.taps(), std::slice::from_ref(&parent.id), "{step}");
    }
    assert_eq!(fork(&daemon, "web", 2, &[]).await.len(), 2);
    daemon.stop().await;
}

fn git(top: &Path, args: &[&str]) {
    let mut git = std::process::Command::new("git");
    git.arg("-C").arg(top).args(["-c", "user.name=A", "-c", "user.email=a@b.c"]).args(args);
    git.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", top);
    assert!(git.status().unwrap().success(), "{args:?}");
}

#[tokio::test]
async fn work_comes_home_from_a_copy_by_itself() {
    let env = TestEnv::new();
    let (repo, root) = (env.dir().join("repo"), env.dir().join("guest"));
    fs_err::create_dir_all(&repo).unwrap();
    fs_err::create_dir_all(root.join("root")).unwrap();
    git(&repo, &["init", "-q", "-b", "main"]);
    fs_err::write(repo.join("file"), "committed\n").unwrap();
    git(&repo, &["add", "file"]);
    git(&repo, &["commit", "-q", "-m", "first"]);
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::InDirectory(root.clone()));
    let asked = json!({ "name": "web", "workspace": { "path": repo } });
    let parent = daemon.client.events("/v1/vms", asked).await.ready().await;
    fs_err::write(root.join("root/repo/file"), "before\n").unwrap();

    // What the disk of a real guest has is in a directory here.
    let copied = env.dir().join("copy");
    let copying = std::process::Command::new("cp").arg("-a").args([&root, &copied]).status();
    assert!(copying.unwrap().success());
    env.world.next_boot(Boot::InDirectory(copied.clone()));
    let copy = fork(&daemon, "web", 1, &[]).await.remove(0);
    assert_eq!(copy.workspace, parent.workspace);
    fs_err::write(root.join("root/repo/file"), "parent\n").unwrap();
    fs_err::write(copied.join("root/repo/file"), "copy\n").unwrap();
    delete(&daemon, "web").await;
    let path = "/v1/vms/web-1/workspace/patch?form=patch";
    let exported = daemon.client.call(Method::GET, path, ()).await;
    let patch = String::from_utf8_lossy(&exported.body).into_owned();
    assert!(exported.status.is_success(), "{patch}");
    assert!(patch.contains("-committed") && patch.contains("+copy"), "{patch}");
    daemon.stop().await;
}
