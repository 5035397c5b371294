//! Images: lists, what is shown, and what is asked of the daemon.

use banger_proto::api::ImageView;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::fake::Fake;
use crate::host::Host;

fn image(more: Value) -> ImageView {
    let mut image = json!({
        "name": "debian-bookworm", "description": "Debian 12", "digest": "00ff", "size": 330_301_440,
        "created_at": "2026-01-02T03:04:05Z", "local": true, "source": "recipe debian-bookworm",
        "distro": "debian", "arch": "amd64", "path": "/images/debian-bookworm-00ff.ext4",
    });
    for (key, value) in more.as_object().unwrap() {
        image[key] = value.clone();
    }
    serde_json::from_value(image).unwrap()
}

fn with_images(host: &Host) -> Fake {
    Fake::start(host)
        .with_image(image(json!({})))
        .with_image(image(json!({
            "name": "localhost:5000/team/app:1", "description": "ours", "kernel": "own",
            "run": { "env": { "A": "b c" }, "user": "web", "entrypoint": ["/app", "--serve"] },
        })))
        .with_image(image(json!({
            "name": "lost", "registered": true, "gone": true, "digest": null, "path": "/srv/l.ext4",
        })))
        .with_image(image(json!({ "name": "more", "local": false, "size": 0, "created_at": null })))
}

