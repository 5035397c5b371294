//! A workspace that is brought in again, by name and before a command.

use banger_proto::api::{StateName, VmWorkspace};
use insta::assert_snapshot;

use crate::fake::Fake;
use crate::host::{Host, git};

const OLD: &str = "1111111111111111111111111111111111111111";

/// A daemon with the VM `web`, whose workspace came from the repository `repo` at commit [`OLD`].
fn with_web(host: &Host) -> Fake {
    let fake = Fake::start(host).with("aabbccddeeff", "web", StateName::Running);
    let repo = host.repository("repo");
    let identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"];
    git(&repo, &[&identity[..], &["commit", "-q", "--allow-empty", "-m", "one"]].concat());
    fake.change("web", |vm| {
        vm.workspace = Some(VmWorkspace {
            host_path: repo.display().to_string(),
            guest_path: "/root/repo".into(),
            head: Some(OLD.into()),
            branch: Some("main".into()),
            include_untracked: true,
            ..VmWorkspace::default()
        });
    });
    fake
}

#[test]
fn what_is_asked_of_the_daemon() {
    let host = Host::new();
    let fake = with_web(&host).with("aabbccddee00", "dirty", StateName::Running);
    let prepare = |args: &[&str]| host.run(&[&["vm", "workspace", "prepare"], args].concat());
    assert_snapshot!(prepare(&["web"]), @"-- exit 0");
    let args = ["--mode", "full", "--branch", "x", "--from", "v1", "--force", "web", "repo"];
    assert_snapshot!(prepare(&args), @"-- exit 0");
    assert_snapshot!(prepare(&["dirty"]), @r"
    -- stderr
    banger: work in the workspace of VM `dirty` would be lost
      caused by: files that are only there: `a`
      hint: to give it up: banger vm workspace prepare --force dirty
    -- exit 1
    ");
    let log = fake.log();
    let nothing =
        r#"{"path":null,"mode":null,"branch":null,"include_untracked":false,"force":false}"#;
    assert_eq!(log[0], format!("prepare web {nothing}"));
    assert!(log[1].contains(r#"/home/repo","mode":"full","branch":{"name":"x","from":"v1"}"#));
    assert!(log[1].ends_with(r#""force":true}"#), "{log:#?}");
}

#[test]
fn a_dry_run_asks_nobody() {
    let host = Host::new();
    let repo = host.repository("repo");
    std::fs::write(repo.join("file"), "").unwrap();
    git(&repo, &["add", "file"]);
    let shown = host.run(&["vm", "workspace", "prepare", "--dry-run", "web", "repo"]);
    assert!(shown.contains("mode") && shown.contains("shallow"), "{shown}");
    assert!(shown.contains("  file\n") && shown.ends_with("-- exit 0"), "{shown}");
    assert!(!host.socket().exists(), "a daemon was started");
}

#[test]
fn a_command_is_told_that_the_host_has_moved_on() {
    let host = Host::new();
    let fake = with_web(&host);
    let said = host.run(&["exec", "web", "--", "exit", "0"]);
    assert!(said.contains("bring it in again: banger vm workspace prepare web"), "{said}");
    assert!(said.contains("was at 1111111111 when"), "{said}");
    // As it was brought in, and with a repository that is gone, there is nothing to say.
    let head = std::process::Command::new("git")
        .args(["-C", host.path("home/repo").to_str().unwrap(), "rev-parse", "HEAD"])
        .output()
        .unwrap();
    let head = String::from_utf8(head.stdout).unwrap().trim().to_owned();
    fake.change("web", |vm| vm.workspace.as_mut().unwrap().host_head = Some(head));
    assert_snapshot!(host.run(&["exec", "web", "--", "exit", "0"]), @"-- exit 0");
    fake.change("web", |vm| vm.workspace.as_mut().unwrap().host_head = None);
    std::fs::remove_dir_all(host.path("home/repo")).unwrap();
    assert_snapshot!(host.run(&["exec", "web", "--", "exit", "0"]), @"-- exit 0");
}

#[test]
fn a_command_may_bring_it_in_first() {
    let host = Host::new();
    let fake = with_web(&host);
    let said = host.run(&["exec", "--auto-prepare", "web", "--", "exit", "4"]);
    assert_snapshot!(said, @"-- exit 4");
    let log = fake.log();
    assert!(log[0].starts_with("prepare web ") && log[1].starts_with("exec "), "{log:#?}");
    assert!(log[0].contains(r#""include_untracked":true"#), "{log:#?}");
}
