//! Tools of a new VM's workspace.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::fake::Fake;
use crate::host::Host;

/// Runs `banger run` with these arguments and the repository `repo`; what was seen, and what the daemon
/// was asked for.
fn run(args: &[&str]) -> (String, Vec<String>) {
    let host = Host::new();
    let fake = Fake::start(&host);
    host.repository("repo");
    (host.run(&[&["run", "--progress", "none"], args].concat()), fake.log())
}

fn asks_for_a_job(log: &[String]) -> bool {
    log.iter().any(|line| line.starts_with("job "))
}

#[test]
fn a_vm_in_the_background_has_its_tools_when_the_command_returns() {
    let (seen, log) = run(&["-d", "--nat", "--user", "me", "--name", "able", "repo"]);
    assert_snapshot!(seen, @r"
    able
    -- stderr
    banger: 70000 bytes of output are not kept any more
    out
    err
    -- exit 0
    ");
    let [create, job, attach] = &log[..] else { panic!("{log:#?}") };
    assert!(create.contains(r#""bootstrap":true"#), "{create}");
    assert_eq!(
        job,
        r#"job {"argv":["mise","install"],"entrypoint":false,"env":{"MISE_YES":"1"},"cwd":null,"user":"me","terminal":null,"stdin":false}"#
    );
    assert_eq!(attach, r#"attach 000000000000 {"from":"start","no_follow":false,"input":false}"#);
}

#[test]
fn a_failure_leaves_the_vm() {
    assert_snapshot!(run(&["-d", "--nat", "--name", "unable", "repo"]).0, @r"
    unable
    -- stderr
    banger: 70000 bytes of output are not kept any more
    out
    err
    banger: mise could not install the tools of `mise.toml` in VM `unable`: exit code 2
      hint: VM `unable` is running: banger exec unable
      hint: what mise said: banger vm job logs unable bbbbbbbbbbbb
    -- exit 1
    ");
    assert_snapshot!(run(&["-d", "--nat", "--name", "unsure", "repo"]).0, @r"
    unsure
    -- stderr
    banger: 70000 bytes of output are not kept any more
    out
    err
    banger: mise could not install the tools of `mise.toml` in VM `unsure`: nobody saw how it ended
      hint: VM `unsure` is running: banger exec unsure
      hint: what mise said: banger vm job logs unsure cccccccccccc
    -- exit 1
    ");
}

#[test]
fn an_image_without_mise_is_no_failure() {
    assert_snapshot!(run(&["-d", "--nat", "--name", "bare", "repo"]).0, @r"
    bare
    -- stderr
    note: `mise.toml` names tools, and image `debian-bookworm` has no mise to install them; use one that has, or bring it as ~/.local/bin/mise with [[file_sync]]
    -- exit 0
    ");
}

#[test]
fn a_shell_does_not_wait() {
    let (seen, log) = run(&["--nat", "--name", "unable", "repo"]);
    assert_snapshot!(seen, @r"
    -- stderr
    mise installs the tools of `mise.toml`: banger vm job logs -f unable bbbbbbbbbbbb
    -- exit 0
    ");
    assert!(asks_for_a_job(&log) && !log.iter().any(|line| line.starts_with("attach")), "{log:#?}");
    let (bare, _) = run(&["--nat", "--name", "bare", "repo"]);
    assert!(bare.contains("has no mise") && bare.ends_with("-- exit 0"), "{bare}");
}

#[test]
fn one_command_and_whoever_does_not_want_them_get_none() {
    for args in [
        &["--name", "able", "repo", "--", "exit", "0"][..],
        &["--name", "able", "--no-bootstrap", "repo"],
        &["-d", "--name", "able", "--no-bootstrap", "repo"],
        &["-d", "--name", "able"],
        &["-d", "--name", "without-tools", "repo"],
    ] {
        let (seen, log) = run(args);
        assert!(seen.ends_with("-- exit 0") && !asks_for_a_job(&log), "{args:?}: {seen} {log:#?}");
        let wanted = log[0].contains(r#""bootstrap":true"#);
        assert_eq!(wanted, args[0] == "-d" && args.len() < 5, "{args:?}: {log:#?}");
    }
}

#[test]
fn ctrl_c_leaves_vm_and_mise_alone() {
    let host = Host::new();
    let fake = Fake::start(&host);
    host.repository("repo");
    let mut command = host.banger(&["run", "--progress", "none", "-d", "--name", "busy", "repo"]);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.ends_with("asleep\n") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    said.clear();
    stderr.read_to_string(&mut said).unwrap();
    assert_snapshot!(said, @r"
    banger: detached by a signal; the job goes on
      hint: VM `busy` is running: banger exec busy
      hint: mise goes on: banger vm job logs -f busy aaaaaaaaaaaa
    ");
    let output = child.wait_with_output().unwrap();
    assert_eq!((&*output.stdout, output.status.code()), (&b"busy\n"[..], Some(130)));
    fake.wait_for("attach ended");
    assert!(!fake.log().iter().any(|line| line.starts_with("delete")), "{:#?}", fake.log());
}
