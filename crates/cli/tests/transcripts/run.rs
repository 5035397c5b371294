//! `vm run` without a terminal.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::fake::Fake;
use crate::host::{Host, git};

#[test]
fn a_command_keeps_its_streams_and_its_code() {
    let host = Host::new();
    let fake = Fake::start(&host);
    assert_snapshot!(host.run(&["vm", "run", "--", "exit", "7"]), @r"
    -- stderr
    note: 3 untracked files stay behind
    -- exit 7
    ");
    assert_snapshot!(host.run(&["run", "--", "say"]), @r"
    out
    -- stderr
    note: 3 untracked files stay behind
    err
    -- exit 0
    ");
    // Left running, as nobody asked for its end.
    assert!(!fake.log().iter().any(|line| line.starts_with("delete")));
}

#[test]
fn input_goes_through_whole() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    assert_snapshot!(host.run_with_input(&["run", "--", "cat"], b"one\ntwo\n"), @r"
    one
    two
    -- stderr
    note: 3 untracked files stay behind
    -- exit 0
    ");
    let large = vec![b'x'; 3 << 20];
    let echoed = host.run_with_input(&["run", "--", "cat"], &large);
    let (echoed, _) = echoed.split_once("-- stderr\n").unwrap();
    assert_eq!(echoed.len(), large.len());
}

#[test]
fn input_may_be_a_file() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    std::fs::write(host.path("home/in"), "from a file\n").unwrap();
    let file = std::fs::File::open(host.path("home/in")).unwrap();
    let output = host.banger(&["run", "--", "cat"]).stdin(file).output().unwrap();
    assert_snapshot!(host.transcript(&output), @r"
    from a file
    -- stderr
    note: 3 untracked files stay behind
    -- exit 0
    ");
}

#[test]
fn without_a_command_the_shell_reads_the_pipe() {
    let host = Host::new();
    let fake = Fake::start(&host);
    assert_snapshot!(host.run_with_input(&["run"], b"uname\n"), @r"
    uname
    -- stderr
    note: 3 untracked files stay behind
    -- exit 0
    ");
    assert!(fake.log()[1].starts_with(r#"exec {"argv":[],"entrypoint":false,"env":{},"cwd":null"#));
}

#[test]
fn rm_deletes_before_it_lets_go() {
    let host = Host::new();
    let fake = Fake::start(&host);
    assert_snapshot!(host.run(&["run", "--rm", "--name", "web", "--", "exit", "3"]), @r"
    -- stderr
    note: 3 untracked files stay behind
    -- exit 3
    ");
    fake.wait_for("create stream closed");
    let log = fake.log();
    assert!(log[0].contains(r#""ephemeral":true"#), "{log:#?}");
    assert_eq!(log[2..], ["delete web", "create stream closed"]);
}

#[test]
fn rm_that_fails_is_told() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    assert_snapshot!(host.run(&["run", "--rm", "--name", "stuck", "--", "exit", "3"]), @r"
    -- stderr
    note: 3 untracked files stay behind
    banger: cannot remove the disk of `stuck`
      caused by: permission denied
      hint: remove it with `banger rm stuck`
      (op 0000000000aa)
    -- exit 3
    ");
}

#[test]
fn detached_prints_the_name() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    assert_snapshot!(host.run(&["run", "-d", "--name", "web"]), @r"
    web
    -- stderr
    note: 3 untracked files stay behind
    -- exit 0
    ");
    assert_snapshot!(host.run(&["run", "-d", "--rm"]), @r"
    -- stderr
    banger: a VM cannot be both left running (-d) and removed (--rm)
      hint: leave one of them out; `banger rm NAME` removes a VM later
    -- exit 2
    ");
    assert_snapshot!(host.run(&["run", "-d", "--", "make"]), @r"
    -- stderr
    banger: a command needs somebody to wait for it: -d has none
      hint: make the VM with -d, then run `banger exec NAME -- COMMAND`
    -- exit 2
    ");
}

#[test]
fn a_workspace_is_looked_at_before_anything_is_made() {
    let host = Host::new();
    std::fs::create_dir(host.path("home/plain")).unwrap();
    // No daemon, and none is started: the answer comes before one is needed.
    assert_snapshot!(host.run(&["run", "none"]), @r"
    -- stderr
    banger: cannot use `none` as workspace
      caused by: No such file or directory (os error 2)
      hint: leave the path out for a VM without a workspace
    -- exit 1
    ");
    assert_snapshot!(host.run(&["run", "plain", "--", "make"]), @r"
    -- stderr
    banger: `plain` is not in a git repository
      hint: make it one with `git init plain`
      hint: leave the path out for a VM without a workspace
    -- exit 125
    ");
    git(&host.path("home"), &["init", "-q", "--bare", "bare.git"]);
    assert_snapshot!(host.run(&["run", "bare.git"]), @r"
    -- stderr
    banger: `bare.git` is in a bare repository, which has no files to work on
      hint: clone it: `git clone $HOST/home/bare.git DIRECTORY`
    -- exit 1
    ");
}

#[test]
fn a_branch_needs_a_repository_and_a_beginning_needs_a_branch() {
    let host = Host::new();
    host.repository("repo");
    assert_snapshot!(host.run(&["run", "--branch", "fix"]), @r"
    -- stderr
    banger: a branch needs a repository to be made in
      hint: name it: banger vm run --branch NAME PATH
    -- exit 2
    ");
    let refused = host.run(&["run", "--from", "main", "repo"]);
    assert!(refused.contains("--branch <NAME>") && refused.ends_with("exit 2"), "{refused}");
}

#[test]
fn a_command_runs_in_the_workspace() {
    let host = Host::new();
    let fake = Fake::start(&host);
    host.repository("repo");
    let args = ["run", "repo", "--include-untracked", "-e", "A=b", "--user", "1000", "--", "say"];
    assert!(host.run(&args).ends_with("-- exit 0"));
    let log = fake.log();
    assert!(log[0].contains(r#"/home/repo","include_untracked":true,"#), "{log:#?}");
    assert!(log[0].contains(r#""env":{"A":"b"}"#), "{log:#?}");
    // Where it runs is the daemon's to know: it has workspace and image.
    assert!(log[1].contains(r#""cwd":null,"user":"1000","terminal":null"#), "{log:#?}");
}

#[test]
fn the_images_own_program_is_the_command() {
    let host = Host::new();
    let fake = Fake::start(&host);
    let args = ["run", "--image", "web", "--entrypoint", "--workdir", "/srv", "--", "exit", "9"];
    assert_snapshot!(host.run(&args), @r"
    -- stderr
    note: 3 untracked files stay behind
    -- exit 9
    ");
    let log = fake.log();
    assert!(log[0].contains(r#""image":"web""#), "{log:#?}");
    assert!(log[0].contains(r#""entrypoint":"attached""#), "{log:#?}");
    let exec = r#"exec {"argv":["exit","9"],"entrypoint":true,"env":{},"cwd":"/srv","user":null"#;
    assert!(log[1].starts_with(exec), "{log:#?}");
}

#[test]
fn in_the_background_it_is_a_service() {
    let host = Host::new();
    let fake = Fake::start(&host);
    let args = ["run", "-d", "--entrypoint", "--user", "app", "--name", "web", "--", "-v", "x"];
    assert_snapshot!(host.run(&args), @r"
    web
    -- stderr
    note: 3 untracked files stay behind
    -- exit 0
    ");
    assert_snapshot!(host.run(&["vm", "create", "--entrypoint", "--no-start"]), @r"
    0a0b0c0d0e0f
    -- stderr
    note: 3 untracked files stay behind
    -- exit 0
    ");
    assert!(host.run(&["vm", "create", "--", "serve"]).contains("--entrypoint"));
    let log = fake.log();
    let service = r#""entrypoint":{"service":{"args":["-v","x"],"cwd":null,"user":"app"}}"#;
    assert!(log[0].contains(service), "{log:#?}");
    assert!(log[1].contains(r#""entrypoint":{"service":{"args":[],"#), "{log:#?}");
    assert_eq!(log.len(), 2, "{log:#?}");
}

#[test]
fn failures_have_causes_hints_and_the_operation() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    assert_snapshot!(host.run(&["run", "--name", "broken"]), @r"
    -- stderr
    banger: VM `broken` did not become ready in 90 s
      caused by: console:
        Kernel panic
      hint: `banger vm logs broken` shows its console
      (op 0000000000aa)
    -- exit 1
    ");
    let refused = host.run(&["run", "--", "refused"]);
    assert_snapshot!(refused, @r"
    -- stderr
    note: 3 untracked files stay behind
    banger: bad request: no user `nobody` in the guest
      (op 0000000000aa)
    -- exit 125
    ");
    assert_snapshot!(host.run(&["run", "--name", "Web", "--", "true"]), @r"
    -- stderr
    error: invalid value 'Web' for '--name <NAME>': `Web` is not a VM name: `W` is not one of a-z, 0-9 and `-`

    For more information, try '--help'.
    -- exit 2
    ");
}

#[test]
fn a_vm_that_vanishes_is_a_failure() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    assert_snapshot!(host.run(&["run", "--", "vanish"]), @r"
    -- stderr
    note: 3 untracked files stay behind
    banger: the connection went away before the command ended
      hint: `banger ls` shows whether the VM runs, `banger vm logs` its console
      (op 0000000000aa)
    -- exit 125
    ");
}

#[test]
fn progress_is_silent_unless_asked_for() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    assert_snapshot!(host.run(&["run", "-d"]), @r"
    calm-otter
    -- stderr
    note: 3 untracked files stay behind
    -- exit 0
    ");
    assert_snapshot!(host.run(&["run", "--progress", "plain", "--", "exit", "0"]), @r"
    -- stderr
    spec: 2 vcpu | 2048 MiB | 8G disk | qemu (no KVM: software emulation)
    booting
    booting: fetching 1 MiB of 3 MiB
    note: 3 untracked files stay behind
    booting: done in 0.7s
    ready in 0.8s
    VM `calm-otter` is still running.
      enter it again:  banger exec calm-otter
      stop it:         banger vm stop calm-otter
      delete it:       banger rm calm-otter
    -- exit 0
    ");
}

#[test]
fn an_interrupted_creation_is_cancelled() {
    let host = Host::new();
    let fake = Fake::start(&host);
    let mut command = host.banger(&["run", "--name", "slow", "--progress", "plain"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while line != "booting\n" {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "no stage");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "banger: interrupted; what was begun is undone\n");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    fake.wait_for("create stream closed");
}
