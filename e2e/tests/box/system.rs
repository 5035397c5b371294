//! banger as a service of the system.

use banger_e2e::host::Host;

use super::{SERVE, create, observe};

/// Somebody else on the host.
const OTHER: &str = "other";

pub(crate) fn a_service_of_the_system(host: &mut Host) {
    host.root(&format!("useradd -m {OTHER}")).expect_code(0);
    let before = observe(host);
    expect_failures_taken_back(host, &before);
    // Two at once: one waits for nobody and changes nothing.
    let both = "sudo banger system install --yes --bridge vms & first=$!
                sudo banger system install --yes --bridge vms; second=$?
                wait $first; echo $? $second";
    let both = host.user(both).expect_code(0).stdout;
    assert!(["0 0\n", "0 1\n", "1 0\n"].contains(&both.as_str()), "{both}");
    host.user("banger system status").expect_code(0);
    let security = "systemd-analyze security --no-pager --threshold=30";
    host.root(&format!("{security} bangerd.service banger-helper@.service")).expect_code(0);

    create(host, "web", "--autostart");
    create(host, "idle", "");
    host.root("ip addr show dev vms").expect_code(0);
    expect_reached(host);
    expect_others_kept_out(host);

    let boot = boot_of(host, "web");
    host.user("sudo banger system restart").expect_code(0);
    assert_eq!(boot_of(host, "web"), boot);
    host.root("systemctl kill --kill-who=main --signal=KILL bangerd.service").expect_code(0);
    host.root("systemctl kill --signal=KILL 'banger-helper@*.service'").expect_code(0);
    assert_eq!(boot_of(host, "web"), boot);
    expect_rules_kept(host);
    expect_deaths_survived(host);
    assert_eq!(boot_of(host, "web"), boot);
    expect_reached(host);

    host.user("banger vm stop idle").expect_code(0);
    host.reboot();
    host.user("banger vm wait --timeout 600 web").expect_code(0);
    assert_ne!(boot_of(host, "web"), boot);
    let list = host.user("banger vm list --json").expect_code(0).json();
    let vms = list["vms"].as_array().expect("VMs");
    let state = |name: &str| vms.iter().find(|vm| vm["name"] == name).expect(name)["state"].clone();
    assert_eq!((state("web"), state("idle")), ("running".into(), "stopped".into()));

    host.user("sudo banger system uninstall --yes").expect_code(0);
    assert_eq!(observe(host), before);
    // What is the user's stays, and is used without a service again.
    host.user("banger vm start idle && banger vm exec idle -- hostname").expect_code(0);
}

/// Installs that fail half-way leave the host as it was.
fn expect_failures_taken_back(host: &Host, before: &str) {
    let failures = [
        // Somebody sits where a socket is to be.
        ("mkdir -p /run/banger/helper.sock/full", "rm -r /run/banger"),
        // The disk is full after a file or two.
        (
            "mount -t tmpfs -o size=8k tmpfs /etc/systemd/system",
            "umount /etc/systemd/system; systemctl daemon-reload",
        ),
    ];
    for (obstruct, clear) in failures {
        host.root(obstruct).expect_code(0);
        let failed = host.user("sudo banger system install --yes --bridge vms");
        assert!(failed.expect_code(1).stderr.contains("everything is as it was before"));
        host.root(clear).expect_code(0);
        assert_eq!(observe(host), before, "after `{obstruct}`");
    }
}

/// What a restart of the host's firewall takes away comes back by itself.
fn expect_rules_kept(host: &Host) {
    let rules = "nft -s list ruleset";
    let before = host.root(rules).expect_code(0).stdout;
    assert!(before.contains("table inet banger"), "{before}");
    let there = "until nft list table inet banger && nft list table bridge banger; do :; done";
    host.root(&format!("nft flush ruleset; timeout 60 sh -c '{there}'")).expect_code(0);
    assert_eq!(host.root(rules).expect_code(0).stdout, before);
}

/// What dies takes nothing else along, and can be started again.
fn expect_deaths_survived(host: &Host) {
    let shown = host.user("banger vm show --json idle").expect_code(0).json();
    let scope = format!("banger-vm-{}.scope", shown["id"].as_str().expect("an id"));
    let limits = host.root(&format!("systemctl show -P TasksMax -P MemoryMax {scope}"));
    let limits = limits.expect_code(0).stdout;
    assert!(limits.contains("1024\n") && !limits.contains("infinity"), "{limits}");
    for process in ["qemu", "banger-supervis"] {
        let killed = host.root(&format!(
            "group=$(systemctl show -P ControlGroup {scope})
             for pid in $(cat /sys/fs/cgroup/$group/cgroup.procs); do
                 case $(cat /proc/$pid/comm) in {process}*) kill -9 $pid; echo killed;; esac
             done"
        ));
        assert_eq!(killed.expect_code(0).stdout, "killed\n");
        // It says that it did not end well.
        let _ = host.user("banger vm wait --for stopped --timeout 120 idle");
        host.user("banger vm start idle").expect_code(0);
        host.user(&format!("banger vm exec idle -- sh -c '{SERVE}'")).expect_code(0);
    }
    // A command, with whatever it ran.
    host.user("timeout -s KILL 3 banger vm exec idle -- sleep 12345").expect_code(137);
    let gone = "busybox timeout 60 sh -c \"while busybox pgrep -x sleep; do :; done\"";
    host.user(&format!("banger vm exec idle -- {gone}")).expect_code(0);
}

/// From the host, and by its own address.
fn expect_reached(host: &Host) {
    for vm in ["web", "idle"] {
        let named = host.user(&format!("curl -sS -m 20 http://{vm}.vm:8080/name"));
        assert_eq!(named.expect_code(0).stdout, format!("{vm}\n"));
    }
    let resolved = host.user("getent ahostsv4 web.vm").expect_code(0).stdout;
    assert!(!resolved.starts_with("127."), "{resolved}");
}

fn expect_others_kept_out(host: &Host) {
    let other = |script: &str| host.root(&format!("runuser -u {OTHER} -- {script}"));
    let uid = host.user("id -u").expect_code(0).stdout;
    for socket in ["/run/banger/helper.sock", &format!("/run/banger/{}/bangerd.sock", uid.trim())] {
        host.user(&format!("test -w {socket}")).expect_code(0);
        other(&format!("test -w {socket}")).expect_code(1);
    }
    // Couldn't connect.
    other("curl -sS -m 20 http://web.vm:8080/name").expect_code(7);
}

/// Which start of its kernel a VM runs since.
pub(crate) fn boot_of(host: &Host, vm: &str) -> String {
    let read = host.user(&format!("banger vm exec {vm} -- cat /proc/sys/kernel/random/boot_id"));
    read.expect_code(0).stdout
}
