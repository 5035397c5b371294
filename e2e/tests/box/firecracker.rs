//! VMs that Firecracker runs, of an ordinary user.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use banger_e2e::host::{Host, INTERNET};

use super::{SERVE, create, observe};

/// Far longer than a guest of an emulated host needs to take a step.
const GOES_ON: Duration = Duration::from_secs(60);

/// Of the crash matrix, so much as an emulated host has time for.
const DEATHS: &str = "BANGER_CRASH_EVERY=17";

pub(crate) fn vms_of_firecracker(host: &Host, program: &Path) {
    // Who has it, and KVM, has VMs run by it.
    host.copy(program, "/usr/local/bin/firecracker");
    host.user("banger daemon stop").expect_code(0);
    let before = observe(host);
    let checks = host.user("banger doctor --json").json();
    let checks = checks["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == "firecracker").expect("a check");
    assert_ne!(check["status"], "FAIL", "{check}");

    create(host, "one", "--nat");
    create(host, "two", "--disk-bandwidth 1M");
    let shown = host.user("banger vm show --json one").expect_code(0).json();
    assert_eq!(shown["backend"]["vmm"], "firecracker", "{shown}");
    let fetched = host.user(&format!("banger vm exec one -- wget -q -O - http://{INTERNET}/"));
    assert_eq!(fetched.expect_code(0).stdout, "from the internet\n");
    let neighbour = host.user("banger vm exec two -- wget -q -O - http://one:8080/name");
    assert_eq!(neighbour.expect_code(0).stdout, "one\n");

    is_kept_within_limits(host);
    work_goes_in_and_comes_home(host);
    is_reached_by_all_that_reach_it(host);

    // The next daemon finds what the last one has left, and so does the one after that.
    host.user("banger daemon stop && banger vm exec one -- hostname").expect_code(0);
    host.user("pkill -9 -f ^bangerd; banger vm exec one -- hostname").expect_code(0);

    // It powers off by itself and keeps its disk, which grows while it runs.
    host.user("banger vm exec one -- sh -c 'echo kept >/srv/kept'").expect_code(0);
    host.user("banger vm stop one").expect_code(0);
    let stopped = host.user("banger vm show --json one").expect_code(0).json();
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    host.user("banger vm start one && banger vm set one --disk-size 9G").expect_code(0);
    let kept = host.user("banger vm exec one -- cat /srv/kept /sys/block/vdb/size");
    assert_eq!(kept.expect_code(0).stdout, format!("kept\n{}\n", (9_u64 << 30) / 512));

    stands_still_and_goes_on(host);
    goes_back_to_what_was_saved(host);
    is_copied(host);
    copies_of_copies_have_all(host);

    host.user("banger vm kill two && banger vm delete --force one two && banger daemon stop")
        .expect_code(0);
    assert_eq!(observe(host), before);
    survives_deaths(host);
    assert_eq!(observe(host), before);
}

/// Some cells of the crash matrix: whatever dies, it ends as with QEMU.
fn survives_deaths(host: &Host) {
    let operations = [
        "create", "start", "exec", "set", "pause", "resume", "snapshot", "restore", "fork", "stop",
        "kill", "delete", "recover",
    ];
    host.take_tests("crash");
    for operation in operations {
        eprintln!("crash matrix: {operation}");
        host.run_test(operation, "vmm = \"firecracker\"\nready_timeout = 600\n", DEATHS);
    }
}

/// What a VM may use, what it gives back, and what its VMM counts meanwhile.
fn is_kept_within_limits(host: &Host) {
    let write = "busybox dd if=/dev/zero of=/srv/filler bs=1M count=6 && busybox sync";
    let begun = Instant::now();
    host.user(&format!("banger vm exec two -- sh -c '{write}'")).expect_code(0);
    // A second's worth is there at once.
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());

    let memory = || {
        let stats = host.user("banger vm stats --json one").expect_code(0).json();
        stats["vms"][0]["host"]["vmm"]["rss"].as_u64().expect("a size")
    };
    let fill = "busybox dd if=/dev/zero of=/dev/shm/file bs=1M count=64";
    host.user(&format!("banger vm exec one -- {fill}")).expect_code(0);
    let needed = memory();
    host.user("banger vm exec one -- busybox rm /dev/shm/file").expect_code(0);
    let since = Instant::now();
    while memory() > needed - (32 << 20) {
        assert!(since.elapsed() < GOES_ON, "the VMM keeps {needed} bytes");
    }
    // Each tells when it starts.
    let counted = "cat ~/.local/state/banger/vms/*/metrics.log | grep -c '\"block\":'";
    let counted = host.user(counted).expect_code(0).stdout;
    assert!(counted.trim_end().parse::<u32>().is_ok_and(|lines| lines >= 2), "{counted}");
}

