//! Guests that lie, and guests whose git is set up to harm the host.

use banger_proto::Code;
use banger_proto::api::Applied;
use banger_proto::guest::frame::Kind;
use banger_testkit::{Then, frame};
use banger_tree::changes::{Change, FILE, LINK};

use super::*;

/// An agent that says that these files are different.
fn telling(changes: &[(&[u8], u32, &[u8])]) -> Hostile {
    let mut data = Vec::new();
    for (path, mode, contents) in changes {
        let size = contents.len() as u64;
        Change { path: path.to_vec(), mode: *mode, size }.write(&mut data).unwrap();
        data.extend_from_slice(contents);
    }
    saying(&data)
}

fn saying(data: &[u8]) -> Hostile {
    let end = frame(Kind::Event, b"{}");
    let answer = [frame(Kind::Accepted, b"{}"), frame(Kind::Data, data), end].concat();
    Hostile { service: "survey", answer, then: Then::Swallows }
}

async fn refused(hostile: Hostile) -> Problem {
    let rig = Rig::lying(hostile).await;
    let before = (tree(&rig.host), git_files(&rig.host));
    let exported = rig.answer("patch").await.unwrap_err();
    let applied = rig.post::<Applied>("apply", json!({})).await.unwrap_err();
    assert_eq!(exported.message, applied.message);
    assert_eq!((tree(&rig.host), git_files(&rig.host)), before);
    rig.daemon.stop().await;
    exported
}

#[tokio::test]
async fn paths_that_lead_elsewhere() {
    for path in [
        &b"../victim"[..],
        b"/etc/victim",
        b"a/../../x",
        b".git/hooks/post-checkout",
        b"x/.GIT/config",
        // What the next `--apply` would take for its own.
        b".banger-apply-x/plan",
    ] {
        let problem = refused(telling(&[(path, FILE, b"x")])).await;
        assert_eq!(problem.message, "cannot take what the guest says of its files");
        assert!(problem.causes[0].ends_with("is no path of a working tree"), "{problem:?}");
    }
}

#[tokio::test]
async fn paths_that_some_file_system_takes_for_another() {
    let ignored = "\u{200c}.git/config";
    let paths =
        [&b"git~1/config"[..], b".git /config", b".git::$INDEX_ALLOCATION/x", ignored.as_bytes()];
    for path in paths {
        let problem = refused(telling(&[(path, FILE, b"x")])).await;
        assert!(problem.message.ends_with("in the guest is no path that git takes"), "{problem:?}");
    }
    // A file and a directory of one name; and a file below a link.
    for first in [FILE, LINK] {
        let problem = refused(telling(&[(b"x", first, b".git"), (b"x/hooks", FILE, b"")])).await;
        assert!(problem.message.ends_with("in the guest is no path that git takes"), "{problem:?}");
    }
}

#[tokio::test]
async fn streams_that_are_none() {
    for data in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x01a\0\0\0\0\0\0\0\0\0\0\0\x09", b"\0\0"] {
        let problem = refused(saying(data)).await;
        assert_eq!(problem.message, "cannot take what the guest says of its files");
    }
    let endless = Hostile {
        service: "survey",
        answer: frame(Kind::Accepted, b"{}"),
        then: Then::Floods(frame(Kind::Data, &[0xff; 1000])),
    };
    assert_eq!(refused(endless).await.code, Code::OperationFailed);
    let gone =
        Hostile { service: "survey", answer: frame(Kind::Accepted, b"{}"), then: Then::Ends };
    assert!(refused(gone).await.message.starts_with("lost VM `web`"));
}

#[tokio::test]
async fn signs_of_life_are_no_changes() {
    let mut data = Vec::new();
    Change { path: b"new".to_vec(), mode: FILE, size: 2 }.write(&mut data).unwrap();
    data.extend_from_slice(b"ab");
    let sign = frame(Kind::Data, b"");
    let (first, second) = data.split_at(5);
    let parts = [sign.clone(), frame(Kind::Data, first), sign.clone(), sign.clone()].concat();
    let rest = [frame(Kind::Data, second), sign, frame(Kind::Event, b"{}")].concat();
    let answer = [frame(Kind::Accepted, b"{}"), parts, rest].concat();
    let rig = Rig::lying(Hostile { service: "survey", answer, then: Then::Swallows }).await;
    let (patch, _) = rig.patch().await;
    assert!(String::from_utf8_lossy(&patch).contains("+ab"));
    rig.daemon.stop().await;
}

