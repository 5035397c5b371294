//! Workspaces on their way home.

use banger_proto::api::StateName;
use insta::assert_snapshot;

use crate::fake::Fake;
use crate::host::Host;

fn with_vms(host: &Host) -> Fake {
    Fake::start(host)
        .with("aabbccddeeff", "web", StateName::Running)
        .with("aacc00000000", "same", StateName::Running)
        .with("aadd00000000", "broken", StateName::Running)
}

#[test]
fn both_sides_are_shown() {
    let host = Host::new();
    let _fake = with_vms(&host);
    let shown = host.run(&["vm", "workspace", "status", "web"]);
    assert!(shown.contains("0123456789ab (main)"), "{shown}");
    assert!(shown.contains("1 file") && shown.contains("nothing"), "{shown}");
    assert!(shown.contains("note: `lib` is a repository of its own"), "{shown}");
    assert!(!shown.contains('\u{1b}') && shown.ends_with("-- exit 0"), "{shown}");
    let json = host.run(&["vm", "workspace", "status", "--json", "web"]);
    assert!(json.contains("\"changed\": 1") && !json.contains('\u{1b}'), "{json}");
}

#[test]
fn a_patch_is_printed_as_it_is_or_saved_whole() {
    let host = Host::new();
    let fake = with_vms(&host);
    let printed = host.run(&["vm", "workspace", "export", "web"]);
    assert!(printed.starts_with("diff --git a/x b/x\n\u{1}\u{1b}\n"), "{printed:?}");
    assert!(printed.contains("note: `lib` is a repository of its own"), "{printed:?}");
    assert!(!printed.contains('\u{7}'), "{printed:?}");
    host.run(&["vm", "workspace", "export", "web", "--stat"]);
    host.run(&["vm", "workspace", "export", "web", "--name-only"]);
    assert_eq!(fake.log(), ["patch form=patch", "patch form=stat", "patch form=names"]);

    let saved = host.run(&["vm", "workspace", "export", "web", "-o", "work.patch"]);
    assert!(saved.ends_with("-- exit 0") && !saved.contains("diff"), "{saved}");
    let patch = host.path("home/work.patch");
    assert_eq!(std::fs::read(&patch).unwrap(), b"diff --git a/x b/x\n\x01\x1b\n");
    // What fails leaves the old one, and nothing beside it.
    let failed = host.run(&["vm", "workspace", "export", "broken", "-o", "work.patch"]);
    assert!(failed.contains("git went away") && failed.ends_with("-- exit 1"), "{failed}");
    assert_eq!(std::fs::read(&patch).unwrap().len(), 22);
    assert!(!host.path("home/work.patch.partial").exists());
}

#[test]
fn an_empty_patch_says_so() {
    let host = Host::new();
    let _fake = with_vms(&host);
    assert_snapshot!(host.run(&["vm", "workspace", "export", "same"]), @r"
    -- stderr
    nothing changed in the VM
    -- exit 0
    ");
}

#[test]
fn files_and_branches_are_told() {
    let host = Host::new();
    let fake = with_vms(&host);
    let applied = host.run(&["vm", "workspace", "export", "web", "--apply"]);
    assert!(applied.starts_with("a\nodd"), "{applied}");
    assert!(applied.contains("changed 2 files in /home/ada/repo"), "{applied}");
    assert!(!applied.contains('\u{1b}'), "{applied:?}");
    let nothing = host.run(&["vm", "workspace", "export", "same", "--apply"]);
    assert!(nothing.contains("nothing to change in /home/ada/repo"), "{nothing}");
    let conflict = host.run(&["vm", "workspace", "export", "broken", "--apply"]);
    assert!(conflict.contains("a file was changed here and in the guest: `a`"), "{conflict}");
    assert!(conflict.ends_with("-- exit 1"), "{conflict}");
    let branch = host.run(&["vm", "workspace", "export", "web", "--branch", "from-web"]);
    assert!(branch.starts_with("c0ffee\n"), "{branch}");
    assert!(branch.contains("branch from-web is new in /home/ada/repo"), "{branch}");
    assert_eq!(fake.log(), [r#"branch web {"name":"from-web"}"#]);
    let both = host.run(&["vm", "workspace", "export", "web", "--apply", "--stat"]);
    assert!(both.ends_with("-- exit 2"), "{both}");
}
