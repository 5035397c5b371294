//! Changing VMs: larger disks, also while they run, other sizes, another image.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use banger_e2e::{Home, ext4};

const MIB: u64 = 1 << 20;

fn disk(home: &Home, vm: &str) -> PathBuf {
    let id = home.show(vm)["id"].as_str().expect("id").to_owned();
    home.state_dir().join("vms").join(id).join("writable.ext4")
}

fn sh(home: &Home, vm: &str, script: &str) -> String {
    home.exec(vm, &["sh", "-c", script]).expect_code(0).stdout
}

/// Size of the guest's root in MiB.
fn root_mib(home: &Home, vm: &str) -> u64 {
    let said = sh(home, vm, "df -k / | tail -n 1");
    let blocks = said.split_whitespace().nth(1).expect("blocks");
    blocks.parse::<u64>().expect("a number") / 1024
}

#[test]
fn a_disk_grows_while_the_vm_runs_and_while_it_does_not() {
    let home = Home::new();
    let vm = home.create("grower", &["--disk-size", "1G"]);
    let small = root_mib(&home, &vm);
    assert!((900..1024).contains(&small), "{small}");
    home.banger(["vm", "set", "--disk-size", "512M", &vm]).expect_code(1).expect_stderr(&[
        "`grower`",
        "1G",
        "can only grow",
    ]);

    home.banger(["vm", "set", "--disk-size", "3G", &vm]).expect_code(0);
    let shown = home.show(&vm);
    assert_eq!((&shown["disk_size"], &shown["pending"]), (&(3072 * MIB).into(), &().into()));
    let large = root_mib(&home, &vm);
    assert!((2900..3072).contains(&large), "{large}");
    // More than there was room for before.
    sh(&home, &vm, "head -c 1500000000 /dev/zero > /var/filler && sync && rm /var/filler");
    home.banger(["vm", "set", "--disk-size", "3G", &vm]).expect_code(0);
    home.banger(["vm", "stop", &vm]).expect_code(0);
    assert_eq!(home.show(&vm)["ended"], "powered_off");
    ext4::expect_clean(&disk(&home, &vm));

    // Far beyond what is reserved for group descriptors anywhere.
    home.banger(["vm", "set", "--disk-size", "100G", &vm]).expect_code(0);
    home.banger(["vm", "start", &vm]).expect_code(0);
    let huge = root_mib(&home, &vm);
    assert!((98 * 1024..100 * 1024).contains(&huge), "{huge}");
    home.banger(["vm", "stop", &vm]).expect_code(0);
    ext4::expect_clean(&disk(&home, &vm));
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn sizes_and_environment_change_at_the_next_start() {
    let home = Home::new();
    let vm = home.create("sized", &["--vcpu", "1", "--memory", "384M", "--env", "OLD=1"]);
    let args = ["vm", "set", "--vcpu", "2", "--memory", "640M", "--env", "NEW=2", "--unset-env"];
    home.banger(args.into_iter().chain(["OLD", &*vm])).expect_code(0).expect_stderr(&[
        "sized: 2 vcpu from the next start",
        "sized: memory 640 MiB from the next start",
        "sized: environment from the next start",
    ]);
    let look = "nproc; echo $OLD$NEW; sed -n 's/^MemTotal: *//p' /proc/meminfo";
    let before = sh(&home, &vm, look);
    assert!(before.starts_with("1\n1\n"), "{before}");
    home.banger(["vm", "restart", &vm]).expect_code(0);
    let after = sh(&home, &vm, look);
    assert!(after.starts_with("2\n2\n"), "{after}");
    let kib: u64 =
        after.lines().nth(2).and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0);
    assert!((512 * 1024..640 * 1024).contains(&kib), "{after}");
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn another_image_keeps_root_and_nothing_else() {
    let home = Home::new();
    let vm = home.create("rebuilt", &[]);
    let image = home.show(&vm)["image"].as_str().expect("image").to_owned();
    let id = sh(&home, &vm, "cat /etc/machine-id");
    sh(
        &home,
        &vm,
        "mkdir -p /root/repo/deep && echo mine > /root/repo/deep/notes && chmod 600 /root/repo/deep/notes \
         && ln /root/repo/deep/notes /root/linked && cp /etc/passwd /root/copied && chmod 640 /root/.bashrc \
         && mv /etc/skel /root/moved && rm /root/moved/.profile && mv /etc/debian_version /root/version \
         && rm /root/.profile && echo changed > /etc/motd && touch /etc/extra /var/lib/docker/store",
    );
    home.banger(["vm", "set", "--image", &image, &vm])
        .expect_code(1)
        .expect_stderr(&["while it runs", "banger vm stop rebuilt"]);
    home.banger(["vm", "stop", &vm]).expect_code(0);
    home.banger(["vm", "set", "--image", &image, &vm]).expect_code(0);
    home.banger(["vm", "start", &vm]).expect_code(0);
    let look = "cat /root/repo/deep/notes /root/linked; stat -c %a%h /root/repo/deep/notes; \
                cmp /etc/passwd /root/copied; cmp /etc/debian_version /root/version; \
                cmp /etc/skel/.bashrc /root/moved/.bashrc; ls -A /root/moved; \
                stat -c %a /root/.bashrc; grep -c . /root/.bashrc > /dev/null || echo unreadable; \
                ls /root/.profile /etc/extra /var/lib/docker/store 2> /dev/null; \
                grep -c changed /etc/motd; cat /etc/machine-id";
    let found = sh(&home, &vm, look);
    assert_eq!(found, format!("mine\nmine\n6002\n.bash_logout\n.bashrc\n640\n0\n{id}"));
    // Once only, and what is written from then on stays as always.
    sh(&home, &vm, "echo new > /etc/extra");
    home.banger(["vm", "restart", &vm]).expect_code(0);
    assert_eq!(sh(&home, &vm, "cat /etc/extra /root/linked"), "new\nmine\n");
    home.banger(["vm", "stop", &vm]).expect_code(0);
    ext4::expect_clean(&disk(&home, &vm));
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn what_is_kept_and_does_not_fit_waits_for_a_larger_disk() {
    let home = Home::new();
    let vm = home.create("cramped", &["--disk-size", "64M"]);
    let image = home.show(&vm)["image"].as_str().expect("image").to_owned();
    // A rename in the overlay, so the contents stay in the image.
    let count = "find /root/share /root/modules | wc -l; du -sm /root/share /root/modules";
    let kept = sh(
        &home,
        &vm,
        &format!(
            "mv /usr/share /root/share && mv /usr/lib/modules /root/modules && {count} && sync"
        ),
    );
    home.banger(["vm", "stop", &vm]).expect_code(0);
    home.banger(["vm", "set", "--image", &image, &vm]).expect_code(0);
    for _ in 0..2 {
        home.banger(["vm", "start", &vm])
            .expect_code(1)
            .expect_stderr(&["what is kept of `/root`, for which the disk may be too small"])
            .expect_stderr(&["No space left on device"]);
    }
    home.banger(["vm", "set", "--disk-size", "2G", &vm]).expect_code(0);
    home.banger(["vm", "start", &vm]).expect_code(0);
    assert_eq!(sh(&home, &vm, count), kept);
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn a_disk_is_no_faster_than_it_may_be() {
    let home = Home::new();
    let limits = ["--disk-bandwidth", "4M", "--disk-iops", "5000", "--disk-size", "1G"];
    let vm = home.create("limited", &limits);
    let shown = home.show(&vm);
    assert_eq!((&shown["disk_bandwidth"], &shown["disk_iops"]), (&(4 * MIB).into(), &5000.into()));
    let begun = Instant::now();
    sh(&home, &vm, "dd if=/dev/zero of=/var/filler bs=1M count=24 conv=fsync && rm /var/filler");
    // A second's worth may have been saved up.
    let least = Duration::from_secs(24 / 4 - 1);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());

    // What is between guest and file lets both a larger disk and its absence through.
    home.banger(["vm", "set", "--disk-size", "2G", &vm]).expect_code(0);
    assert!((1900..2048).contains(&root_mib(&home, &vm)));
    let free = ["vm", "set", "--disk-bandwidth", "0", "--disk-iops", "0", &vm];
    home.banger(free).expect_code(0).expect_stderr(&["limits of its disks from the next start"]);
    home.banger(["vm", "restart", &vm]).expect_code(0);
    let shown = home.show(&vm);
    assert_eq!((&shown["disk_bandwidth"], &shown["pending"]), (&().into(), &().into()));
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}
