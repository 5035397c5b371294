//! `banger kernel …`.

use insta::assert_snapshot;

use crate::fake::Fake;
use crate::host::Host;

#[test]
fn lists() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    assert_snapshot!(host.run(&["kernel", "ls"]), @r"
    NAME     HERE  VERSION  SIZE    DESCRIPTION
    debian   yes   6.1.0-9  40 MiB  Debian's
    generic  no    -        -       Linux for VMs
    mine     yes   6.12.1   40 MiB  imported from vmlinux
    -- stderr
    note: No catalog from `https://kernels.example`: nothing came.
    -- exit 0
    ");
    let json = host.run(&["kernel", "list", "--json"]);
    assert!(json.contains(r#""name": "generic""#), "{json}");
}

#[test]
fn shows() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    assert_snapshot!(host.run(&["kernel", "show", "debian"]), @r"
    name:           debian
    description:    Debian's
    source:         debian bookworm, package linux-image-cloud-amd64
    version:        6.1.0-9
    distro:         debian
    arch:           amd64
    size:           40 MiB
    directory:      /kernels/.versions/debian-0123456789ab
    boots with:     ext4, virtio_blk
    modules:        779, in /lib/modules of every VM
    runs vms here:  no
    lacks:          CONFIG_TTY (to have terminals)
    built in:       PVH UNIX
    as modules:     VIRTIO_BLK
    without:        TTY
    vms:            web, db
    -- exit 0
    ");
    assert_snapshot!(host.run(&["kernel", "show", "generic"]), @r"
    name:         generic
    description:  Linux for VMs
    source:       https://kernels.example/generic.tar.zst
    here:         no; it is obtained at first use
    -- exit 0
    ");
    assert_snapshot!(host.run(&["kernel", "show", "mine"]), @r"
    name:           mine
    description:    imported from vmlinux
    version:        6.12.1
    size:           40 MiB
    directory:      /kernels/.versions/mine-0123456789ab
    boots with:     none
    modules:        none
    runs vms here:  unknown: nothing tells what it was built with
    vms:            -
    -- exit 0
    ");
    let json = host.run(&["kernel", "show", "debian", "--json"]);
    assert!(json.contains(r#""VIRTIO_BLK": "m""#), "{json}");
    assert_snapshot!(host.run(&["kernel", "show", "nope"]), @r"
    -- stderr
    banger: not found: unknown kernel `nope`
      (op 0000000000aa)
    -- exit 1
    ");
    assert_snapshot!(host.run(&["kernel", "show", "../vms"]), @r"
    -- stderr
    banger: unknown kernel `../vms`
    -- exit 1
    ");
}

#[test]
fn imports() {
    let host = Host::new();
    let fake = Fake::start(&host);
    std::fs::create_dir(host.path("modules")).unwrap();
    for file in ["vmlinux", "config"] {
        std::fs::write(host.path(file), "").unwrap();
    }
    let at = |file: &str| host.path(file).canonicalize().unwrap().display().to_string();
    assert_snapshot!(host.run(&["kernel", "import", "mine", &at("vmlinux")]), @r"
    mine
    -- stderr
    note: Nothing tells what kernel `mine` was built with.
    -- exit 0
    ");
    let (config, modules) = (at("config"), at("modules"));
    host.run(&[
        "kernel",
        "import",
        "mine",
        &at("vmlinux"),
        "--force",
        "--description",
        "my own",
        "--config",
        &config,
        "--modules",
        &modules,
    ]);
    host.run(&["kernel", "import", "mine", &at("vmlinux"), "--modules", "none"]);
    let log = fake
        .log()
        .join("\n")
        .replace(&host.path("").canonicalize().unwrap().display().to_string(), "");
    assert_snapshot!(log, @r#"
    import {"name":"mine","path":"/vmlinux","modules":"package","config":null,"description":null,"force":false}
    import {"name":"mine","path":"/vmlinux","modules":{"path":"/modules"},"config":"/config","description":"my own","force":true}
    import {"name":"mine","path":"/vmlinux","modules":"none","config":null,"description":null,"force":false}
    "#);
    assert_snapshot!(host.run(&["kernel", "import", "mine", "/nonexistent"]), @r"
    -- stderr
    banger: cannot read `/nonexistent`
      caused by: No such file or directory (os error 2)
    -- exit 1
    ");
}

#[test]
fn pulls() {
    let host = Host::new();
    let fake = Fake::start(&host);
    assert_snapshot!(host.run(&["kernel", "pull", "--force", "mine"]), @r"
    mine
    -- stderr
    note: Nothing tells what kernel `mine` was built with.
    -- exit 0
    ");
    assert_eq!(fake.log(), [r#"pull {"name":"mine","force":true}"#]);
}

#[test]
fn deletes_several_and_goes_on_past_failures() {
    let host = Host::new();
    let fake = Fake::start(&host);
    assert_snapshot!(host.run(&["kernel", "rm", "debian", "a/b", "mine"]), @r"
    mine
    -- stderr
    banger: kernel `debian` is used by VMs web, db
      (op 0000000000aa)
    banger: unknown kernel `a/b`
    -- exit 1
    ");
    assert_eq!(fake.log(), ["delete kernel debian", "delete kernel mine"]);
}