#[tokio::test]
async fn a_guest_that_goes_on_for_ever_does_not_hold_the_daemon() {
    let rig = Rig::lying(Hostile {
        service: "survey",
        answer: frame(Kind::Accepted, b"{}"),
        then: Then::Floods(frame(Kind::Data, b"")),
    })
    .await;
    let asked = rig.daemon.client.clone();
    let asked =
        tokio::spawn(async move { asked.call(Method::GET, "/v1/vms/web/workspace", ()).await });
    in_time(async {
        while rig.daemon.client.get::<banger_proto::api::DaemonStatus>("/v1/daemon").await.busy == 0
        {
        }
    })
    .await;
    in_time(rig.daemon.stop()).await;
    assert_eq!(in_time(asked).await.unwrap().problem().message, "the daemon is stopping");
}

#[tokio::test]
async fn the_guests_git_is_never_believed() {
    let rig = Rig::new().await;
    let (host, guest) = (rig.host.as_path(), rig.guest.as_path());
    let owned = rig.env.dir().join("owned");
    let script = rig.env.dir().join("script");
    fs_err::write(&script, format!("#!/bin/sh\necho $0 $* >> '{}'\ncat\n", owned.display()))
        .unwrap();
    set_mode(Path::new("/"), script.to_str().unwrap(), 0o755);
    let run = script.display();
    let config = format!(
        "[core]\n\tfsmonitor = {run}\n\thooksPath = {dir}\n\tworktree = {dir}\n\tsshCommand = {run}\n\
         \teditor = {run}\n\tpager = {run}\n\tattributesFile = {dir}/attributes\n\
         [credential]\n\thelper = {run}\n[filter \"evil\"]\n\tclean = {run}\n\tsmudge = {run}\n\
         [diff \"evil\"]\n\tcommand = {run}\n\ttextconv = {run}\n[merge \"evil\"]\n\tdriver = {run}\n\
         [uploadpack]\n\tpackObjectsHook = {run}\n[include]\n\tpath = {dir}/more\n",
        dir = rig.env.dir().display(),
    );
    let clean = fs_err::read(guest.join(".git/config")).unwrap();
    write(guest, "b", "committed\n");
    commit(guest, "in the guest");
    // The user has filters, too, which a guest's attributes may name.
    let user = format!(
        "[filter \"mine\"]\n\tclean = {run}\n\tsmudge = {run}\n\trequired\n\
         [diff \"mine\"]\n\tcommand = {run}\n\ttextconv = {run}\n[merge \"mine\"]\n\tdriver = {run}\n"
    );
    fs_err::create_dir_all(rig.env.dir().join("home")).unwrap();
    fs_err::write(rig.env.dir().join("home/.gitconfig"), user).unwrap();
    write(guest, ".gitattributes", "a filter=mine diff=mine merge=mine\n* filter=evil diff=evil\n");
    write(guest, "a", "changed\n");
    write(guest, ".git/config", &config);
    write(guest, ".git/hooks/post-checkout", format!("#!/bin/sh\n{run}\n"));
    set_mode(guest, ".git/hooks/post-checkout", 0o755);
    write(guest, ".git/objects/info/alternates", "/etc\n");
    rig.status().await;
    let (patch, _) = rig.patch().await;
    assert!(String::from_utf8_lossy(&patch).contains("+changed"));
    let branched: serde_json::Value = rig.post("branch", json!({ "name": "w" })).await.unwrap();
    assert_eq!(branched["branch"], "w");
    let _: Applied = rig.post("apply", json!({})).await.unwrap();
    assert!(!owned.exists(), "{}", fs_err::read_to_string(&owned).unwrap());
    assert_eq!(fs_err::read(host.join("a")).unwrap(), b"changed\n");
    assert_eq!(fs_err::read_to_string(guest.join(".git/config")).unwrap(), config);
    assert_ne!(clean, config.as_bytes());
    rig.daemon.stop().await;
}
