//! Kill, restart, wait, set and prune.

use banger_proto::api::{Setting, StateName};
use insta::assert_snapshot;

use crate::fake::Fake;
use crate::host::Host;
use crate::terminal::Terminal;

fn with_vms(host: &Host) -> Fake {
    Fake::start(host)
        .with("aabbccddeeff", "web", StateName::Running)
        .with("aacc00000000", "db", StateName::Stopped)
        .with("bb0000000000", "broken", StateName::Error)
}

#[test]
fn kills() {
    let host = Host::new();
    let fake = with_vms(&host);
    assert_snapshot!(host.run(&["vm", "kill", "web", "wbe", "aacc"]), @r"
    web
    db
    -- stderr
    banger: not found: no VM `wbe`
      hint: did you mean `web`?
    -- exit 1
    ");
    let mut log = fake.log();
    log.sort();
    assert_eq!(log, ["kill db", "kill web"]);
}

#[test]
fn pauses_and_resumes() {
    let host = Host::new();
    let fake = with_vms(&host).with("cc0000000000", "still", StateName::Paused);
    assert_snapshot!(host.run(&["vm", "pause", "web", "db", "still"]), @r"
    web
    still
    -- stderr
    banger: VM `db` cannot do this now
      caused by: it does not run
      hint: banger vm start db
      (op 0000000000aa)
    -- exit 1
    ");
    assert_eq!(host.run(&["vm", "resume", "still", "web"]), "still\nweb\n-- exit 0");
    let mut log = fake.log();
    log.sort();
    assert_eq!(log, ["pause db", "pause still", "pause web", "resume still", "resume web"]);
}

#[test]
fn who_sleeps_is_told_from_who_was_paused_or_stopped() {
    let host = Host::new();
    let fake = with_vms(&host).with("cc0000000000", "still", StateName::Paused);
    let shown = |name: &str| {
        let text = host.run(&["vm", "show", name]);
        text.lines().filter(|line| line.starts_with("state:")).collect::<String>()
    };
    assert_eq!(shown("still"), "state:    paused");
    fake.change("still", |vm| {
        vm.paused_idle_seconds = 300.try_into().ok();
        vm.idle_pause_seconds = 300.try_into().ok();
    });
    let state = "paused, idle for 5m: goes on by itself when it is used";
    assert_eq!(shown("still"), format!("state:       {state}"));
    assert!(host.run(&["vm", "show", "still"]).contains("idle pause:  after 5m\n"));
    fake.change("db", |vm| {
        vm.ended = Some(banger_proto::api::EndReason::Idle(1800.try_into().unwrap()));
    });
    assert_eq!(shown("db"), "state:    stopped: starts by itself when it is used");
    let list = host.run(&["ls"]);
    assert!(list.contains("still   paused (idle)   "), "{list}");
    assert!(list.contains("db      stopped (idle)  "), "{list}");
}

#[test]
fn json_is_one_document_of_what_went_well() {
    let host = Host::new();
    let _fake = with_vms(&host);
    for verb in ["kill", "stop", "restart", "wait", "delete"] {
        let output = host.banger(&["vm", verb, "--json", "web", "nobody", "db"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let names: Vec<_> = list["vms"].as_array().unwrap().iter().map(|vm| &vm["name"]).collect();
        assert_eq!(names, ["web", "db"], "{verb}");
    }
}

#[test]
fn one_restart_shows_its_stages() {
    let host = Host::new();
    let fake = with_vms(&host);
    assert_snapshot!(host.run(&["vm", "restart", "-t", "5", "--progress", "plain", "web"]), @r"
    web
    -- stderr
    shutting down
    shutting down: done in 0.3s
    booting
    booting: done in 0.7s
    ready in 1.0s
    -- exit 0
    ");
    assert_eq!(fake.log(), [r#"restart web {"grace_seconds":5,"wait":"agent"}"#]);
    assert_eq!(host.run(&["vm", "restart", "--wait", "system", "web", "db"]), "web\ndb\n-- exit 0");
}

#[test]
fn waits() {
    let host = Host::new();
    let fake = with_vms(&host);
    assert_eq!(host.run(&["vm", "wait", "web"]), "web\n-- exit 0");
    assert_eq!(
        host.run(&["vm", "wait", "--for", "system", "--timeout", "5", "web"]),
        "web\n-- exit 0"
    );
    assert_eq!(
        fake.log(),
        [
            r#"wait web {"until":"ready","timeout_seconds":null}"#,
            r#"wait web {"until":"system","timeout_seconds":5}"#,
        ]
    );
    // `db` is stopped, and nobody may be about to start it.
    assert_snapshot!(host.run(&["vm", "wait", "--progress", "plain", "web", "db"]), @r"
    web
    db
    -- stderr
    VM `db` is stopped until it is started: banger vm start db
    waiting
    -- exit 0
    ");
    assert_eq!(host.run(&["vm", "wait", "db"]), "db\n-- exit 0");
}

#[test]
fn the_exit_code_tells_how_waiting_ended() {
    let host = Host::new();
    let _fake = with_vms(&host).with("cc0000000000", "slow", StateName::Booting).with(
        "dd0000000000",
        "gone",
        StateName::Stopping,
    );
    assert_snapshot!(host.run(&["vm", "wait", "--timeout", "5", "web", "slow", "gone"]), @r"
    web
    -- stderr
    banger: VM `slow` is not ready after 5 s: it is booting
      (op 0000000000aa)
    banger: not found: VM `gone` was deleted
      (op 0000000000aa)
    -- exit 124
    ");
    assert_snapshot!(host.run(&["vm", "wait", "--for", "stopped", "db", "broken"]), @r"
    db
    -- stderr
    banger: VM `broken` did not end well
      caused by: the VMM ended by itself: the VMM exited with code 1
      hint: banger vm logs broken
    -- exit 1
    ");
    assert_eq!(host.run(&["vm", "wait", "--for", "deleted", "gone"]), "gone\n-- exit 0");
}

#[test]
fn nothing_is_pruned_without_a_word() {
    let host = Host::new();
    let fake = with_vms(&host);
    assert_snapshot!(host.run(&["vm", "prune"]), @r"
    -- stderr
    banger: nobody can be asked here, because this is no terminal
      hint: `banger vm ls` shows which VMs are down
      hint: to delete them without being asked: banger vm prune -f
    -- exit 2
    ");
    assert_eq!(fake.log(), [""; 0]);
}

#[test]
fn prunes_by_force() {
    let host = Host::new();
    let fake = with_vms(&host);
    assert_eq!(host.run(&["vm", "prune", "-f"]), "db\nbroken\n-- exit 0");
    let mut log = fake.log();
    log.sort();
    assert_eq!(log, ["delete broken?only_down=true", "delete db?only_down=true"]);
    assert_snapshot!(host.run(&["vm", "prune", "-f", "--json"]), @r#"
    {
      "vms": []
    }
    -- stderr
    no VM is down
    -- exit 0
    "#);
}

#[test]
fn a_person_is_asked_before_a_prune() {
    let host = Host::new();
    let fake = with_vms(&host);
    let answer = |keys: &[u8], until: &str| {
        let mut terminal = Terminal::open();
        let mut child = terminal.start(host.banger(&["--color", "never", "vm", "prune"]));
        let asked = terminal.wait_for("[y/N] ");
        terminal.press(keys);
        terminal.wait_for(until);
        (asked.replace('\r', ""), child.wait().unwrap().code())
    };
    let (asked, code) = answer(b"\n", "nothing was deleted");
    assert_snapshot!(asked, @r"
    NAME    STATE    IMAGE            VCPU  MEM    DISK           ADDRESS  WORKSPACE  AGE
    db      stopped  debian-bookworm  2     2 GiB  1.2 GiB/8 GiB  -        -          0s
    broken  error    debian-bookworm  2     2 GiB  1.2 GiB/8 GiB  -        -          0s
    Delete these 2 VMs with their disks (2.4 GiB)? [y/N]
    ");
    assert_eq!(code, Some(1));
    // The end of the input is no yes; Ctrl-C is a signal, as everywhere.
    assert_eq!(answer(b"\x04", "nothing was deleted").1, Some(1));
    assert_eq!(fake.log(), [""; 0]);
    assert_eq!(answer(b"yes\n", "broken\r\n").1, Some(0));
    assert_eq!(fake.log().len(), 2);
}

#[test]
fn sets_and_says_what_waits_for_the_next_start() {
    let host = Host::new();
    let fake = with_vms(&host);
    let args = ["vm", "set", "--memory", "1G", "--env", "A=b=c", "--unset-env", "B", "web", "db"];
    assert_snapshot!(host.run(&args), @r"
    web
    db
    -- stderr
    web: memory 1024 MiB from the next start
    web: environment from the next start
    -- exit 0
    ");
    let request = r#"{"memory":1073741824,"env":{"A":"b=c"},"unset_env":["B"]}"#;
    let mut log = fake.log();
    log.sort();
    assert_eq!(log, [format!("set db {request}"), format!("set web {request}")]);
    assert_snapshot!(host.run(&["vm", "set", "--disk-size", "20G", "web"]), @r"
    web
    -- exit 0
    ");
}

#[test]
fn sets_go_on_past_failures_and_take_something_to_do() {
    let host = Host::new();
    let fake = with_vms(&host);
    assert_snapshot!(host.run(&["vm", "set", "--image", "other", "web", "db"]), @r"
    db
    -- stderr
    banger: VM `aabbccddeeff` cannot be given another image while it runs
      hint: banger vm stop web
      (op 0000000000aa)
    -- exit 1
    ");
    let idle = ["vm", "set", "--idle-pause", "5m", "--idle-stop", "off", "db"];
    assert_eq!(host.run(&idle), "db\n-- exit 0");
    let asked = r#"set db {"idle_stop_seconds":0,"idle_pause_seconds":300}"#;
    assert!(fake.log().iter().any(|line| line == asked), "{:?}", fake.log());
    let nothing = host.run(&["vm", "set", "web"]);
    assert!(nothing.contains("not provided:\n  <--vcpu <N>|--memory <SIZE>|"), "{nothing}");
    assert!(nothing.ends_with("-- exit 2"), "{nothing}");
    assert!(host.run(&["vm", "set", "--vcpu", "0", "web"]).ends_with("-- exit 2"));
    let output =
        host.banger(&["vm", "set", "--json", "--vcpu", "3", "web", "db"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["vms"].as_array().unwrap().len(), 2);
}

#[test]
fn shows_what_waits_for_the_next_start() {
    let host = Host::new();
    let fake = with_vms(&host);
    fake.change("web", |vm| vm.pending = vec![Setting::Vcpu, Setting::Env]);
    let shown = host.run(&["vm", "show", "web"]);
    assert!(shown.contains("brings vcpu, environment"), "{shown}");
    assert!(!host.run(&["vm", "show", "db"]).contains("brings"));
}
