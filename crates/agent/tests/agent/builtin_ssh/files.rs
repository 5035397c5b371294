//! `scp` and `sftp`.

use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;

use super::*;

#[tokio::test]
async fn files_and_trees_are_copied_with_modes_and_times() {
    let guest = Guest::new().await;
    let here = guest.path("here");
    std::fs::create_dir_all(here.join("sub")).unwrap();
    std::fs::write(here.join("sub/large"), noise(3 << 20)).unwrap();
    std::fs::write(here.join("script with space"), "#!/bin/sh\n").unwrap();
    let set = |name: &str, mode: u32, time: u64| {
        let file = std::fs::File::open(here.join(name)).unwrap();
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
        file.set_modified(time).unwrap();
    };
    set("sub/large", 0o640, 1_000_000_000);
    set("script with space", 0o755, 1_234_567_890);
    set("sub", 0o710, 1_111_111_111);
    let remote = |name: &str| format!("root@127.0.0.1:{}", guest.path(name).display());
    for (from, to) in
        [(here.display().to_string(), remote("there")), (remote("there"), path(&guest, "back"))]
    {
        let mut scp = guest.client("scp");
        let ran = within(scp.args(["-p", "-r", &from, &to]).output()).await.unwrap();
        assert!(ran.status.success(), "{}", text(&ran.stderr));
    }
    let trees = [path(&guest, "here"), path(&guest, "back")];
    let diff = std::process::Command::new("diff").arg("-r").args(trees).status();
    assert!(diff.unwrap().success());
    let list = |top: &str| {
        let find = ["-mindepth", "1", "-printf", "%P %m %Ts\\n"];
        let found = std::process::Command::new("find").arg(guest.path(top)).args(find).output();
        let mut lines: Vec<_> = text(&found.unwrap().stdout).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(list("back"), list("here"));
    assert_eq!(list("back").len(), 3);
}

#[tokio::test]
async fn sftp_does_everything_a_client_asks_for() {
    let guest = Guest::new().await;
    std::fs::write(guest.path("local"), "0123456789").unwrap();
    let top = guest.path("top");
    std::fs::create_dir(&top).unwrap();
    let odd = std::ffi::OsString::from_vec(b"not \xff utf-8".to_vec());
    std::fs::write(top.join(&odd), "").unwrap();
    let (local, got, top_name) =
        (path(&guest, "local"), path(&guest, "got"), top.display().to_string());
    let batch = format!(
        "cd {top_name}\npwd\nput -p {local} a\nmkdir d\nrename a d/b\n\
         ln d/b d/hard\nln -s b d/soft\nchmod 600 d/b\nls -la d\nls\n\
         get d/soft {got}\nrm d/hard\n-rmdir d\n-get missing\nrm d/b\nrm d/soft\nrmdir d\n\
         put {local} kept\nchown 7 kept\nchgrp 8 kept\n"
    );
    std::fs::write(guest.path("batch"), batch).unwrap();
    let mut sftp = guest.client("sftp");
    sftp.args(["-b", &path(&guest, "batch"), "root@127.0.0.1"]);
    let ran = within(sftp.output()).await.unwrap();
    let (said, wrong) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{wrong}");
    assert!(said.contains(&format!("Remote working directory: {top_name}")), "{said}");
    assert!(said.contains("-rw-------    2"), "{said}");
    assert!(said.contains("lrwxrwxrwx"), "{said}");
    assert!(wrong.contains("rmdir") && wrong.contains("missing"), "{wrong}");
    assert_eq!(std::fs::read_to_string(guest.path("got")).unwrap(), "0123456789");
    let left: Vec<_> =
        std::fs::read_dir(&top).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.len() == 2 && left.contains(&odd) && left.contains(&"kept".into()), "{left:?}");
    let kept = std::fs::metadata(top.join("kept")).unwrap();
    assert_eq!((kept.uid(), kept.gid()), (7, 8));
}
