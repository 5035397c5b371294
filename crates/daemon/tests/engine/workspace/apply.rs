//! The guest's changes in the host's working tree.

use banger_proto::Code;
use banger_proto::api::{Applied, VmView};

use super::*;

#[tokio::test]
async fn changes_are_made_and_nothing_else() {
    let rig = Rig::new().await;
    let (host, guest) = (rig.host.as_path(), rig.guest.as_path());
    // The host went on meanwhile: elsewhere, and elsewhere in the same file.
    write(host, "host only", "h\n");
    write(host, "a", "one\ntwo\nthree\nfour\nfive\nsix\nSEVEN\n");
    write(guest, "a", "ONE\ntwo\nthree\nfour\nfive\nsix\nseven\n");
    write(guest, "deep/er/new", "n\n");
    fs_err::remove_file(guest.join("old")).unwrap();
    set_mode(guest, "run.sh", 0o644);
    // A directory becomes a file, and a link a directory.
    fs_err::remove_dir_all(guest.join("sub")).unwrap();
    write(guest, "sub", "now a file\n");
    fs_err::remove_file(guest.join("link")).unwrap();
    write(guest, "link/inside", "now a directory\n");
    let before = git_files(host);
    let applied: Applied = rig.post("apply", json!({})).await.unwrap();
    let expected = ["a", "deep/er/new", "link", "link/inside", "old", "run.sh", "sub", "sub/b"];
    assert_eq!(applied.files, expected);
    assert_eq!(git_files(host), before);
    let mut here = tree(host);
    assert_eq!(here.remove(Path::new("host only")).unwrap().1, b"h\n");
    let a = here.get_mut(Path::new("a")).unwrap();
    assert_eq!(a.1, b"ONE\ntwo\nthree\nfour\nfive\nsix\nSEVEN\n");
    a.1 = fs_err::read(guest.join("a")).unwrap();
    assert_eq!(here, tree(guest));

    // Once more, it is all there already.
    fs_err::write(host.join("a"), a_of(guest)).unwrap();
    let again: Applied = rig.post("apply", json!({})).await.unwrap();
    assert_eq!(again.files, [""; 0]);
    rig.daemon.stop().await;
}

fn a_of(top: &Path) -> Vec<u8> {
    fs_err::read(top.join("a")).unwrap()
}

#[tokio::test]
async fn one_conflict_stops_all() {
    let rig = Rig::new().await;
    let (host, guest) = (rig.host.as_path(), rig.guest.as_path());
    write(guest, "fine", "no conflict\n");
    write(guest, "a", "one\nGUEST\nthree\n");
    write(host, "a", "one\nHOST\nthree\n");
    // Both new, both different; and one that is gone here.
    write(guest, "both", "guest\n");
    write(host, "both", "host\n");
    write(guest, "old", "changed\n");
    fs_err::remove_file(host.join("old")).unwrap();
    // The way to it leads through a link of the host.
    let outside = rig.env.dir().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::remove_file(host.join("sub/b")).unwrap();
    fs_err::remove_dir(host.join("sub")).unwrap();
    symlink(&outside, host.join("sub")).unwrap();
    write(guest, "sub/escape", "x");
    let before = (tree(host), git_files(host));
    let problem = rig.post::<Applied>("apply", json!({})).await.unwrap_err();
    assert_eq!(problem.code, Code::Conflict);
    assert_eq!(
        problem.message,
        "4 files were changed here and in the guest: `a`, `both`, `old`, `sub/escape`"
    );
    assert!(problem.hints.iter().any(|hint| hint.contains("--output")), "{problem:?}");
    assert_eq!((tree(host), git_files(host)), before);
    assert_eq!(fs_err::read_dir(outside).unwrap().count(), 0);
    rig.daemon.stop().await;
}

#[tokio::test]
async fn what_cannot_be_written_is_undone() {
    let rig = Rig::new().await;
    let (host, guest) = (rig.host.as_path(), rig.guest.as_path());
    write(guest, "a", "changed\n");
    fs_err::remove_file(guest.join("old")).unwrap();
    // A directory that takes no new name, whoever asks.
    write(guest, "locked/new", "x\n");
    fs_err::create_dir(host.join("locked")).unwrap();
    let locked = Command::new("chattr").arg("+i").arg(host.join("locked")).status();
    if !locked.is_ok_and(|status| status.success()) {
        // Without such a file system or such rights nothing stops the write.
        rig.daemon.stop().await;
        return;
    }
    let before = (tree(host), git_files(host));
    let problem = rig.post::<Applied>("apply", json!({})).await;
    let unlocked = Command::new("chattr").arg("-i").arg(host.join("locked")).status();
    assert!(unlocked.unwrap().success());
    let problem = problem.unwrap_err();
    assert_eq!(problem.message, "cannot write `locked/new`; nothing was changed");
    assert_eq!((tree(host), git_files(host)), before);
    assert!(
        fs_err::read_dir(host)
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with(".banger") })
    );
    rig.daemon.stop().await;
}

#[tokio::test]
async fn what_a_kill_left_behind_goes() {
    let rig = Rig::new().await;
    let before = tree(&rig.host);
    // A daemon that was killed after it had moved one file out of the way.
    let holding = rig.host.join(".banger-apply-a1b2c3");
    fs_err::create_dir(&holding).unwrap();
    fs_err::rename(rig.host.join("a"), holding.join("old-0")).unwrap();
    fs_err::write(holding.join("new-0"), "new").unwrap();
    fs_err::write(holding.join("plan"), b"0 1-3-0\ta\0").unwrap();
    let record =
        rig.env.paths.vm_state_dir(&rig.daemon.client.get::<VmView>("/v1/vms/web").await.id);
    let scratch = record.join("workspace/home-a1b2c3");
    fs_err::create_dir_all(scratch.join("objects")).unwrap();
    let Rig { env, daemon, host, guest } = rig;
    daemon.stop().await;
    let daemon = TestDaemon::start(&env).await;
    assert!(!scratch.exists() && record.join("workspace/current").exists());

    let rig = Rig { env, daemon, host, guest };
    let applied: Applied = rig.post("apply", json!({})).await.unwrap();
    assert_eq!(applied.files, [""; 0]);
    assert_eq!(applied.notes, ["an export that was interrupted was taken back first (files: 1)"]);
    assert_eq!(tree(&rig.host), before);
    rig.daemon.stop().await;
}
