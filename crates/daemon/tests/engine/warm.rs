//! VMs that begin as copies of one that has booted.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use banger_proto::api::CreateVm;
use banger_testkit::{Boot, TestDaemon, TestEnv};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};

use crate::{create, named, show};

/// Follows what is kept beneath the directory of templates.
struct Templates(OwnedFd);

impl Templates {
    fn follow(env: &TestEnv) -> Self {
        let directory = env.paths.state_dir.join("warm");
        fs_err::create_dir_all(&directory).unwrap();
        let inotify = init(CreateFlags::CLOEXEC).unwrap();
        add_watch(&inotify, &directory, WatchFlags::MOVED_TO).unwrap();
        Self(inotify)
    }

    /// Waits until one more is kept.
    async fn kept(&self) {
        let inotify = self.0.try_clone().unwrap();
        let waiting = tokio::task::spawn_blocking(move || {
            let mut buffer = [MaybeUninit::uninit(); 1024];
            Reader::new(inotify, &mut buffer).next().map(drop).unwrap();
        });
        tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await.unwrap().unwrap();
    }
}

fn warm() -> TestEnv {
    let mut env = TestEnv::new();
    env.config.warm_starts.value = true;
    env
}

#[tokio::test]
async fn the_second_begins_where_the_first_had_to_boot() {
    let env = warm();
    let templates = Templates::follow(&env);
    let daemon = TestDaemon::start(&env).await;
    let first = create(&daemon, "first").await;
    assert!(!first.warm);
    templates.kept().await;
    let second = create(&daemon, "second").await;
    assert!(second.warm);
    // It is told who it is, and has nothing of the template's or of the first.
    let told = env.world.renewed(&second.id);
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(told.hostname, "second");
    let other = env.world.configured(&first.id).unwrap();
    assert_ne!(told.machine_id, other.machine_id);
    assert_ne!(told.random_seed, other.random_seed);
    assert!(told.ssh.is_some() && told.ssh != other.ssh);
    // It is as any other from then on, also under the next daemon, which has the template, too.
    daemon.stop().await;
    let daemon = TestDaemon::start(&env).await;
    assert!(show(&daemon, "second").await.warm);
    assert!(create(&daemon, "third").await.warm);
    // Of another size, or if it is not wanted, a VM boots.
    let larger = CreateVm { vcpu: Some(7), ..named("larger") };
    assert!(!daemon.client.events("/v1/vms", larger).await.ready().await.warm);
    let cold = CreateVm { cold: true, ..named("cold") };
    assert!(!daemon.client.events("/v1/vms", cold).await.ready().await.warm);
    daemon.stop().await;
}

#[tokio::test]
async fn whoever_cannot_begin_from_a_template_boots() {
    let env = warm();
    let templates = Templates::follow(&env);
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "first").await;
    templates.kept().await;
    env.world.next_boot(Boot::Refused("no such memory".to_owned()));
    let booted = create(&daemon, "second").await;
    assert!(!booted.warm);
    assert_eq!(env.world.renewed(&booted.id), []);
    assert_eq!(env.world.configured(&booted.id).unwrap().hostname, "second");
    // It is not tried again.
    assert!(!create(&daemon, "third").await.warm);
    daemon.stop().await;
}

#[tokio::test]
async fn a_template_that_cannot_be_made_is_nobodys_trouble() {
    let env = warm();
    let daemon = TestDaemon::start(&env).await;
    env.world.refuse_next_proof("it does not go on");
    create(&daemon, "first").await;
    env.world.launched(2).await;
    assert!(!create(&daemon, "second").await.warm);
    daemon.stop().await;
    // Nothing of it runs, and the next daemon removes what is left.
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(env.world.running().len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn a_daemon_that_ends_leaves_no_template_half_made() {
    let env = warm();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Works);
    env.world.next_boot(Boot::Silent(String::new()));
    let first = create(&daemon, "first").await;
    env.world.launched(2).await;
    daemon.stop().await;
    assert_eq!(env.world.running(), [first.id]);
}
