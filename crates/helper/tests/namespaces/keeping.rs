//! Rules in the host's network that somebody else takes away, in whole or in part: they come back, and what
//! is nobody's doing but the helper's is left alone.

use std::io::Read;
use std::process::Stdio;
use std::time::Instant;

use banger_proto::helper::{GuestRules, Request, Rules};

use crate::host::{Host, ME, network, open};
use crate::rig::{DEADLINE, Helper, Namespaces, Process, closed, rules, sockets, subnet};

/// Everything that there is of rules, without what is counted.
fn ruleset(namespaces: &Namespaces) -> String {
    String::from_utf8(namespaces.do_inside("nft -s list ruleset").stdout).expect("text")
}

/// The tables, with their numbers: one that was loaded again has another, higher one.
fn tables(namespaces: &Namespaces) -> String {
    String::from_utf8(namespaces.do_inside("nft -j list tables").stdout).expect("text")
}

/// The highest of these numbers: it grows by the same with each time that rules are loaded.
fn loaded(namespaces: &Namespaces) -> u64 {
    let seen = namespaces.see("nft -j list tables");
    let tables = seen["nftables"].as_array().expect("a list").iter();
    tables.filter_map(|part| part["table"]["handle"].as_u64()).max().expect("a table")
}

fn do_and_wait(namespaces: &Namespaces, program: &str, wanted: &str) {
    let before = tables(namespaces);
    let words: Vec<&str> = program.split(' ').collect();
    assert!(namespaces.command(&words).status().expect("nsenter").success(), "{program}");
    let begin = Instant::now();
    while tables(namespaces) == before || ruleset(namespaces) != wanted {
        assert!(
            begin.elapsed() < DEADLINE,
            "{} after {program}: {}",
            tables(namespaces),
            ruleset(namespaces)
        );
    }
}

/// Once it has answered twice, it has seen whatever there was to see before.
fn assert_at_rest(namespaces: &Namespaces, helper: &Helper) {
    let before = tables(namespaces);
    for _ in 0..4 {
        helper.observe();
    }
    assert_eq!(tables(namespaces), before, "nothing was loaded again");
}

#[test]
fn rules_that_others_change_come_back() {
    let (host, namespaces) = (Host::new(), network());
    let helper = host.serve(&namespaces);
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    helper.done(&rules(&[open(1), GuestRules { host_ports: vec![7000], ..closed(2) }]));
    let wanted = ruleset(&namespaces);
    assert_at_rest(&namespaces, &helper);
    for change in [
        "nft flush ruleset",
        "nft delete table inet banger",
        "nft delete table bridge banger",
        "nft delete chain inet banger post",
        "nft flush chain inet banger input",
        "nft flush chain bridge banger pre",
        "nft insert rule inet banger forward accept",
        "nft add element inet banger nat { 172.30.0.4 }",
        "nft delete element inet banger host4 { 198.51.100.2 }",
        "nft chain inet banger forward { policy drop; }",
        "nft flush ruleset",
    ] {
        do_and_wait(&namespaces, change, &wanted);
    }
    assert_at_rest(&namespaces, &helper);

    // What the daemon asks for is no change by others, and from then on it is what must be.
    helper.done(&rules(&[closed(1)]));
    let wanted = ruleset(&namespaces);
    assert_at_rest(&namespaces, &helper);
    do_and_wait(&namespaces, "nft delete chain inet banger post", &wanted);

    // Rules of others are their own.
    namespaces.do_inside("nft add table ip filter");
    namespaces.do_inside("nft add chain ip filter banger");
    assert_at_rest(&namespaces, &helper);
    namespaces.do_inside("nft delete table ip filter");
    assert_at_rest(&namespaces, &helper);
    assert_eq!(ruleset(&namespaces), wanted);

    // Nobody keeps what is not wanted any more.
    helper.done(&Request::RevertRules {});
    namespaces.do_inside("nft add table inet banger");
    namespaces.do_inside("nft flush ruleset");
    helper.observe();
    assert!(!helper.observe().rules);
    assert_eq!(ruleset(&namespaces), "");
}

#[test]
fn a_host_that_flushes_in_a_loop_gets_them_back_and_one_line() {
    let (host, namespaces) = (Host::new(), network());
    let (ours, theirs) = sockets();
    let mut command = host.command(&namespaces, ME);
    let child = command.stdin(theirs).stderr(Stdio::piped()).spawn().unwrap();
    // Its end of the connection would be held open, too.
    drop(command);
    let mut helper = Helper { process: Process(child), socket: ours };
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    helper.done(&rules(&[open(1)]));
    let (wanted, once) = (ruleset(&namespaces), loaded(&namespaces));
    let begin = Instant::now();
    let script = "for i in $(seq 100); do nft flush ruleset; done";
    assert!(namespaces.command(&["sh", "-c", script]).status().unwrap().success());
    // Requests are answered meanwhile, and after.
    helper.observe();
    while ruleset(&namespaces) != wanted {
        assert!(begin.elapsed() < DEADLINE, "{}", ruleset(&namespaces));
    }
    // Ever later, up to once a second.
    let (times, seconds) = (loaded(&namespaces) / once, begin.elapsed().as_secs());
    assert!((2..=8 + seconds).contains(&times), "{times} times in {seconds} s");
    let minutes = usize::try_from(seconds / 60).unwrap();

    // It ends with its connection, and keeps nothing from then on.
    let mut said = String::new();
    let mut errors = helper.process.0.stderr.take().unwrap();
    let Helper { mut process, socket } = helper;
    drop(socket);
    errors.read_to_string(&mut said).unwrap();
    assert!(process.0.wait().unwrap().success());
    let line = "banger-helper: the rules of VMs were changed by somebody else: loaded again";
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.first(), Some(&line), "{said}");
    assert!(lines.len() <= 1 + minutes, "{said}");
    namespaces.do_inside("nft flush ruleset");
    assert_eq!(ruleset(&namespaces), "");
}

/// So many that the kernel cannot keep what there is to hear of them.
#[test]
fn rules_of_a_thousand_guests_are_kept() {
    let (host, namespaces) = (Host::new(), network());
    let helper = host.serve(&namespaces);
    let subnet = "172.30.0.0/22".parse::<banger_proto::Subnet>().unwrap();
    helper.done(&Request::EnsureBridge { subnet });
    let guests = (0..1000u32).map(|number| GuestRules {
        vm: format!("{number:012x}").parse().unwrap(),
        address: subnet.guest(number).unwrap(),
        nat: true,
        host_ports: vec![8080, 5432],
    });
    let guests = guests.collect();
    helper.done(&Request::ApplyRules(Rules { subnet, host_addresses: Vec::new(), guests }));
    assert_at_rest(&namespaces, &helper);
    let wanted = ruleset(&namespaces);
    for change in ["nft flush ruleset", "nft delete element inet banger guest { 172.30.1.7 }"] {
        do_and_wait(&namespaces, change, &wanted);
    }
    assert_at_rest(&namespaces, &helper);
}
