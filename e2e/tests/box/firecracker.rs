//! VMs that Firecracker runs, of an ordinary user.

use std::path::Path;

use banger_e2e::host::{Host, INTERNET};

use super::{create, observe};

pub(crate) fn vms_of_firecracker(host: &Host, program: &Path) {
    host.copy(program, "/usr/local/bin/firecracker");
    host.user("banger vm delete --force web idle && banger daemon stop").expect_code(0);
    let before = observe(host);
    host.user("echo 'vmm = \"firecracker\"' >>~/.config/banger/config.toml").expect_code(0);
    let checks = host.user("banger doctor --json").json();
    let checks = checks["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == "firecracker").expect("a check");
    assert_ne!(check["status"], "FAIL", "{check}");

    create(host, "one", "--nat");
    create(host, "two", "");
    let shown = host.user("banger vm show --json one").expect_code(0).json();
    assert_eq!(shown["backend"]["vmm"], "firecracker", "{shown}");
    let fetched = host.user(&format!("banger vm exec one -- wget -q -O - http://{INTERNET}/"));
    assert_eq!(fetched.expect_code(0).stdout, "from the internet\n");
    let neighbour = host.user("banger vm exec two -- wget -q -O - http://one:8080/name");
    assert_eq!(neighbour.expect_code(0).stdout, "one\n");

    // The next daemon finds what the last one has left, and so does the one after that.
    host.user("banger daemon stop && banger vm exec one -- hostname").expect_code(0);
    host.user("pkill -9 -x bangerd; banger vm exec one -- hostname").expect_code(0);

    // It powers off by itself and keeps its disk, which grows while it runs.
    host.user("banger vm exec one -- sh -c 'echo kept >/srv/kept'").expect_code(0);
    host.user("banger vm stop one").expect_code(0);
    let stopped = host.user("banger vm show --json one").expect_code(0).json();
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    host.user("banger vm start one && banger vm set one --disk-size 9G").expect_code(0);
    let kept = host.user("banger vm exec one -- cat /srv/kept /sys/block/vdb/size");
    assert_eq!(kept.expect_code(0).stdout, format!("kept\n{}\n", (9_u64 << 30) / 512));

    stands_still_and_goes_on(host);

    host.user("banger vm kill two && banger vm delete --force one two && banger daemon stop")
        .expect_code(0);
    assert_eq!(observe(host), before);
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

    assert!(counted() >= before);
    // What it cannot do yet is refused, and the VM is none the worse.
    let refused = host.user("banger snapshot create one then").expect_code(1);
    assert!(refused.stderr.contains("Firecracker"), "{}", refused.stderr);
    assert!(counted() >= before);
}