/// A repository goes in with `vm run`, and what was done there comes back.
fn work_goes_in_and_comes_home(host: &Host) {
    let repository = "git init -q ~/work && cd ~/work && echo one >file && git add . && \
                      git -c user.name=a -c user.email=a@b commit -q -m first";
    host.user(repository).expect_code(0);
    let run = "banger vm run --name work --image small ~/work -- sh -c 'cat file; echo two >>file; exit 3'";
    assert_eq!(host.user(run).expect_code(3).stdout, "one\n");
    let home =
        "banger vm workspace export work --apply >/dev/null && cat ~/work/file && rm -r ~/work";
    assert_eq!(host.user(home).expect_code(0).stdout, "one\ntwo\n");
    host.user("banger vm delete --force work").expect_code(0);
    let once = host.user("banger vm run --rm --image small -- sh -c 'exit 4'");
    once.expect_code(4);
}

/// Files, sessions, and what is asked about a VM.
fn is_reached_by_all_that_reach_it(host: &Host) {
    let copied = "echo mine >~/note && banger vm cp ~/note one:/srv/ && banger vm cp one:/srv/note ~/back && \
                  cat ~/back && rm ~/note ~/back";
    assert_eq!(host.user(copied).expect_code(0).stdout, "mine\n");
    let session = host.user("banger vm ssh one -- cat /srv/name");
    assert_eq!(session.expect_code(0).stdout, "one\n");
    let input = host.user("echo through | banger vm exec -i one -- cat");
    assert_eq!(input.expect_code(0).stdout, "through\n");
    for asked in ["stats --json one", "health --json one", "ports --json one"] {
        let _ = host.user(&format!("banger vm {asked}")).expect_code(0).json();
    }
    // A guest that boots quietly has nothing to say there.
    host.user("banger vm logs one").expect_code(0);
    host.user("banger vm restart one && banger vm exec one -- hostname").expect_code(0);
    host.user(&format!("banger vm exec one -- sh -c '{SERVE}'")).expect_code(0);
}

fn stands_still_and_goes_on(host: &Host) {
    // A number that grows for as long as its guest runs.
    let count = "busybox setsid sh -c \"while busybox sleep 0.1; do echo >>/srv/count; done\" >/dev/null 2>&1 &";
    host.user(&format!("banger vm exec one -- sh -c '{count}'")).expect_code(0);
    let counted = || {
        let lines =
            host.user("banger vm exec one -- busybox wc -l /srv/count").expect_code(0).stdout;
        let lines = lines.split_whitespace().next().map(str::to_owned);
        lines.and_then(|lines| lines.parse::<u64>().ok()).expect("a number")
    };
    host.user("banger vm pause one").expect_code(0);
    let shown = host.user("banger vm show --json one").expect_code(0).json();
    assert_eq!(shown["state"], "paused", "{shown}");
    host.user("banger daemon stop && banger vm resume one").expect_code(0);
    let before = counted();
    let since = Instant::now();
    while counted() <= before {
        assert!(since.elapsed() < GOES_ON, "it does not go on");
    }
}

