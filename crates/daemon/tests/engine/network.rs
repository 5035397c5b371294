//! VMs on their network: who is on it, what survives a daemon, what is left.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use banger_daemon::dns::{self, Asker, Names, lookup};
use banger_daemon::net::{NetworkOptions, VmNetwork, Wishes};
use banger_proto::api::{
    CreateVm, DaemonStatus, Event, NetworkMode, NetworkStatus, SetVm, Setting, StateName, VmView,
};
use banger_proto::{MacAddress, Problem, VmId};
use banger_testkit::{Answer, TestDaemon, TestEnv};
use hickory_proto::op::Query;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, RecordType};
use hyper::Method;

use super::{create, delete, named, show};

async fn post(daemon: &TestDaemon, vm: &str, what: &str) -> Answer {
    daemon.client.call(Method::POST, &format!("/v1/vms/{vm}/{what}"), ()).await
}

async fn set_nat(daemon: &TestDaemon, vm: &str, nat: bool) -> Answer {
    let asked = SetVm { nat: Some(nat), ..SetVm::default() };
    daemon.client.call(Method::PATCH, &format!("/v1/vms/{vm}"), asked).await
}

/// Which guests the rules know, and which of them reach what lies beyond.
fn rules(env: &TestEnv) -> Vec<(VmId, Ipv4Addr, bool)> {
    let rules = env.network.rules().expect("rules");
    rules.guests.into_iter().map(|guest| (guest.vm, guest.address, guest.nat)).collect()
}

fn address(vm: &VmView) -> Ipv4Addr {
    vm.address.expect("an address")
}

#[tokio::test]
async fn a_vm_is_on_the_network_while_it_runs_and_nothing_is_left_of_it() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    assert!(!env.network.is_made(), "nobody needs one yet");
    let (web, db) = (create(&daemon, "web").await, create(&daemon, "db").await);
    assert_ne!(address(&web), address(&db));
    assert_eq!(env.network.taps().len(), 2);
    assert!(!env.network.has_uplink(), "nobody goes beyond the host");

    // VMM and guest are told the same.
    let card = env.world.spec(&web.id).unwrap().card.expect("a card");
    let told = env.world.configured(&web.id).unwrap().network.expect("a network");
    assert_eq!(card.mac, MacAddress::of_vm(&web.id));
    assert_eq!((told.mac, told.address), (card.mac, address(&web)));
    assert_eq!(told.resolver, told.gateway);

    let stopped: VmView = post(&daemon, "web", "stop").await.ok();
    assert_eq!(stopped.address, None);
    assert_eq!(env.network.taps(), std::slice::from_ref(&db.id));
    assert_eq!(rules(&env), [(db.id.clone(), address(&db), false)]);
    let again = daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    assert_eq!(address(&again), address(&web), "it has its address again");

    delete(&daemon, "web").await;
    delete(&daemon, "db").await;
    assert_eq!(env.network.taps(), []);
    daemon.stop().await;
    assert!(!env.network.is_made(), "the last one takes it away");
}

#[tokio::test]
async fn a_card_that_could_not_be_taken_away_goes_when_that_is_tried_again() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let (web, db) = (create(&daemon, "web").await, create(&daemon, "db").await);
    env.network.break_it("the bridge is busy");
    let refused = daemon.client.call(Method::DELETE, "/v1/vms/web", ()).await.problem();
    assert!(refused.message.contains("cannot take away the network"), "{refused:?}");
    let refused = post(&daemon, "db", "stop").await.problem();
    assert!(refused.message.contains("cannot take away the network"), "{refused:?}");
    assert_eq!(env.network.taps().len(), 2);
    env.network.mend();

    delete(&daemon, "web").await;
    assert_eq!(env.network.taps(), std::slice::from_ref(&db.id));
    // Which VM has its address next is not told, only that one can.
    let next = create(&daemon, "next").await;
    assert_eq!(address(&next), address(&web));
    let again = daemon.client.events("/v1/vms/db/start", ()).await.ready().await;
    assert_eq!(address(&again), address(&db));
    let mut known = rules(&env);
    known.sort();
    let mut there = [next, again].map(|vm| (vm.id.clone(), address(&vm), false));
    there.sort();
    assert_eq!(known, there);
    delete(&daemon, "next").await;
    delete(&daemon, "db").await;
    assert_eq!(env.network.taps(), []);
    daemon.stop().await;
    assert!(!env.network.is_made());
}

