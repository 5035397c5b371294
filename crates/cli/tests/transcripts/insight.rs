//! Looking at VMs: signs of life, health, numbers.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use banger_proto::api::{StateName, StatsReport};
use insta::assert_snapshot;

use crate::fake::Fake;
use crate::host::Host;

fn with_vms(host: &Host) -> Fake {
    Fake::start(host).with("aabbccddeeff", "web", StateName::Running).with(
        "aacc00000000",
        "db",
        StateName::Stopped,
    )
}

#[test]
fn pings() {
    let host = Host::new();
    let fake = with_vms(&host).with("dd0000000000", "slow", StateName::Running);
    assert_snapshot!(host.run(&["vm", "ping", "web"]), @r"
    web: agent 0.1.0 answered in 1.2 ms
    -- exit 0
    ");
    assert_snapshot!(host.run(&["vm", "ping", "--timeout", "2", "--json", "web"]), @r#"
    {
      "id": "aabbccddeeff",
      "name": "web",
      "agent_version": "0.1.0\u001b",
      "micros": 1234
    }
    -- exit 0
    "#);
    assert_snapshot!(host.run(&["vm", "ping", "slow"]), @r"
    -- stderr
    banger: the agent of VM `slow` does not answer
      (op 0000000000aa)
    -- exit 1
    ");
    assert_eq!(fake.log()[..2], ["ping -", "ping timeout_ms=2000"]);
}

#[test]
fn health_is_told_and_decides_the_exit_code() {
    let host = Host::new();
    let _fake = with_vms(&host).with("dd0000000000", "sick", StateName::Running);
    assert_snapshot!(host.run(&["vm", "health", "web"]), @r"
    name:      web
    healthy:   yes
    agent:     0.1.0
    boot id:   b007
    uptime:    1h 2m
    init:      agent, running
    commands:  2
    memory:    150 MiB of 2 GiB
    disk:      -
    -- exit 0
    ");
    assert_snapshot!(host.run(&["vm", "health", "sick"]), @r"
    name:      sick
    healthy:   no
    agent:     0.1.0
    boot id:   b007
    uptime:    1h 2m
    init:      systemd, running
    commands:  2
    memory:    150 MiB of 2 GiB
    disk:      -
    systemd:   degraded
    failed:    a.service
    failed:    b�.mount
    -- exit 1
    ");
    let json = host.run(&["vm", "health", "--json", "sick"]);
    let json = json.strip_suffix("-- exit 1").expect("the same exit code");
    let health: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(health["system"]["failed_units"][0], "a.service");
}

#[test]
fn ports_are_told_with_where_they_are_reached() {
    let host = Host::new();
    let _fake = with_vms(&host).with("dd0000000000", "slow", StateName::Running);
    assert_snapshot!(host.run(&["vm", "ports", "web"]), @r"
    PROTO  PORT  PROCESS   ENDPOINT                                  URL
    tcp    80    nginx     127.77.0.5:8080, 127.0.0.1:8000           http://127.77.0.5:8080
    tcp    5432  postgres  (`127.77.0.5:5432` is taken on the host)  -
    udp    53    resolver  (UDP is not forwarded)                    -
    -- exit 0
    ");
    assert_snapshot!(host.run(&["vm", "ports", "web", "slow", "nobody"]), @r"
    VM   PROTO  PORT  PROCESS   ENDPOINT                                  URL
    web  tcp    80    nginx     127.77.0.5:8080, 127.0.0.1:8000           http://127.77.0.5:8080
    web  tcp    5432  postgres  (`127.77.0.5:5432` is taken on the host)  -
    web  udp    53    resolver  (UDP is not forwarded)                    -
    -- stderr
    banger: the agent does not tell who listens
      (op 0000000000aa)
    banger: not found: no VM `nobody`
      caused by: the list is all there is
      hint: `banger ls` shows all VMs
      (op 0000000000aa)
    -- exit 1
    ");
    let json = host.run(&["vm", "ports", "--json", "web"]);
    let told: serde_json::Value =
        serde_json::from_str(json.strip_suffix("-- exit 0").unwrap()).unwrap();
    assert_eq!(told[0]["ports"][0]["endpoint"], "127.77.0.5:8080");
    assert_eq!(told[0]["name"], "web");
}

#[test]
fn stats_are_json_where_no_person_looks() {
    let host = Host::new();
    let fake = with_vms(&host);
    let json = host.run(&["vm", "stats", "web", "db"]);
    let report: StatsReport =
        serde_json::from_str(json.strip_suffix("-- exit 0").unwrap()).unwrap();
    assert_eq!(report.vms[0].host.as_ref().unwrap().vmm.cpu_percent, Some(101.5));
    assert_eq!(report.vms[1].host, None);
    assert_eq!(fake.log(), ["stats vms=web,db&follow=false"]);
}

#[test]
fn watched_stats_are_a_line_each() {
    let host = Host::new();
    let fake = with_vms(&host);
    let mut command = host.banger(&["vm", "stats", "-w"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        serde_json::from_str::<StatsReport>(&line).unwrap().vms.len()
    };
    assert_eq!([next(), next()], [2, 1]);
    // Another daemon comes, and after that none.
    drop(fake);
    std::fs::remove_file(host.socket()).unwrap();
    let fake = with_vms(&host);
    assert_eq!([next(), next()], [2, 1]);
    drop(fake);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("lost the connection to the daemon"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}
