//! Create, stop, start, delete; systemd and images without init.

use std::process::Command;

use banger_e2e::Home;

#[test]
fn systemd_reaches_running_and_the_disk_is_clean_after_power_off() {
    let home = Home::new();
    let vm = home.create("system", &["--wait", "system"]);
    assert_eq!(home.show(&vm)["guest"]["state"], "running");
    let state = home.exec(&vm, &["systemctl", "is-system-running"]);
    let failed = home.exec(&vm, &["systemctl", "--failed", "--no-legend"]).stdout;
    assert_eq!((state.stdout.as_str(), failed.as_str()), ("running\n", ""));
    let detected = home.exec(&vm, &["systemd-detect-virt", "--container"]);
    assert_eq!(detected.stdout, "none\n");

    home.banger(["vm", "stop", &vm]).expect_code(0);
    let shown = home.show(&vm);
    assert_eq!((&shown["state"], &shown["ended"]), (&"stopped".into(), &"powered_off".into()));
    let id = shown["id"].as_str().expect("id");
    let disk = home.state_dir().join("vms").join(id).join("writable.ext4");
    let checked = Command::new("/usr/sbin/e2fsck").arg("-fn").arg(&disk).output().expect("e2fsck");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && !said.contains("recover"), "{said}");

    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn files_survive_stop_and_start() {
    let home = Home::new();
    let vm = home.create("keeper", &[]);
    home.exec(
        &vm,
        &["sh", "-c", "echo kept > /root/file && rm /etc/motd && mkdir /var/lib/docker/x"],
    )
    .expect_code(0);
    let first_boot = home.show(&vm)["guest"]["boot_id"].clone();

    // At once: systemd has hardly begun, and must hear of it all the same.
    home.banger(["vm", "stop", &vm]).expect_code(0);
    assert_eq!(home.show(&vm)["ended"], "powered_off");
    home.exec(&vm, &["true"]).expect_code(125).expect_stderr(&["`keeper`", "banger vm start"]);
    home.banger(["vm", "start", &vm]).expect_code(0);

    assert_ne!(home.show(&vm)["guest"]["boot_id"], first_boot);
    let kept = home.exec(&vm, &["sh", "-c", "cat /root/file; ls -d /var/lib/docker/x /etc/motd"]);
    assert_eq!(kept.stdout, "kept\n/var/lib/docker/x\n");
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn two_vms_at_once_are_two_machines() {
    let home = Home::new();
    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            let home = &home;
            scope.spawn(move || home.create(name, &["--memory", "512M"]));
        }
    });
    let identity = |vm: &str| {
        let script = "hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id";
        home.exec(vm, &["sh", "-c", script]).expect_code(0).stdout
    };
    let (one, two) = (identity("one"), identity("two"));
    let same = one.lines().zip(two.lines()).filter(|(a, b)| a == b).count();
    assert_eq!((one.lines().count(), same), (3, 0), "{one}{two}");
    home.banger(["vm", "delete", "-f", "one", "two"]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn an_image_without_init_boots_with_the_agent_as_process_1() {
    let home = Home::new();
    let root = home.path().join("root");
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
        std::fs::create_dir_all(root.join(dir)).expect("directory");
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
    for applet in ["sh", "cat", "echo", "ps", "tr", "poweroff", "mount"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("applet");
    }
    let tar = home.path().join("tiny.tar");
    let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status();
    assert!(packed.expect("tar").success());
    let name = format!("tiny-{}", std::process::id());
    home.banger(["image", "import", "--name", &name, tar.to_str().expect("path")]).expect_code(0);

    let vm = home.create("small", &["--image", &name]);
    assert_eq!(home.show(&vm)["guest"]["init"], "agent");
    let ran = home.exec(&vm, &["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/mounts"]);
    assert!(ran.stdout.contains("overlay / overlay"), "{}", ran.stdout);
    home.banger(["vm", "stop", &vm]).expect_code(0);
    assert_eq!(home.show(&vm)["ended"], "powered_off");

    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.banger(["image", "delete", &name]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn a_kill_keeps_what_was_written_and_a_restart_boots_anew() {
    let home = Home::new();
    let vm = home.create("victim", &[]);
    home.exec(&vm, &["sh", "-c", "echo kept > /root/file && sync"]).expect_code(0);
    let first_boot = home.show(&vm)["guest"]["boot_id"].clone();
    home.banger(["vm", "kill", &vm]).expect_code(0);
    home.banger(["vm", "wait", "--for", "stopped", &vm]).expect_code(0);
    assert_eq!(home.show(&vm)["ended"], "killed");
    home.banger(["vm", "wait", "--timeout", "0", &vm]).expect_code(124);

    // One that is down is booted, one that runs is shut down first.
    home.banger(["vm", "restart", &vm]).expect_code(0);
    let second_boot = home.show(&vm)["guest"]["boot_id"].clone();
    home.banger(["vm", "restart", &vm]).expect_code(0);
    home.banger(["vm", "wait", "--for", "system", &vm]).expect_code(0);
    let third_boot = home.show(&vm)["guest"]["boot_id"].clone();
    assert!(first_boot != second_boot && second_boot != third_boot, "{third_boot}");
    assert_eq!(home.exec(&vm, &["cat", "/root/file"]).stdout, "kept\n");

    // What runs is not pruned.
    home.banger(["vm", "prune", "-f"]).expect_code(0);
    assert_eq!(home.list().len(), 1);
    home.banger(["vm", "kill", &vm]).expect_code(0);
    assert_eq!(home.banger(["vm", "prune", "-f"]).expect_code(0).stdout, "victim\n");
    home.expect_nothing_left();
}
