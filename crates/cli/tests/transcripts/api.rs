//! `banger api`: requests as they are typed, answers as they come.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use banger_proto::api::{StateName, VmList};
use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::fake::Fake;
use crate::host::Host;
use crate::terminal::Terminal;

fn with_web(host: &Host) -> Fake {
    Fake::start(host).with("aabbccddeeff", "web", StateName::Running)
}

#[test]
fn an_answer_comes_as_it_is() {
    let host = Host::new();
    let _fake = with_web(&host);
    let shown = host.run(&["api", "get", "vms"]);
    // Not even a line's end is added for a program that reads.
    let json = shown.strip_suffix("}]}-- exit 0").expect("the body alone").to_owned() + "}]}";
    let list: VmList = serde_json::from_str(&json).unwrap();
    assert_eq!(list.vms[0].name.as_str(), "web");
    for typed in ["/vms", "v1/vms", "/v1/vms"] {
        assert_eq!(host.run(&["api", "GET", typed]), shown, "{typed}");
    }
    let pong = host.run(&["api", "Get", "vms/web/ping?timeout_ms=5"]);
    assert!(pong.contains(r#""micros":1234"#), "{pong}");
}

#[test]
fn a_body_is_what_was_given() {
    let host = Host::new();
    let fake = with_web(&host);
    std::fs::write(host.path("home/asked.json"), "{\"force\": true}\n").unwrap();
    host.run(&["api", "post", "vms/web/stop", "-d", r#"{"a": 1}"#]);
    host.run(&["api", "post", "vms/web/stop", "-d", "@asked.json"]);
    host.run_with_input(&["api", "post", "vms/web/stop", "--data", "-"], b"[2]");
    host.run(&["api", "post", "vms/web/stop"]);
    host.run(&["api", "delete", "vms/web?force=true"]);
    assert_snapshot!(fake.log().join("\n"), @r#"
    stop web {"a": 1}
    stop web {"force": true}

    stop web [2]
    stop web 
    delete web?force=true
    "#);
}

#[test]
fn what_cannot_be_asked_is_not_sent() {
    let host = Host::new();
    let fake = with_web(&host);
    assert_snapshot!(host.run(&["api", "post", "vms/web/stop", "-d", "{\"force\": tru"]), @r#"
    -- stderr
    banger: the body is not JSON
      caused by: EOF while parsing a value at line 1 column 13
      hint: nothing was sent
    -- exit 2
    "#);
    assert_snapshot!(host.run_with_input(&["api", "post", "vms/web/stop", "-d", "-"], b"{}{}"), @r#"
    -- stderr
    banger: standard input is not JSON
      caused by: trailing characters at line 1 column 3
      hint: nothing was sent
    -- exit 2
    "#);
    let long = vec![b' '; (16 << 20) + 1];
    assert_snapshot!(host.run_with_input(&["api", "post", "vms/web/stop", "-d", "-"], &long), @r"
    -- stderr
    banger: more than 16 MiB of JSON
      hint: nothing was sent
    -- exit 2
    ");
    assert_snapshot!(host.run(&["api", "post", "vms/web/stop", "-d", "@none"]), @r"
    -- stderr
    banger: cannot read `none`
      caused by: No such file or directory (os error 2)
    -- exit 1
    ");
    assert_snapshot!(host.run(&["api", "get", "vms", "-d", "{}"]), @r"
    -- stderr
    banger: GET /v1/vms takes no body
    -- exit 2
    ");
    assert_snapshot!(host.run(&["api", "post", "vms/web/exec", "-d", r#"{"argv": ["id"]}"#]), @r"
    -- stderr
    banger: POST /v1/vms/web/exec is no request with an answer, but a session
      hint: to run a command: banger vm exec VM -- COMMAND
      hint: to follow a job: banger vm job attach VM JOB; for ssh: banger vm ssh VM
    -- exit 2
    ");
    for args in [["api", "fetch", "vms"], ["api", "get", "http://banger/v1/vms"]] {
        let shown = host.run(&args);
        assert!(shown.ends_with("-- exit 2"), "{shown}");
    }
    assert_eq!(fake.log(), Vec::<String>::new());
}

#[test]
fn a_refusal_is_an_error() {
    let host = Host::new();
    let _fake = with_web(&host);
    assert_snapshot!(host.run(&["api", "get", "vms/nope"]), @r"
    -- stderr
    banger: not found: no VM `nope`
      caused by: the list is all there is
      hint: `banger ls` shows all VMs
      (op 0000000000aa)
    -- exit 1
    ");
    assert_snapshot!(host.run(&["api", "get", "vms/nope", "--raw"]), @r#"{"code":"not_found","message":"no VM `nope`","causes":["the list is all there is"],"hints":["`banger ls` shows all VMs"]}-- exit 1"#);
    // No call that this program knows; the daemon has the last word.
    assert_snapshot!(host.run(&["api", "patch", "/v2/moon", "-d", "{}"]), @r"
    -- stderr
    banger: the daemon answered `404 Not Found`
    -- exit 1
    ");
}

#[test]
fn a_stream_comes_line_by_line_and_its_end_decides() {
    let host = Host::new();
    let fake = with_web(&host);
    let mut child = host
        .banger(&["api", "post", "vms", "-d", r#"{"name": "slow"}"#])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // There before there is an end.
    for event in ["planned", "stage_started"] {
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with(&format!("{{\"event\":\"{event}\"")), "{line}");
    }
    // Ctrl-C.
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    fake.wait_for("create stream closed");
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2));

    let shown = host.run(&["api", "post", "vms", "-d", r#"{"name": "broken"}"#]);
    let (lines, error) = shown.split_once("-- stderr\n").expect("an error");
    assert_eq!(lines.lines().count(), 3);
    assert!(lines.lines().last().unwrap().starts_with(r#"{"event":"failed""#), "{lines}");
    assert_snapshot!(error, @r"
    banger: VM `broken` did not become ready in 90 s
      caused by: console:
        Kernel panic
      hint: `banger vm logs broken` shows its console
      (op 0000000000aa)
    -- exit 1
    ");
    let shown = host.run(&["api", "post", "vms", "-d", r#"{"name": "box"}"#]);
    assert!(shown.contains(r#"{"event":"vm_ready""#) && shown.ends_with("-- exit 0"), "{shown}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let host = Host::new();
    let fake = with_web(&host);
    let mut child = host
        .banger(&["api", "post", "vms", "-d", r#"{"name": "box"}"#])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((said.as_str(), child.wait().unwrap().code()), ("", Some(141)));
    drop(fake);
}

#[test]
fn bytes_go_both_ways_as_they_are() {
    let host = Host::new();
    let fake = with_web(&host);
    let output = host.banger(&["api", "get", "vms/web/files?path=%2Fsite"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let entries = tar::Archive::new(&*output.stdout).entries().unwrap().count();
    assert_eq!(entries, 2);

    std::fs::write(host.path("home/site.tar"), &output.stdout).unwrap();
    host.run(&["api", "put", "vms/web/files?path=a", "-d", "@site.tar"]);
    // More than any JSON may be: it is passed on while it is read.
    let size = 40 << 20;
    let image = vec![0xff; size];
    host.run_with_input(&["api", "post", "images/upload?reference=x", "-d", "-"], &image);
    assert_snapshot!(fake.log()[1..].join("\n"), @"
    copy in path=a
      site 6755 0
      site/page 6755 4
    upload 41943040 bytes, reference=x
    ");
}

#[test]
fn a_copy_that_is_not_whole_is_none() {
    let host = Host::new();
    let _fake = with_web(&host);
    let error = |path: &str| {
        let path = format!("vms/web/files?path=%2F{path}");
        let output = host.banger(&["api", "get", &path]).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len() > 1000), (Some(1), true));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_snapshot!(error("unsaid"), @r"
    banger: the answer was cut: the daemon did not say that it is whole
      (op 0000000000aa)
    ");
    assert_snapshot!(error("failed"), @r"
    banger: no space left in the guest
      (op 0000000000aa)
    ");
}

#[test]
fn a_terminal_is_given_lines_that_do_nothing_to_it() {
    let host = Host::new();
    let _fake = with_web(&host);
    let shown = |args: &[&str], end: &str| {
        let mut terminal = Terminal::open();
        let mut child = terminal.start(host.banger(args));
        let shown = terminal.wait_for(end);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        shown
    };
    // The answer has no line's end of its own.
    assert!(shown(&["api", "get", "vms/web/ping"], "}\r\n").starts_with(r#"{"agent_version""#));
    let logs = ["api", "get", "vms/web/logs"];
    assert_eq!(shown(&logs, "red\r\n"), "console of web, -\r\nred\r\n");
    assert!(shown(&[&logs[..], &["--raw"]].concat(), "0m\r\n").ends_with("\x1b[31mred\x1b[0m\r\n"));
}
