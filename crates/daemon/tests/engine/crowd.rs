//! Many requests at once: for different VMs, which must not wait for each other, and for the same
//! one, which must not get in each other's way.

use std::collections::BTreeSet;

use banger_proto::Code;
use banger_proto::api::{CreateVm, Event, StateName, VmView};
use banger_testkit::{Boot, TestDaemon, TestEnv};
use futures_util::future::join_all;
use hyper::Method;

use super::{assert_nothing_left, create, delete, in_time, list, named};

/// How the making of a VM ended.
async fn outcome(daemon: &TestDaemon, asked: &CreateVm) -> Result<VmView, Code> {
    let mut events = daemon.client.events("/v1/vms", asked).await;
    events
        .find(|event| match event {
            Event::VmReady { vm, .. } => Some(Ok((**vm).clone())),
            Event::Failed { problem } => Some(Err(problem.code.clone())),
            _ => None,
        })
        .await
}

fn stored(name: &str) -> CreateVm {
    CreateVm { no_start: true, ..named(name) }
}

#[tokio::test]
async fn a_hundred_made_and_deleted_at_once() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let names: BTreeSet<String> = (0..100).map(|index| format!("stored-{index}")).collect();
    let made = join_all(names.iter().map(async |name| outcome(&daemon, &stored(name)).await)).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let listed: BTreeSet<_> = list(&daemon).await.iter().map(|vm| vm.name.to_string()).collect();
    assert_eq!(listed, names);
    // More than the daemon has threads.
    in_time(join_all(names.iter().map(|name| delete(&daemon, name)))).await;
    assert_nothing_left(&env, &daemon).await;
    // Every deletion was followed by a look for files that nothing needs: none of those may have
    // taken the daemon's threads for good.
    in_time(create(&daemon, "web")).await;
    in_time(delete(&daemon, "web")).await;
    daemon.stop().await;
}

#[tokio::test]
async fn twenty_of_one_name_at_once_are_one() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let asked = named("web");
    let outcomes = join_all((0..20).map(async |_| outcome(&daemon, &asked).await)).await;
    let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    assert!(refused.iter().all(|refusal| *refusal == Err(Code::AlreadyExists)), "{refused:?}");
    assert_eq!(list(&daemon).await.len(), 1);
    assert_eq!(env.world.running().len(), 1);
    delete(&daemon, "web").await;
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn twenty_deletions_of_one_vm_at_once() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    let path = "/v1/vms/web";
    let answers = in_time(join_all((0..20).map(|_| daemon.client.call(Method::DELETE, path, ()))));
    // Whoever comes while it is being deleted hears of its end; whoever comes later, that there
    // is none.
    let mut deleted = 0;
    for answer in answers.await {
        if answer.status.is_success() {
            deleted += 1;
        } else {
            assert_eq!(answer.problem().code, Code::NotFound);
        }
    }
    assert!(deleted > 0);
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_boot_that_hangs_holds_nobody_up() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    // More of them than the daemon has threads.
    let slow: Vec<_> = (0..20).map(|index| format!("slow-{index}")).collect();
    let mut hanging = Vec::new();
    for name in &slow {
        env.world.next_boot(Boot::Hangs);
        hanging.push(daemon.client.events("/v1/vms", named(name)).await);
    }
    env.world.launched(20).await;
    in_time(create(&daemon, "web")).await;
    let listed = list(&daemon).await;
    let booting = listed.iter().filter(|vm| vm.state == StateName::Booting).count();
    assert_eq!((booting, listed.len()), (20, 21));
    in_time(delete(&daemon, "web")).await;
    // Cut short by their deletion.
    in_time(join_all(slow.iter().map(|name| delete(&daemon, name)))).await;
    for mut events in hanging {
        assert_eq!(events.failed().await.code, Code::Cancelled);
    }
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}
