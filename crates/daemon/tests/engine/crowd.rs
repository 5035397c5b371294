//! Many requests at once: for different VMs, which must not wait for each other, and for the same
//! one, which must not get in each other's way.

use std::collections::BTreeSet;

use banger_proto::Code;
use banger_proto::api::{CreateVm, Event, StateName, VmView};
use banger_testkit::{Boot, TestDaemon, TestEnv};
use futures_util::future::join_all;
use hyper::Method;
use proptest::prelude::*;
use serde_json::json;

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

#[tokio::test]
async fn images_that_do_not_come_hold_nobody_up() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    // A registry that takes connections and never answers.
    let registry = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = registry.local_addr().unwrap();
    let slow: Vec<_> = (0..20).map(|index| format!("slow-{index}")).collect();
    let mut waiting = Vec::new();
    for name in &slow {
        let asked = CreateVm { image: Some(format!("{address}/{name}:1")), ..named(name) };
        waiting.push(daemon.client.events("/v1/vms", asked).await);
    }
    let _asked = in_time(registry.accept()).await.unwrap();

    in_time(create(&daemon, "web")).await;
    in_time(async {
        while list(&daemon).await.iter().filter(|vm| vm.state == StateName::Preparing).count() < 20
        {
        }
    })
    .await;
    in_time(delete(&daemon, "web")).await;
    in_time(join_all(slow.iter().map(|name| delete(&daemon, name)))).await;
    for mut events in waiting {
        assert_eq!(events.failed().await.code, Code::Cancelled);
    }
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

/// What two people do to the same VM.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Create,
    Store,
    Start,
    Stop,
    Kill,
    Restart,
    Delete,
    Prune,
}

/// Does it, and checks that it ends as one of the things that can come of it.
async fn perform(daemon: &TestDaemon, deed: Deed) {
    let verb = |verb: &str| (Method::POST, format!("/v1/vms/web/{verb}"), json!({}));
    let create = |no_start| {
        (Method::POST, "/v1/vms".to_owned(), json!(CreateVm { no_start, ..named("web") }))
    };
    let delete = |query: &str| (Method::DELETE, format!("/v1/vms/web{query}"), json!(null));
    let (method, path, body) = match deed {
        Deed::Create => create(false),
        Deed::Store => create(true),
        Deed::Start => verb("start"),
        Deed::Stop => verb("stop"),
        Deed::Kill => verb("kill"),
        Deed::Restart => verb("restart"),
        Deed::Delete => delete(""),
        Deed::Prune => delete("?only_down=true"),
    };
    let answer = in_time(daemon.client.call(method, &path, body)).await;
    let problem = if answer.status.is_success() {
        let last = answer.body.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
        let last = last.expect("an answer");
        match serde_json::from_slice(last) {
            Ok(Event::Failed { problem }) => problem,
            // A VM, or an event that says that it is ready.
            _ => return,
        }
    } else {
        answer.problem()
    };
    let expected = [Code::NotFound, Code::Conflict, Code::AlreadyExists, Code::Cancelled];
    assert!(expected.contains(&problem.code), "{deed:?}: {problem:#?}");
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        3 => Just(Deed::Create),
        1 => Just(Deed::Store),
        3 => Just(Deed::Start),
        2 => Just(Deed::Stop),
        2 => Just(Deed::Kill),
        1 => Just(Deed::Restart),
        2 => Just(Deed::Delete),
        1 => Just(Deed::Prune),
    ];
    proptest::collection::vec(deed, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn two_at_one_vm_leave_it_whole_or_gone(one in deeds(), other in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let env = TestEnv::new();
            let daemon = TestDaemon::start(&env).await;
            let person = async |deeds: &[Deed]| for deed in deeds {
                perform(&daemon, *deed).await;
            };
            tokio::join!(person(&one), person(&other));
            let left = list(&daemon).await;
            let running = left.iter().filter(|vm| vm.state == StateName::Running);
            let running: Vec<_> = running.map(|vm| vm.id.clone()).collect();
            assert_eq!(env.world.running(), running, "{left:#?}");
            assert!(left.iter().all(|vm| matches!(vm.state, StateName::Running | StateName::Stopped)));
            // As the next daemon finds it.
            daemon.kill().await;
            let daemon = TestDaemon::start(&env).await;
            assert_eq!(list(&daemon).await.len(), left.len());
            for vm in left {
                delete(&daemon, vm.name.as_str()).await;
            }
            assert_nothing_left(&env, &daemon).await;
            daemon.stop().await;
        });
    }
}
