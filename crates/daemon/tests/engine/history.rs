//! What is remembered of a VM's life.

use banger_proto::OpId;
use banger_proto::api::{ChangeCause, EndReason, StateName, VmChange, VmView};
use banger_testkit::{TestDaemon, TestEnv};
use hyper::Method;

use ChangeCause::{Create, Itself, Recovery, Start, Stop};
use StateName::{Booting, Created, Preparing, Running, Stopped, Stopping};

use super::{create, delete, list, show, until};

/// States and their causes.
fn outline(history: &[VmChange]) -> Vec<(StateName, ChangeCause)> {
    history.iter().map(|change| (change.state, change.cause)).collect()
}

#[tokio::test]
async fn a_life_is_remembered_with_its_causes() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let id = create(&daemon, "web").await.id;
    let stopped = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await;
    assert_eq!(stopped.ok::<VmView>().state, Stopped);
    let mut started = daemon.client.events("/v1/vms/web/start", serde_json::json!({})).await;
    started.ready().await;
    env.world.lose(&id);
    let vm = until(&daemon, "web", |vm| vm.state == Stopped).await;

    let expected = [
        (Created, Create),
        (Preparing, Create),
        (Booting, Create),
        (Running, Create),
        (Stopping, Stop),
        (Stopped, Stop),
        (Preparing, Start),
        (Booting, Start),
        (Running, Start),
        (Stopped, Itself),
    ];
    assert_eq!(outline(&vm.history), expected);
    // Each request has its id, and what it led to has taken a time.
    let ops: Vec<Option<&OpId>> = vm.history.iter().map(|change| change.op.as_ref()).collect();
    assert!(ops[0].is_some() && ops[0] == ops[3], "{ops:?}");
    assert!(
        ops[4].is_some() && ops[4] == ops[5] && ops[3] != ops[4] && ops[9].is_none(),
        "{ops:?}"
    );
    let timed = vm.history.iter().enumerate().filter(|(_, change)| change.took_ms.is_some());
    assert_eq!(timed.map(|(at, _)| at).collect::<Vec<_>>(), [3, 5, 8]);
    assert_eq!(vm.history[5].ended, Some(EndReason::PoweredOff));
    assert_eq!(vm.history[9].ended, Some(EndReason::Lost));
    // Lists are short.
    assert_eq!(list(&daemon).await[0].history, []);
    daemon.stop().await;
}

#[tokio::test]
async fn history_outlives_the_daemon_and_goes_with_the_vm() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let id = create(&daemon, "web").await.id;
    let before = show(&daemon, "web").await.history;
    daemon.stop().await;
    // Nobody is there to see it.
    env.world.lose(&id);
    let daemon = TestDaemon::start(&env).await;
    let after = show(&daemon, "web").await.history;
    assert_eq!(after[..before.len()], before);
    assert_eq!(outline(&after[before.len()..]), [(Stopped, Recovery)]);
    assert_eq!(after[before.len()].ended, Some(EndReason::Lost));

    delete(&daemon, "web").await;
    // Another VM of the name has a life of its own.
    create(&daemon, "web").await;
    assert_eq!(show(&daemon, "web").await.history.len(), 4);
    daemon.stop().await;
}
