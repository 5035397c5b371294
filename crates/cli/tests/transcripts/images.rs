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
    assert_snapshot!(host.run(&["image", "ls"]), @"");
    let json = host.run(&["image", "list", "--json"]);
    let list: Value = serde_json::from_str(json.strip_suffix("-- exit 0").unwrap()).unwrap();
    assert_eq!(list["images"][1]["run"]["user"], "web");
}

#[test]
fn shows() {
    let host = Host::new();
    let _fake = with_images(&host);
    assert_snapshot!(host.run(&["image", "show", "localhost:5000/team/app:1"]), @"");
    assert_snapshot!(host.run(&["image", "show", "lost"]), @"");
    assert_snapshot!(host.run(&["image", "show", "nope"]), @"");
}

#[test]
fn deletes_several_and_goes_on_past_failures() {
    let host = Host::new();
    let fake = with_images(&host);
    let args = ["image", "rm", "nope", "localhost:5000/team/app:1", "a b/../c"];
    assert_snapshot!(host.run(&args), @"");
    assert_eq!(fake.log(), ["delete image localhost:5000/team/app:1"]);
}

#[test]
fn imports_a_file_and_standard_input() {
    let host = Host::new();
    let fake = Fake::start(&host);
    std::fs::write(host.path("home/rootfs.tar"), "tar").unwrap();
    let args = ["image", "import", "--name", "mine", "rootfs.tar", "--kernel", "own"];
    assert_snapshot!(host.run(&args), @"");
    let args =
        ["image", "import", "--name", "team/app:1", "-", "--force", "--description", "a & b"];
    let input = vec![b'x'; 1 << 20];
    assert_snapshot!(host.run_with_input(&args, &input), @"");
    let log = fake.log().join("\n").replace(host.path("").to_str().unwrap(), "$HOST/");
    assert_snapshot!(log, @"");
    assert_snapshot!(host.run(&["image", "import", "--name", "a+b", "rootfs.tar"]), @"");
    assert_snapshot!(host.run(&["image", "import", "--name", "mine", "nope.tar"]), @"");
}

#[test]
fn an_upload_that_is_refused_says_why() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    let input = vec![b'x'; 8 << 20];
    let transcript = host.run_with_input(&["image", "import", "--name", "taken", "-"], &input);
    assert_snapshot!(transcript, @"");
}

#[test]
fn registers_promotes_pulls_and_prunes() {
    let host = Host::new();
    let fake = Fake::start(&host);
    std::fs::write(host.path("home/own.ext4"), "").unwrap();
    assert_snapshot!(host.run(&["image", "register", "own", "--rootfs", "own.ext4"]), @"");
    assert_snapshot!(host.run(&["image", "promote", "team/own"]), @"");
    assert_snapshot!(host.run(&["image", "pull", "alpine", "--progress", "plain"]), @"");
    assert_snapshot!(host.run(&["image", "cache", "prune"]), @"");
    let log = fake.log().join("\n").replace(host.path("").to_str().unwrap(), "$HOST/");
    assert_snapshot!(log, @"");
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