#[tokio::test]
async fn a_card_that_was_not_had_and_not_taken_back_goes_with_its_vm() {
    let env = TestEnv::new();
    let options = NetworkOptions { subnet: None, required: false, uid: 1000 };
    let network = VmNetwork::new(env.network.clone(), options, Arc::default());
    let (web, db) = (VmId::from_random([1; 6]), VmId::from_random([2; 6]));
    network.attach(&db, &"db".parse().unwrap(), None, &Wishes::default()).await.unwrap();
    // The helper makes the tap, and nothing after that.
    env.network.break_after_tap("not today");
    let place = network.attach(&web, &"web".parse().unwrap(), None, &Wishes::default()).await;
    assert!(place.unwrap().card.is_err());
    network.detach(&web).await.unwrap_err();
    env.network.mend();
    assert!(env.network.taps().contains(&web));
    network.detach(&web).await.unwrap();
    assert_eq!(env.network.taps(), [db]);
}

#[tokio::test]
async fn a_network_that_is_gone_holds_up_no_deletion() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let web = create(&daemon, "web").await;
    env.network.lose();
    delete(&daemon, "web").await;
    let next = create(&daemon, "next").await;
    assert_eq!(address(&next), address(&web));
    assert_eq!(env.network.taps(), [next.id]);
    daemon.stop().await;
}

#[tokio::test]
async fn the_network_outlives_the_daemon_with_the_vms_on_it() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let asked = CreateVm { nat: Some(true), ..named("web") };
    let web = daemon.client.events("/v1/vms", asked).await.ready().await;
    let down = create(&daemon, "down").await;
    let _: VmView = post(&daemon, "down", "stop").await.ok();
    daemon.stop().await;
    assert!(env.network.is_made());
    // As a daemon leaves it that is killed between two steps.
    let stray = VmId::from_random([9; 6]);
    env.network.leave_tap(stray);

    let daemon = TestDaemon::start(&env).await;
    assert_eq!(env.network.taps(), std::slice::from_ref(&web.id));
    assert_eq!(rules(&env), [(web.id.clone(), address(&web), true)]);
    assert_eq!(show(&daemon, "web").await.address, web.address);
    let third = create(&daemon, "third").await;
    assert!(![web.address, down.address].contains(&third.address), "both are remembered");
    daemon.kill().await;
    env.world.lose(&web.id);
    env.world.lose(&third.id);

    let daemon = TestDaemon::start(&env).await;
    assert!(!env.network.is_made(), "nobody is on it any more");
    assert_eq!(show(&daemon, "web").await.state, StateName::Stopped);
    daemon.stop().await;
}

#[tokio::test]
async fn the_way_out_opens_and_closes_while_a_vm_runs() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let web = create(&daemon, "web").await;
    assert!(!web.nat);
    let changed: VmView = set_nat(&daemon, "web", true).await.ok();
    assert!(changed.nat && changed.pending.is_empty() && env.network.has_uplink());
    assert_eq!(rules(&env), [(web.id.clone(), address(&web), true)]);
    env.network.break_it("no way out today");
    let problem = set_nat(&daemon, "web", false).await.problem();
    assert!(problem.message.contains("no way out today"), "{problem:?}");
    assert!(show(&daemon, "web").await.nat, "nothing has changed");
    env.network.mend();
    let changed: VmView = set_nat(&daemon, "web", false).await.ok();
    assert!(!changed.nat);
    assert_eq!(rules(&env), [(web.id, address(&changed), false)]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_way_out_that_ends_is_opened_again_while_somebody_needs_it() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let asked = CreateVm { nat: Some(true), ..named("web") };
    daemon.client.events("/v1/vms", asked).await.ready().await;
    env.network.uplink_opened(1).await;
    env.network.end_uplink();
    env.network.uplink_opened(2).await;
    daemon.stop().await;
}

