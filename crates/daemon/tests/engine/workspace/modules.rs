//! Submodules: they come along in a full workspace, and work in them is not lost.

use super::*;

/// A repository with a submodule at `lib/one`.
fn with_submodule(top: &Path) {
    repository(top);
    let inner = top.parent().unwrap().join("inner");
    repository(&inner);
    let add = ["-c", "protocol.file.allow=always", "submodule", "add", "-q"];
    git(top, &[&add[..], &[inner.to_str().unwrap(), "lib/one"]].concat());
    commit(top, "submodule");
}

/// The VM `web`, and a full workspace in it.
async fn full() -> Rig {
    let rig = Rig::new().await;
    let other = rig.env.dir().join("other");
    with_submodule(&other);
    let refused = rig.prepare(json!({ "path": other })).await.unwrap_err();
    assert!(refused.hints[0].contains("--mode full"), "{refused:?}");
    rig.prepare(json!({ "path": other, "mode": "full" })).await.unwrap();
    Rig { host: other, ..rig }
}

#[tokio::test]
async fn they_come_along_and_what_they_built_stays() {
    let rig = full().await;
    assert_eq!(git(&rig.guest, &["status", "--short"]), "");
    assert_eq!(git(&rig.guest, &["submodule", "status"]), git(&rig.host, &["submodule", "status"]));
    assert_eq!(git(&rig.guest.join("lib/one"), &["rev-list", "--count", "HEAD"]), "2");
    // The outer repository's changes come home without the inner one's files.
    write(&rig.guest, "a", "by the guest\n");
    let (patch, notes) = rig.patch().await;
    let patch = String::from_utf8(patch).unwrap();
    assert_eq!(patch.matches("diff --git").count(), 1, "{patch}");
    assert!(notes[0].starts_with("`lib/one` is a repository of its own"), "{notes:?}");
    write(&rig.guest, "a", fs_err::read(rig.host.join("a")).unwrap());

    write(&rig.guest, "lib/one/target/out", "built");
    write(&rig.host, "lib/one/a", "edited\n");
    rig.prepare(json!({})).await.unwrap();
    let read = |path: &str| fs_err::read_to_string(rig.guest.join(path)).unwrap();
    assert_eq!(
        (read("lib/one/a").as_str(), read("lib/one/target/out").as_str()),
        ("edited\n", "built")
    );
    rig.daemon.stop().await;
}

#[tokio::test]
async fn work_in_them_is_not_lost_unasked() {
    let rig = full().await;
    let inner = rig.guest.join("lib/one");
    let refused = async |named: &str| {
        let problem = rig.prepare(json!({})).await.unwrap_err();
        assert!(problem.causes[0].contains(named), "{problem:?}");
    };
    write(&inner, "a", "by the guest\n");
    refused("`lib/one/a`").await;
    commit(&inner, "work");
    refused(&git(&inner, &["rev-parse", "HEAD"])).await;
    git(&inner, &["reset", "-q", "--hard", "HEAD^"]);
    rig.prepare(json!({})).await.unwrap();
    write(&inner, "new", "by the guest\n");
    refused("`lib/one/new`").await;
    rig.prepare(json!({ "force": true })).await.unwrap();
    assert!(!inner.join("new").exists());
    rig.daemon.stop().await;
}
