//! What is in the jail, and what is not.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use banger_proto::jail::Wall;
use serde_json::{Value, json};

use crate::rig::{HELPER, Host, Probe, Process, inherited, probe_words, status, tree};

const NOTHING: &str = "0000000000000000";

#[test]
fn what_it_was_given_is_there() {
    let host = Host::new();
    let mut probe = host.probe();
    assert_eq!(probe.missing, []);
    for name in ["base", "run/one/vmm.conf", "vms/one/disk"] {
        assert_eq!(probe.does(json!(["read", host.at(name)])), name);
    }
    probe.does(json!(["write", host.at("vms/one/disk"), "guest", "r+"]));
    assert_eq!(std::fs::read_to_string(host.path("vms/one/disk")).unwrap(), "guestne/disk");
    // It grows on the host while it is open.
    let disk = std::fs::OpenOptions::new().write(true).open(host.path("vms/one/disk")).unwrap();
    disk.set_len(1 << 30).unwrap();
    assert_eq!(
        probe.does(json!(["run", "/usr/bin/stat", "-c%s", host.at("vms/one/disk")]))[1],
        "1073741824\n"
    );

    probe.does(json!(["bind", host.at("run/one/vmm/api.sock")]));
    probe.does(json!(["write", host.at("run/one/vmm/state"), "made"]));
    probe.does(json!(["remove", host.at("run/one/vmm/state")]));
    probe.does(json!(["write", "/dev/null", "x"]));
    probe.does(json!(["write", "/proc/self/fd/2", ""]));
    let program = std::fs::canonicalize(probe_words()[0]).unwrap();
    assert_eq!(probe.does(json!(["link", "/proc/self/exe"])), json!(program));
    assert_eq!(probe.does(json!(["descriptors"])), inherited());
}

/// What the root directory hides is not there; what is there and is not to be read, Landlock refuses.
#[test]
fn nothing_else_is_there() {
    let host = Host::new();
    let daemon = UnixListener::bind(host.path("run/bangerd.sock")).unwrap();
    let before = tree(&host.path("vms/other"));
    let mut probe = host.probe();
    for path in [
        host.at("home/.netrc"),
        host.at("shadow"),
        host.at("vms/other/disk"),
        host.at("run/one/launch.json"),
        host.at("run/other/vmm.conf"),
        "/etc/passwd".to_owned(),
        "/etc/hostname".to_owned(),
        "/proc/sys/kernel/hostname".to_owned(),
        "/sys/kernel/uevent_seqnum".to_owned(),
    ] {
        assert_eq!(probe.fails(json!(["read", path])), "ENOENT", "{path}");
    }
    for path in ["/root", "/home", "/var", "/sys", "/dev/kvm", "/dev/tty"] {
        assert_eq!(probe.fails(json!(["listing", path])), "ENOENT", "{path}");
    }
    for path in ["/", "/dev", &host.at("run")] {
        assert_eq!(probe.fails(json!(["listing", path])), "EACCES", "{path}");
    }
    assert_eq!(probe.fails(json!(["connect", host.at("run/bangerd.sock")])), "ENOENT");
    daemon.set_nonblocking(true).unwrap();
    assert!(daemon.accept().is_err(), "nobody has connected");
    assert_eq!(tree(&host.path("vms/other")), before);
}