#[tokio::test]
async fn where_there_can_be_no_network_only_those_run_that_need_none() {
    let env = TestEnv::new();
    env.network.break_it("user namespaces are switched off");
    let daemon = TestDaemon::start(&env).await;
    let asked = CreateVm { nat: Some(true), ..named("needs") };
    let problem: Problem = daemon.client.events("/v1/vms", asked).await.failed().await;
    assert!(problem.message.contains("user namespaces are switched off"), "{problem:?}");
    assert!(problem.hints.iter().any(|hint| hint.contains("banger doctor")), "{problem:?}");

    let mut events = daemon.client.events("/v1/vms", named("web")).await;
    let told = |event: &Event| match event {
        Event::Notice { text } => text.strip_prefix("the VM has no network: ").map(str::to_owned),
        _ => None,
    };
    let why = events.find(told).await;
    assert!(why.contains("user namespaces are switched off"), "{why}");
    let web = events.ready().await;
    assert_eq!(web.address, None);
    assert_eq!(env.world.spec(&web.id).unwrap().card, None);
    assert_eq!(env.world.configured(&web.id).unwrap().network, None);
    // It cannot be given a card while it runs.
    env.network.mend();
    let changed: VmView = set_nat(&daemon, "web", true).await.ok();
    assert_eq!(changed.pending, [Setting::Nat]);
    let _: VmView = post(&daemon, "web", "stop").await.ok();
    let again = daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    assert_eq!(rules(&env), [(again.id.clone(), address(&again), true)]);
    daemon.stop().await;
}

#[tokio::test]
async fn the_daemon_tells_how_its_network_is() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let status = async || daemon.client.get::<DaemonStatus>("/v1/daemon").await.network;
    assert_eq!(status().await, NetworkStatus::default());
    create(&daemon, "web").await;
    let up = status().await;
    assert_eq!((up.vms, up.way_out, &up.problem), (1, false, &None));
    assert!(up.subnet.is_some());
    set_nat(&daemon, "web", true).await;
    assert!(status().await.way_out);
    delete(&daemon, "web").await;
    assert_eq!(status().await.vms, 0);

    env.network.break_it("not on this host");
    create(&daemon, "alone").await;
    let problem = status().await.problem.expect("a problem");
    assert!(problem.ends_with("not on this host"), "{problem}");
    env.network.mend();
    create(&daemon, "web").await;
    assert_eq!(status().await.problem, None);
    daemon.stop().await;
}

#[tokio::test]
async fn in_the_hosts_network_its_resolver_asks_for_names() {
    let env = TestEnv::new();
    env.network.be_the_systems();
    let daemon = TestDaemon::start(&env).await;
    let port = async |daemon: &TestDaemon| {
        let status: DaemonStatus = daemon.client.get("/v1/daemon").await;
        assert_eq!(status.network.mode, NetworkMode::System);
        status.dns.listen.unwrap().parse::<SocketAddr>().unwrap().port()
    };
    let first = port(&daemon).await;
    create(&daemon, "web").await;
    assert_eq!(env.network.names_routed(1).await, [first]);
    create(&daemon, "db").await;
    assert_eq!(env.network.names_routed(2).await, [first, first]);
    daemon.stop().await;

    // The next daemon may answer elsewhere. A resolver that hears nothing of it is no VM's fault.
    env.network.break_resolver("there is none");
    let daemon = TestDaemon::start(&env).await;
    let second = port(&daemon).await;
    assert_eq!(env.network.names_routed(3).await, [first, first, second]);
    create(&daemon, "third").await;
    env.network.names_routed(4).await;
    let status: DaemonStatus = daemon.client.get("/v1/daemon").await;
    assert_eq!(status.network.names_problem.as_deref(), Some("there is none"));
    assert_eq!((status.network.problem, status.network.vms), (None, 3));
    daemon.stop().await;
}

#[tokio::test]
async fn a_vm_is_reached_where_the_host_is() {
    for system in [false, true] {
        let env = TestEnv::new();
        if system {
            env.network.be_the_systems();
        }
        let names = Arc::new(Names::default());
        let options = NetworkOptions { subnet: None, required: false, uid: 1000 };
        let network = VmNetwork::new(env.network.clone(), options, Arc::clone(&names));
        let (vm, name) = (VmId::from_random([1; 6]), "web".parse().unwrap());
        let place = network.attach(&vm, &name, None, &Wishes::default()).await.unwrap();
        let said = || {
            let name = Name::from_ascii("web.vm.").unwrap();
            let zone = names.subscribe().borrow().clone();
            lookup(&zone, Asker::Host, &Query::query(name, RecordType::A))
        };
        let at = |address| dns::Answer::Data(RData::A(A(address)));
        let (own, loopback) = (place.card.unwrap().guest.address, network.loopback(place.lease));
        assert_eq!(said(), at(if system { own } else { loopback }));
        network.detach(&vm).await.unwrap();

        // Without a card it is reached over the guest link all the same.
        env.network.break_it("not today");
        let place = network.attach(&vm, &name, None, &Wishes::default()).await.unwrap();
        assert!(place.card.is_err());
        assert_eq!(said(), at(loopback));
    }
}
