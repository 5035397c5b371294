//! Jobs: starting, listing, reading, attaching, killing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;

use banger_proto::api::StateName;
use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::fake::Fake;
use crate::host::Host;

fn with_vm(host: &Host) -> Fake {
    Fake::start(host).with("aabbccddeeff", "web", StateName::Running)
}

#[test]
fn a_job_is_started_and_left_alone() {
    let host = Host::new();
    let fake = with_vm(&host);
    assert_snapshot!(host.run(&["exec", "-d", "-e", "A=b", "web", "--", "make", "-d"]), @r"
    aaaaaaaaaaaa
    -- exit 0
    ");
    assert_eq!(
        fake.log().last().unwrap(),
        r#"job {"argv":["make","-d"],"entrypoint":false,"env":{"A":"b"},"cwd":null,"user":null,"terminal":null,"stdin":false}"#
    );
    host.run(&["vm", "exec", "-di", "web", "--", "sort"]);
    assert!(fake.log().last().unwrap().ends_with(r#""terminal":null,"stdin":true}"#));
    host.run(&["vm", "exec", "-dt", "web"]);
    let asked = fake.log().last().unwrap().clone();
    assert!(asked.ends_with(r#""terminal":{"rows":24,"cols":80},"stdin":true}"#), "{asked}");
    assert_snapshot!(host.run(&["vm", "exec", "-d", "web"]), @r"
    -- stderr
    banger: a job needs a command, or a terminal for a shell
      hint: a shell to attach to: banger vm exec -dt VM
    -- exit 2
    ");
}

#[test]
fn jobs_are_listed_without_what_a_terminal_obeys() {
    let host = Host::new();
    let _fake = with_vm(&host);
    assert_snapshot!(host.run(&["vm", "jobs", "web"]), @r"
    JOB           STATE    EXIT  STARTED               ENDED                 COMMAND
    aaaaaaaaaaaa  running  -     2026-08-05T10:00:00Z  -                     make tet
    bbbbbbbbbbbb  exited   2     2026-08-05T10:00:00Z  2026-08-05T11:00:00Z  make tet
    cccccccccccc  lost     -     2026-08-05T10:00:00Z  2026-08-05T11:00:00Z  make tet
    -- exit 0
    ");
    let json = host.run(&["vm", "jobs", "--json", "web"]);
    assert!(json.contains(r#""state": "exited""#) && json.contains(r#""code": 2"#), "{json}");
    assert!(!json.contains('\u{1b}'), "{json}");
}

#[test]
fn what_a_job_wrote_is_shown_apart() {
    let host = Host::new();
    let fake = with_vm(&host);
    assert_snapshot!(host.run(&["vm", "job", "logs", "web", "a"]), @r"
    out
    -- stderr
    banger: 70000 bytes of output are not kept any more
    err
    -- exit 0
    ");
    assert_eq!(
        fake.log().last().unwrap(),
        r#"attach a {"from":"start","no_follow":true,"input":false}"#
    );
    assert_snapshot!(host.run(&["vm", "job", "logs", "-f", "--tail", "5", "web", "b"]), @"-- exit 2");
    assert_eq!(
        fake.log().last().unwrap(),
        r#"attach b {"from":{"tail":5},"no_follow":false,"input":false}"#
    );
    assert_snapshot!(host.run(&["vm", "job", "logs", "-f", "--tail", "5", "web", "c"]), @r"
    -- stderr
    banger: nobody saw how job `c` ended
      hint: its VM went down, or the agent that waited for it was killed
    -- exit 125
    ");
    assert_snapshot!(host.run(&["vm", "job", "logs", "web", "e"]), @r"
    -- stderr
    banger: not found: VM `web` has no job `e`
      (op 0000000000aa)
    -- exit 125
    ");
    assert!(host.run(&["vm", "job", "logs", "web", "../x"]).contains("-- exit 2"));
}

#[test]
fn a_job_is_sent_a_signal_by_name() {
    let host = Host::new();
    let fake = with_vm(&host);
    assert_snapshot!(host.run(&["vm", "job", "kill", "web", "aa"]), @r"
    aaaaaaaaaaaa
    -- exit 0
    ");
    assert_eq!(fake.log().last().unwrap(), r#"kill aa {"signal":15}"#);
    host.run(&["vm", "job", "kill", "-s", "SIGKILL", "web", "aa"]);
    assert_eq!(fake.log().last().unwrap(), r#"kill aa {"signal":9}"#);
    assert!(host.run(&["vm", "job", "kill", "-s", "LOUD", "web", "aa"]).contains("-- exit 2"));
}

#[test]
fn attaching_gives_input_and_takes_the_exit_code() {
    let host = Host::new();
    let fake = with_vm(&host);
    let mut child = host.banger(&["vm", "attach", "web", "aa"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "asleep\ntyped\n");
    assert_eq!(output.status.code(), Some(4));
    assert!(
        fake.log()
            .contains(&r#"attach aa {"from":"now","no_follow":false,"input":true}"#.to_owned())
    );
    // One that has ended takes none.
    assert_snapshot!(host.run(&["vm", "attach", "--from-start", "web", "b"]), @r"
    out
    -- stderr
    banger: 70000 bytes of output are not kept any more
    err
    -- exit 2
    ");
}

#[test]
fn ctrl_c_leaves_the_job_alone() {
    let host = Host::new();
    let fake = with_vm(&host);
    let mut command = host.banger(&["vm", "attach", "--no-stdin", "web", "aa"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "asleep\n");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(stderr.contains("detached by a signal; the job goes on"), "{stderr}");
    fake.wait_for("attach ended");
    assert!(!fake.log().iter().any(|line| line == "got Signal"));
}