#[test]
fn what_is_read_is_not_written() {
    let host = Host::new();
    let mut probe = host.probe();
    let library = "/usr/lib/os-release";
    for path in [host.at("base"), host.at("run/one/vmm.conf"), library.to_owned()] {
        let error = probe.fails(json!(["write", path, "x", "r+"]));
        assert!(["EACCES", "EROFS"].contains(&error.as_str()), "{path}: {error}");
        assert_eq!(probe.fails(json!(["remount", path])), "EPERM", "{path}");
        assert_eq!(probe.fails(json!(["unmount", path])), "EPERM", "{path}");
        let error = probe.fails(json!(["nest", path]));
        assert_eq!(error, "EPERM", "{path}");
    }
    for path in ["/new".to_owned(), host.at("run/one/supervisor.json")] {
        let error = probe.fails(json!(["write", path, "x"]));
        assert!(["EACCES", "EROFS"].contains(&error.as_str()), "{path}: {error}");
    }
    assert_eq!(probe.fails(json!(["mount", host.at("run/one/vmm")])), "EPERM");
    // What it makes is not executed.
    let made = host.at("run/one/vmm/program");
    probe.does(json!(["write", made, "#!/bin/sh\n"]));
    std::fs::set_permissions(&made, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(probe.fails(json!(["run", made])), "EACCES");
}

#[test]
fn other_processes_are_out_of_reach() {
    let host = Host::new();
    let mut probe = host.probe();
    let outside = std::process::id();
    assert_eq!(probe.fails(json!(["kill", outside])), "ESRCH");
    assert_eq!(probe.fails(json!(["kill", 0x7000_0000])), "ESRCH");
    // Of the first process in there one sees that it is there.
    for file in ["root/etc/passwd", "environ", "mem", "ns/user"] {
        let error = probe.fails(json!(["read", format!("/proc/1/{file}")]));
        assert_eq!(error, "EACCES", "{file}");
    }
    assert_eq!(probe.fails(json!(["ptrace", 1])), "EPERM");
    let error = probe.fails(json!(["listing", format!("/proc/{outside}")]));
    assert_eq!(error, "ENOENT");
    // The starter is gone: the first, and the probe.
    let seen = probe.does(json!(["listing", "/proc"]));
    assert_eq!(seen, json!(["1", "2", "self", "thread-self"]));
}

#[test]
fn there_is_no_privilege_and_none_to_be_had() {
    let mut host = Host::new();
    // A program that makes who executes it somebody else, as far as this user may make one.
    let program = host.path("other");
    std::fs::copy("/usr/bin/id", &program).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&program, Some(12345), Some(12345)).unwrap();
    }
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o6755)).unwrap();
    host.spec.execute.push(program.clone());
    let mut probe = host.probe();
    let own = probe.own();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&own["status"], set), NOTHING, "{set}");
    }
    assert_eq!(status(&own["status"], "NoNewPrivs"), "1");
    assert_eq!(own["ids"], json!([0, 0, 0, 0, 0, 0]), "who made the namespace is user 0 of it");
    assert_eq!(own["pid"], 2);
    assert_eq!(own["host"], "vmm");
    assert_eq!(own["links"], json!(["lo"]), "there is no card, so there is no network");
    assert_eq!(own["directory"], "/");
    assert_eq!(own["limits"], json!([1024, 1024]));
    let seen = probe.does(json!(["run", program, "-u"]));
    assert_eq!(seen, json!([0, "0\n", ""]));
    let error = probe.fails(json!(["tcp", 1]));
    assert_eq!(error, "EACCES");
}

/// With a card, it is where the card is.
#[test]
fn in_namespaces_that_there_are() {
    let holder = Command::new(HELPER)
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut holder = Process(holder);
    let mut said = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(holder.0.stdout.take().unwrap()),
        &mut said,
    )
    .unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    let entrance = ["user", "net"].map(|kind| {
        let path = format!("/proc/{}/ns/{kind}", said["pid"]);
        let inode = std::fs::metadata(&path).unwrap().ino().to_string();
        let kind = if kind == "user" { "userns" } else { "netns" };
        [format!("--{kind}"), path, format!("--{kind}-inode"), inode]
    });
    let mut host = Host::new();
    host.spec.offline = false;
    let mut probe = host.start(&[], &entrance.concat(), &probe_words());
    assert_eq!(probe.missing, []);
    let own = probe.own();
    assert_eq!(own["namespaces"]["user"], said["userns_inode"]);
    assert_eq!(own["namespaces"]["net"], said["netns_inode"]);
    assert_eq!(status(&own["status"], "CapBnd"), NOTHING);
    assert_eq!(own["pid"], 2);
    assert_eq!(probe.fails(json!(["read", host.at("shadow")])), "ENOENT");
}

/// A user namespace whose own limit is 0 stands for a host that has none for its users.
#[test]
fn without_namespaces_the_second_wall_stands_and_the_first_is_missed() {
    let host = Host::new();
    let before = [
        "unshare",
        "-U",
        "-r",
        "sh",
        "-c",
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all \
         --inh-caps=-all --securebits=+noroot,+noroot_locked \"$@\"",
        "sh",
    ];
    let mut probe = host.start(&before, &[], &probe_words());
    let [(Wall::Namespaces, reason)] = &*probe.missing else { panic!("{:?}", probe.missing) };
    assert!(
        reason.starts_with("cannot make a user namespace: `user.max_user_namespaces` is 0"),
        "{reason}"
    );
    assert_eq!(probe.init, None);
    let mut assert_refused = |words: Value| {
        let error = probe.fails(words.clone());
        assert!(["EACCES", "EPERM"].contains(&error.as_str()), "{words}: {error}");
    };
    for path in ["home/.netrc", "shadow", "vms/other/disk", "run/one/launch.json"] {
        assert_refused(json!(["read", host.at(path)]));
    }
    assert_refused(json!(["read", "/etc/passwd"]));
    assert_refused(json!(["listing", "/proc"]));
    assert_refused(json!(["read", format!("/proc/{}/environ", std::process::id())]));
    assert_refused(json!(["write", host.at("base"), "x", "r+"]));
    assert_refused(json!(["write", host.at("run/one/supervisor.json"), "x"]));
    assert_refused(json!(["kill", std::process::id()]));
    assert_refused(json!(["tcp", 1]));
    let given = |probe: &mut Probe| {
        assert_eq!(probe.does(json!(["read", host.at("base")])), "base");
        probe.does(json!(["write", host.at("vms/one/disk"), "guest", "r+"]));
        probe.does(json!(["bind", host.at("run/one/vmm/api.sock")]));
    };
    given(&mut probe);
}
