//! SSH: the bytes of a connection, the client that is started, and its configuration.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use banger_proto::api::StateName;
use insta::assert_snapshot;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::fake::Fake;
use crate::host::Host;
use crate::terminal::Terminal;

fn with_vms(host: &Host) -> Fake {
    Fake::start(host).with("aabbccddeeff", "web", StateName::Running).with(
        "aacc00000000",
        "db",
        StateName::Stopped,
    )
}

/// A client that says what it was started with.
fn client(host: &Host) {
    client_that(host, r#"printf "<%s>\n" "$@"; exit 7"#);
}

/// A client that is this script.
fn client_that(host: &Host, script: &str) {
    let bin = host.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
    // A shell writes it: a child of another test must not hold it open for writing.
    let mut shell = Command::new("sh");
    shell.args(["-c", write, "sh"]).arg(bin.join("ssh")).arg(script);
    assert!(shell.status().unwrap().success());
}

fn run(host: &Host, args: &[&str]) -> String {
    let output = host.banger(args).env("PATH", host.path("bin")).output().unwrap();
    host.transcript(&output)
}

#[test]
fn bytes_pass_both_ways_and_end() {
    let host = Host::new();
    let fake = with_vms(&host);
    // The fake says what it hears, and at our end that it has heard it.
    assert_snapshot!(host.run_with_input(&["vm", "proxy", "web.vm"], b"SSH-2.0-x\n"), @r"
    SSH-2.0-x
    the end
    -- exit 0
    ");
    assert_eq!(fake.log(), ["ssh web"]);
}

#[test]
fn a_vm_that_does_not_run_is_not_started() {
    let host = Host::new();
    let fake = with_vms(&host);
    assert_snapshot!(host.run(&["vm", "proxy", "db.vm"]), @r"
    -- stderr
    banger: VM `db` does not run: it is stopped
      hint: banger vm start db
      (op 0000000000aa)
    -- exit 1
    ");
    client(&host);
    assert_snapshot!(run(&host, &["ssh", "db"]), @r"
    -- stderr
    banger: VM `db` does not run: it is stopped
      hint: banger vm start db
    -- exit 125
    ");
    // One that is paused goes on only where it sleeps.
    fake.change("db", |vm| vm.state = StateName::Paused);
    let refused = run(&host, &["ssh", "db"]);
    assert!(refused.contains("hint: banger vm resume db") && refused.ends_with("125"), "{refused}");
    fake.change("db", |vm| vm.paused_idle_seconds = 300.try_into().ok());
    let output = run(&host, &["ssh", "db"]);
    assert!(!output.contains("does not run"), "{output}");
    assert_snapshot!(run(&host, &["ssh", "none"]), @r"
    -- stderr
    banger: not found: no VM `none`
      caused by: the list is all there is
      hint: `banger ls` shows all VMs
      (op 0000000000aa)
    -- exit 125
    ");
}

#[test]
fn the_hosts_client_is_started_and_its_code_is_ours() {
    let host = Host::new();
    let _fake = with_vms(&host);
    client(&host);
    let options = ["vm", "ssh", "-N", "-L", "1:a:2", "-l", "dev", "web", "--", "make", "-j2"];
    assert_snapshot!(run(&host, &options), @r"
    <-F>
    <$HOST/home/.config/banger/ssh_config>
    <-ldev>
    <-L1:a:2>
    <-N>
    <web.vm>
    <-->
    <make>
    <-j2>
    -- exit 7
    ");
    let mode = |path: &str| host.path(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("home/.config/banger/ssh_config"), 0o600);
    assert_eq!(mode("home/.local/state/banger/ssh/id_ed25519"), 0o600);
    assert!(!host.path("home/.ssh").exists());
}

/// A session on a terminal with the client `script`: what is shown, and the exit code.
fn session(host: &Host, script: &str, during: impl FnOnce(&mut Terminal, Pid)) -> (String, i32) {
    client_that(host, script);
    let mut terminal = Terminal::open();
    let mut command = host.banger(&["vm", "ssh", "web"]);
    command.env("PATH", host.path("bin"));
    let mut child = terminal.start(command);
    terminal.wait_for("begun");
    during(&mut terminal, Pid::from_child(&child));
    let code = child.wait().unwrap().code().unwrap();
    terminal.press(b"\nover\n");
    (terminal.wait_for("over"), code)
}

const REMINDER: &str = "VM `web` is still running.";

#[test]
fn after_a_session_on_a_terminal_the_vm_is_recalled() {
    for (code, recalled) in [(7, true), (0, true), (255, false)] {
        let host = Host::new();
        let _fake = with_vms(&host);
        let script = format!("test -t 0 && echo begun && read key && exit {code}");
        let (shown, ended) = session(&host, &script, |terminal, _| terminal.press(b"\n"));
        assert_eq!((ended, shown.contains(REMINDER)), (code, recalled), "{shown:?}");
    }
}

#[test]
fn a_session_ends_as_its_client_does() {
    let host = Host::new();
    let _fake = with_vms(&host);
    let (_, code) = session(&host, "echo begun; read key; kill -KILL $$", |terminal, _| {
        terminal.press(b"\n");
    });
    assert_eq!(code, 128 + 9);
    // Whoever ends banger ends the client, whose end is told.
    let host = Host::new();
    let _fake = with_vms(&host);
    let script = "trap 'exit 3' TERM; echo begun; while :; do read key; done";
    let (_, code) = session(&host, script, |_, banger| {
        kill_process(banger, Signal::TERM).unwrap();
    });
    assert_eq!(code, 3);
}

#[test]
fn a_session_that_is_stopped_goes_on() {
    let host = Host::new();
    let _fake = with_vms(&host);
    let script = "echo begun; kill -STOP $$; echo back; exit 4";
    let (shown, code) = session(&host, script, |_, banger| {
        let (_, status) = waitpid(Some(banger), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped(), "the shell gets its terminal back");
        kill_process(banger, Signal::CONT).unwrap();
    });
    assert_eq!(code, 4);
    assert!(shown.contains("back") && shown.contains(REMINDER), "{shown:?}");
}

#[test]
fn a_host_without_a_client_is_told_the_other_way() {
    let host = Host::new();
    let _fake = with_vms(&host);
    assert_snapshot!(run(&host, &["vm", "ssh", "web"]), @r"
    -- stderr
    banger: cannot start `ssh`
      caused by: No such file or directory (os error 2)
      hint: install OpenSSH's client
      hint: a shell without it: banger vm exec -it web
    -- exit 125
    ");
}

#[test]
fn the_configuration_is_included_and_taken_out_again() {
    let host = Host::new();
    let own = "# mine\r\nHost *\n  User me";
    std::fs::create_dir(host.path("home/.ssh")).unwrap();
    std::fs::write(host.path("home/.ssh/config"), own).unwrap();
    let read = || std::fs::read_to_string(host.path("home/.ssh/config")).unwrap();

    assert_snapshot!(run(&host, &["ssh-config"]), @r#"
    config:   $HOST/home/.config/banger/ssh_config
    include:  Include "$HOST/home/.config/banger/ssh_config"
    in:       $HOST/home/.ssh/config (not included)
    -- stderr
    hint: banger ssh-config --install
    -- exit 0
    "#);
    assert_eq!(read(), own);
    assert_snapshot!(run(&host, &["ssh-config", "--install"]), @r#"
    config:   $HOST/home/.config/banger/ssh_config
    include:  Include "$HOST/home/.config/banger/ssh_config"
    in:       $HOST/home/.ssh/config (included now)
    -- exit 0
    "#);
    let installed = read();
    assert!(installed.ends_with(own) && installed.contains("\nInclude \""), "{installed}");
    assert!(run(&host, &["ssh-config", "--install"]).contains("(included)"));
    assert_eq!(read(), installed);
    let json = run(&host, &["ssh-config", "--json"]);
    assert!(json.contains("\"installed\": true"), "{json}");

    assert!(run(&host, &["ssh-config", "--uninstall"]).contains("(not included any more)"));
    assert_eq!(read(), own);
    assert!(!host.socket().exists(), "no daemon is needed");
}