#[test]
fn lists() {
    let host = Host::new();
    let _fake = with_images(&host);
    assert_snapshot!(host.run(&["image", "ls"]), @"
    NAME                       HERE              SIZE     CREATED           KERNEL  DESCRIPTION
    debian-bookworm            yes               315 MiB  2026-01-02 03:04  -       Debian 12
    localhost:5000/team/app:1  yes               315 MiB  2026-01-02 03:04  own     ours
    lost                       its file is gone  315 MiB  2026-01-02 03:04  -       Debian 12
    more                       no                -        -                 -       Debian 12
    -- stderr
    note: No catalog today.
    -- exit 0
    ");
    let json = host.run(&["image", "list", "--json"]);
    let list: Value = serde_json::from_str(json.strip_suffix("-- exit 0").unwrap()).unwrap();
    assert_eq!(list["images"][1]["run"]["user"], "web");
}

#[test]
fn shows() {
    let host = Host::new();
    let _fake = with_images(&host);
    assert_snapshot!(host.run(&["image", "show", "localhost:5000/team/app:1"]), @"
    name:         localhost:5000/team/app:1
    description:  ours
    source:       recipe debian-bookworm
    distro:       debian
    arch:         amd64
    kernel:       own
    digest:       00ff
    size:         315 MiB
    created:      2026-01-02T03:04:05Z
    file:         /images/debian-bookworm-00ff.ext4
    env:          A=b c
    user:         web
    entrypoint:   /app --serve
    vms:          web
    -- exit 0
    ");
    assert_snapshot!(host.run(&["image", "show", "lost"]), @"
    name:         lost
    description:  Debian 12
    source:       recipe debian-bookworm
    distro:       debian
    arch:         amd64
    kernel:       the default one
    digest:       -
    size:         315 MiB
    created:      2026-01-02T03:04:05Z
    file:         /srv/l.ext4 (gone)
    vms:          web
    -- exit 0
    ");
    assert_snapshot!(host.run(&["image", "show", "nope"]), @"
    -- stderr
    banger: not found: there is no image `nope` here
      (op 0000000000aa)
    -- exit 1
    ");
}

#[test]
fn deletes_several_and_goes_on_past_failures() {
    let host = Host::new();
    let fake = with_images(&host);
    let args = ["image", "rm", "nope", "localhost:5000/team/app:1", "a b/../c"];
    assert_snapshot!(host.run(&args), @"
    localhost:5000/team/app:1
    -- stderr
    banger: not found: there is no image `nope` here
      (op 0000000000aa)
    banger: not found: there is no image `a b/../c` here
      (op 0000000000aa)
    -- exit 1
    ");
    assert_eq!(fake.log(), ["delete image localhost:5000/team/app:1"]);
}

#[test]
fn imports_a_file_and_standard_input() {
    let host = Host::new();
    let fake = Fake::start(&host);
    std::fs::write(host.path("home/rootfs.tar"), "tar").unwrap();
    let args = ["image", "import", "--name", "mine", "rootfs.tar", "--kernel", "own"];
    assert_snapshot!(host.run(&args), @"
    mine
    -- exit 0
    ");
    let args =
        ["image", "import", "--name", "team/app:1", "-", "--force", "--description", "a & b"];
    let input = vec![b'x'; 1 << 20];
    assert_snapshot!(host.run_with_input(&args, &input), @"
    team/app:1
    -- exit 0
    ");
    let log = fake.log().join("\n").replace(host.path("").to_str().unwrap(), "$HOST/");
    assert_snapshot!(log, @r#"
    import {"name":"mine","path":"$HOST/home/rootfs.tar","kernel":"own","force":false}
    upload 1048576 bytes, name=team%2Fapp%3A1&description=a+%26+b&force=true
    "#);
    assert_snapshot!(host.run(&["image", "import", "--name", "a+b", "rootfs.tar"]), @"
    -- stderr
    error: invalid value 'a+b' for '--name <NAME>': `a+b` cannot be part of an image name: use a-z and 0-9, separated by `.`, `_`, `__` or `-`

    For more information, try '--help'.
    -- exit 2
    ");
    assert_snapshot!(host.run(&["image", "import", "--name", "mine", "nope.tar"]), @"
    -- stderr
    banger: cannot read `nope.tar`
      caused by: No such file or directory (os error 2)
    -- exit 1
    ");
}

#[test]
fn an_upload_that_is_refused_says_why() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    let input = vec![b'x'; 8 << 20];
    let transcript = host.run_with_input(&["image", "import", "--name", "taken", "-"], &input);
    assert_snapshot!(transcript, @"
    -- stderr
    banger: already exists: an image named `taken` exists already
    -- exit 1
    ");
}

#[test]
fn registers_promotes_pulls_and_prunes() {
    let host = Host::new();
    let fake = Fake::start(&host);
    std::fs::write(host.path("home/own.ext4"), "").unwrap();
    assert_snapshot!(host.run(&["image", "register", "own", "--rootfs", "own.ext4"]), @"
    own
    -- exit 0
    ");
    assert_snapshot!(host.run(&["image", "promote", "team/own"]), @"
    team/own
    -- exit 0
    ");
    assert_snapshot!(host.run(&["image", "pull", "alpine", "--progress", "plain"]), @"
    alpine:latest
    -- stderr
    getting the image
    getting the image: writing 1 MiB of 2 MiB
    -- exit 0
    ");
    assert_snapshot!(host.run(&["image", "cache", "prune"]), @"
    freed 312 MiB (2 files)
    -- stderr
    note: Some are kept.
    -- exit 0
    ");
    let log = fake.log().join("\n").replace(host.path("").to_str().unwrap(), "$HOST/");
    assert_snapshot!(log, @r#"
    register {"name":"own","rootfs":"$HOST/home/own.ext4","force":false}
    promote team/own
    pull {"name":"alpine","force":false}
    prune
    "#);
}

#[test]
fn a_bundle_is_made_without_a_daemon() {
    let host = Host::new();
    let tar = host.path("home/rootfs.tar");
    // A tar with nothing but its end: an empty root.
    std::fs::write(&tar, [0; 1024]).unwrap();
    let args = [
        "internal",
        "make-bundle",
        "--rootfs-tar",
        "rootfs.tar",
        "--name",
        "mine",
        "--distro",
        "debian",
        "--out",
        "out",
    ];
    let transcript = host.run(&args);
    let lines: Vec<_> = transcript.lines().collect();
    let [path, sha256, size, exit] = lines[..] else { panic!("{transcript}") };
    assert_eq!(path, format!("out/mine-{}.tar.zst", &sha256[..12]));
    let made = host.path("home").join(path);
    assert_eq!(std::fs::metadata(made).unwrap().len().to_string(), size);
    assert_eq!(exit, "-- exit 0");
    assert!(!host.socket().exists());
}