/// While it writes, a VM is written down; it goes back there as often as one likes.
fn goes_back_to_what_was_saved(host: &Host) {
    let put = |what: &str| {
        host.user(&format!("banger vm exec one -- sh -c 'echo {what} >/srv/now'")).expect_code(0);
    };
    put("then");
    host.user("banger snapshot create one then").expect_code(0);
    for _ in 0..10 {
        // Whoever was reached before it was written down is reached afterwards.
        put("since");
        host.user("banger snapshot restore -f one then").expect_code(0);
        let now = host.user("banger vm exec one -- busybox cat /srv/now");
        assert_eq!(now.expect_code(0).stdout, "then\n");
    }
    // One that was killed half-way is no loss to the VM, nor to those there are.
    host.user("timeout -s KILL 1 banger snapshot create one half; pkill -9 -f ^bangerd; true")
        .expect_code(0);
    put("since");
    host.user("banger snapshot restore -f one then && banger snapshot delete one then")
        .expect_code(0);
}

/// Ten copies at once are ten VMs, and share the memory that none of them has changed.
fn is_copied(host: &Host) {
    host.user("banger vm fork one -n 10").expect_code(0);
    let ask = "hostname; echo $BANGER_FORK_INDEX; busybox cat /etc/machine-id \
               /sys/class/net/eth0/address; busybox od -An -tx8 -N16 /dev/urandom; \
               busybox ip -4 -o addr show eth0";
    let answers: Vec<String> = (1..=10)
        .map(|copy| {
            host.user(&format!("banger vm exec one-{copy} -- sh -c '{ask}'")).expect_code(0).stdout
        })
        .collect();
    for place in 0..6 {
        let of_copies: BTreeSet<_> =
            answers.iter().map(|answer| answer.lines().nth(place).expect("a line")).collect();
        assert_eq!(of_copies.len(), 10, "{of_copies:?}");
    }
    let neighbour = host.user("banger vm exec one-1 -- busybox ping -c 1 one-10");
    neighbour.expect_code(0);
    // The file that a copy's memory is mapped from: device and inode.
    let maps = "for copy in $(pgrep -x firecracker); do grep -m 1 '/memory' /proc/$copy/maps; done";
    let maps = host.user(maps).expect_code(0).stdout;
    let files: Vec<_> = maps.lines().map(|line| line.split_whitespace().nth(4)).collect();
    let shared = files.iter().filter(|file| **file == files[files.len() - 1]).count();
    assert_eq!(shared, 10, "{maps}");
    let copies: Vec<String> = (1..=10).map(|copy| format!("one-{copy}")).collect();
    host.user(&format!("banger vm delete --force {}", copies.join(" "))).expect_code(0);
}

/// What was in memory once and was not touched since is in no copy's own memory, nor in that of the host when it
/// needs it for something else.
fn copies_of_copies_have_all(host: &Host) {
    let remember = "busybox mkdir -p /mnt && busybox mount -t tmpfs none /mnt && cd /mnt && \
                    busybox head -c 16777216 /dev/urandom >data && busybox sha256sum data >sum";
    let check = "cd /mnt && busybox sha256sum -c sum";
    let exec = |vm: &str, script: &str| {
        host.user(&format!("banger vm exec {vm} -- sh -c '{script}'")).expect_code(0);
    };
    exec("one", remember);
    let mut parent = "one".to_owned();
    for copy in ["copy", "copy-of-copy", "last"] {
        host.user(&format!("banger vm fork {parent} --name {copy}")).expect_code(0);
        // Its own, beside what it has from its parent.
        exec(copy, &format!("busybox head -c 4194304 /dev/urandom >/mnt/{copy}"));
        host.root("sync; echo 3 >/proc/sys/vm/drop_caches").expect_code(0);
        parent = copy.to_owned();
    }
    host.user("banger snapshot create last kept").expect_code(0);
    host.root("sync; echo 3 >/proc/sys/vm/drop_caches").expect_code(0);
    host.user("banger snapshot restore -f last kept").expect_code(0);
    for vm in ["last", "copy-of-copy", "copy", "one"] {
        exec(vm, check);
    }
    host.user("banger vm delete --force copy copy-of-copy last").expect_code(0);
}
