//! Lists, and verbs with several targets.

use banger_proto::api::StateName;
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
fn lists() {
    let host = Host::new();
    let fake = with_vms(&host);
    fake.change("web", |vm| vm.address = Some([172, 30, 0, 2].into()));
    assert_snapshot!(host.run(&["ls"]), @r"
    NAME  STATE    IMAGE            VCPU  MEM    DISK           ADDRESS     WORKSPACE  AGE
    web   running  debian-bookworm  2     2 GiB  1.2 GiB/8 GiB  172.30.0.2  -          0s
    db    stopped  debian-bookworm  2     2 GiB  1.2 GiB/8 GiB  -           -          0s
    -- exit 0
    ");
    assert!(!host.run(&["ps"]).contains("db"));
    let json = host.run(&["vm", "list", "--json"]);
    let list: serde_json::Value =
        serde_json::from_str(json.strip_suffix("-- exit 0").unwrap()).unwrap();
    assert_eq!(list["vms"][1]["name"], "db");
    assert_eq!(list["vms"][1]["memory"], 1u64 << 31);
}

#[test]
fn shows() {
    let host = Host::new();
    let _fake = with_vms(&host);
    assert_snapshot!(host.run(&["vm", "show", "db"]), @r"
    name:     db
    id:       aacc00000000
    state:    stopped
    image:    debian-bookworm
    kernel:   debian
    backend:  qemu (tcg)
    vcpu:     2
    memory:   2 GiB
    disk:     1.2 GiB of 8 GiB
    created:  2999-01-01T00:00:00Z
    started:  -
    console:  /state/console.log
    network:  reaches other VMs only
    -- exit 0
    ");
}

#[test]
fn shows_what_it_reaches() {
    let host = Host::new();
    let fake = with_vms(&host);
    fake.change("web", |vm| {
        vm.address = Some([172, 30, 0, 2].into());
        vm.nat = true;
        vm.host_ports = [8080, 5432].into();
    });
    let published = ["8080:80", "0.0.0.0:8443:443"].map(|text| text.parse().unwrap());
    fake.change("web", |vm| {
        vm.loopback = Some([127, 77, 0, 5].into());
        vm.published = published.into();
    });
    let text = host.run(&["vm", "show", "web"]);
    assert!(text.contains("reached at:  127.77.0.5 (web.vm)\n"), "{text}");
    assert!(text.contains("published:   0.0.0.0:8443 to port 443\n"), "{text}");
    assert!(text.contains("published:   127.0.0.1:8080 to port 80\n"), "{text}");
    assert!(host.run(&["ls"]).contains("  127.77.0.5  "), "where the host reaches it");
    assert!(text.contains("network:     172.30.0.2, reaches beyond the host\n"), "{text}");
    assert!(text.contains("host ports:  host.vm:5432, host.vm:8080\n"), "{text}");
}

#[test]
fn shows_the_guest_and_its_service() {
    let host = Host::new();
    let fake = with_vms(&host);
    for (service, shown) in [
        (serde_json::json!({"state": "running", "pid": 71}), "running (process 71)"),
        (serde_json::json!({"state": "exited", "code": 3}), "exited with code 3"),
        (serde_json::json!({"state": "exited", "signal": 9}), "ended by signal 9"),
        (serde_json::json!({"state": "failed", "reason": "no \u{8}"}), "not started: no \u{fffd}"),
    ] {
        let guest = serde_json::json!({
            "init": "agent", "state": "running", "boot_id": "b007", "service": service,
        });
        fake.change("web", |vm| vm.guest = Some(serde_json::from_value(guest).unwrap()));
        let text = host.run(&["vm", "show", "web"]);
        assert!(text.contains("guest:    running under agent"), "{text}");
        assert!(text.contains(&format!("service:  {shown}\n")), "{text}");
    }
}

#[test]
fn shows_what_became_of_it() {
    let host = Host::new();
    let fake = with_vms(&host);
    let change = |minute: u32, rest: serde_json::Value| {
        let mut change = serde_json::json!({"at": format!("2026-01-01T00:{minute:02}:00.123456Z")});
        change.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        change
    };
    let history = [
        change(1, serde_json::json!({"state": "created", "cause": "create", "op": "0000000000aa"})),
        change(
            2,
            serde_json::json!({
                "state": "running", "cause": "create", "op": "0000000000aa", "took_ms": 5260,
            }),
        ),
        change(
            3,
            serde_json::json!({
                "state": "stopped", "cause": "itself", "ended": {"failed": "signal \u{1b}[1m9"},
            }),
        ),
        change(
            4,
            serde_json::json!({
                "state": "error", "cause": "start", "took_ms": 90_000, "problem": "not ready",
            }),
        ),
    ];
    let set = |history: serde_json::Value| {
        fake.change("db", |vm| vm.history = serde_json::from_value(history).unwrap());
    };
    set(history.to_vec().into());
    let text = host.run(&["vm", "show", "db"]);
    assert_snapshot!(text.split_once("\n\n").unwrap().1, @r"
    WHEN                  STATE    BY         TOOK    OP            HOW
    2026-01-01T00:01:00Z  created  create     -       0000000000aa  -
    2026-01-01T00:02:00Z  running  create     5.3s    0000000000aa  -
    2026-01-01T00:03:00Z  stopped  by itself  -       -             the VMM ended by itself: signal 9
    2026-01-01T00:04:00Z  error    start      1m 30s  -             not ready
    -- exit 0
    ");
    // The last ones are shown, and all are told.
    set((0..30)
        .map(|minute| {
            change(
                minute,
                serde_json::json!({
                    "state": "stopped", "cause": "stop", "ended": "powered_off",
                }),
            )
        })
        .collect());
    let text = host.run(&["vm", "show", "db"]);
    assert_eq!(text.matches("powered off").count(), 10, "{text}");
    assert!(!text.contains("00:19:00") && text.contains("00:20:00"), "{text}");
    let json = host.run(&["vm", "show", "--json", "db"]);
    assert_eq!(json.matches(r#""cause": "stop""#).count(), 30, "{json}");
}

#[test]
fn creates() {
    let host = Host::new();
    let fake = with_vms(&host);
    let args = ["vm", "create", "--vcpu", "2", "--memory", "512", "--disk-size", "4GiB"];
    assert_snapshot!(host.run(&args), @r"
    0a0b0c0d0e0f
    -- stderr
    note: 3 untracked files stay behind
    -- exit 0
    ");
    assert!(host.run(&["vm", "create", "--idle-stop", "30m"]).ends_with("exit 0"));
    assert!(host.run(&["vm", "create", "--idle-stop", "off"]).ends_with("exit 0"));
    let refused = host.run(&["vm", "create", "--idle-stop", "soon"]);
    assert!(refused.contains("`soon` is not a period") && refused.ends_with("exit 2"), "{refused}");
    let log = fake.log();
    assert!(log[1].contains(r#""idle_stop_seconds":1800"#), "{log:#?}");
    assert!(log[2].contains(r#""idle_stop_seconds":0"#), "{log:#?}");
    assert!(host.run(&["vm", "create", "--idle-pause", "5m"]).ends_with("exit 0"));
    assert!(fake.log()[3].contains(r#""idle_pause_seconds":300"#), "{:#?}", fake.log());
    assert!(log[0].contains(r#""vcpu":2,"memory":536870912,"disk_size":4294967296"#), "{log:#?}");
}

#[test]
fn several_targets_go_on_past_failures() {
    let host = Host::new();
    let fake = with_vms(&host);
    assert_snapshot!(host.run(&["vm", "stop", "-t", "5", "dc", "db", "aabb", "web", "aa"]), @r"
    db
    web
    -- stderr
    banger: not found: no VM `dc`
      hint: did you mean `db`?
    banger: bad request: `aa` is the beginning of several ids: `web` (aabbccddeeff), `db` (aacc00000000)
      hint: give more digits, or the name
    -- exit 1
    ");
    let mut log = fake.log();
    log.sort();
    assert_eq!(log, [r#"stop db {"grace_seconds":5}"#, r#"stop web {"grace_seconds":5}"#]);
}

#[test]
fn one_start_shows_its_stages() {
    let host = Host::new();
    let _fake = with_vms(&host);
    assert_snapshot!(host.run(&["vm", "start", "--progress", "plain", "aacc"]), @r"
    db
    -- stderr
    booting
    booting: done in 0.7s
    ready in 0.8s
    -- exit 0
    ");
    assert_snapshot!(host.run(&["vm", "start", "dc"]), @r"
    -- stderr
    banger: not found: no VM `dc`
      hint: did you mean `db`?
    -- exit 1
    ");
}

#[test]
fn starts() {
    let host = Host::new();
    let _fake = with_vms(&host);
    assert_snapshot!(host.run(&["vm", "start", "db", "web"]), @r"
    db
    -- stderr
    banger: VM `aabbccddeeff` runs already
      (op 0000000000aa)
    -- exit 1
    ");
}

#[test]
fn deletes() {
    let host = Host::new();
    let fake = with_vms(&host);
    assert_snapshot!(host.run(&["rm", "web", "db"]), @r"
    web
    db
    -- exit 0
    ");
    let mut log = fake.log();
    log.sort();
    assert_eq!(log, ["delete db", "delete web", r#"stop web {"grace_seconds":null}"#]);
}

#[test]
fn deletes_without_shutting_down() {
    let host = Host::new();
    let fake = with_vms(&host);
    assert_eq!(host.run(&["rm", "-f", "web"]), "web\n-- exit 0");
    assert_eq!(fake.log(), ["delete web"]);
}

#[test]
fn logs_come_as_they_are_in_a_pipe() {
    let host = Host::new();
    let _fake = with_vms(&host);
    let expected = "console of web, follow=true&tail=7\n\x1b[31mred\x1b[0m\n-- exit 0";
    assert_eq!(host.run(&["vm", "logs", "-f", "--tail", "7", "web"]), expected);
}
