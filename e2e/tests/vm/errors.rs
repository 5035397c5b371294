//! Bad input and broken hosts: a clear error that names the way out, and nothing made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use banger_e2e::{Home, Ran};
use banger_rootfs::cpio::CpioWriter;

/// Runs `vm run` with `args`, expects it to fail saying every one of `parts`, and nothing made.
#[track_caller]
fn refused(home: &Home, args: &[&str], code: i32, parts: &[&str]) {
    home.banger([&["vm", "run"], args].concat()).expect_code(code).expect_stderr(parts);
    assert!(home.list().is_empty());
    home.expect_nothing_left();
}

#[test]
fn bad_input_is_refused_before_anything_is_made() {
    let home = Home::new();
    let plain = home.path().join("plain");
    fs::create_dir(&plain).expect("directory");
    let plain = plain.to_str().expect("path");
    refused(
        &home,
        &["--rm", "--image", "debian-bokworm", "--", "true"],
        125,
        &["`debian-bokworm`", "debian-bookworm"],
    );
    refused(&home, &["--rm", "--kernel", "nope", "--", "true"], 125, &["`nope`"]);
    refused(&home, &["--rm", "--name", "Bad_Name", "--", "true"], 2, &["Bad_Name", "`B`"]);
    refused(&home, &["--rm", "--memory", "1", "--", "true"], 125, &["memory", "128"]);
    refused(&home, &["--rm", plain, "--", "true"], 125, &[plain, "git"]);
    refused(&home, &["--rm", "/no/such/dir", "--", "true"], 125, &["/no/such/dir"]);
    refused(&home, &["-d", "--rm"], 2, &["--rm"]);
    home.banger(["vm", "exec", "ghost", "--", "true"]).expect_code(125).expect_stderr(&["`ghost`"]);
    home.banger(["vm", "delete", "ghost"]).expect_code(1).expect_stderr(&["`ghost`"]);
}

#[test]
fn a_missing_qemu_names_the_package() {
    let home = Home::new();
    home.configure("vmm = \"qemu\"\nqemu_bin = \"/nonexistent/qemu-system-x86_64\"\n");
    refused(&home, &["--rm", "--", "true"], 125, &["/nonexistent/qemu-system-x86_64"]);
}

#[test]
fn a_full_disk_is_refused_with_its_path() {
    let home = Home::new();
    // A state directory of its own on a tiny file system, in a mount namespace of its own.
    let state = home.path().join("state");
    let script = format!(
        "mount -t tmpfs -o size=1m,mode=700 tmpfs {state} && \
         \"$@\" vm run --rm -- true; code=$?; \"$@\" vm list --json; \"$@\" daemon stop; exit $code",
        state = state.display()
    );
    let banger = home.banger_command([""; 0]);
    let mut unshare = home.command("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
    unshare.arg(banger.get_program()).args(banger.get_args());
    let ran = Ran::of(unshare, b"").expect_code(125).expect_stderr(&["space"]);
    assert_eq!(ran.json()["vms"].as_array().map(Vec::len), Some(0));
    home.expect_nothing_left();
}

/// Puts a program in QEMU's place that tells its version like one and otherwise is `script`.
fn replace_qemu(home: &Home, script: &str) {
    let qemu = home.path().join("qemu");
    let version = "case \"$*\" in *-version*) echo 'QEMU emulator version 7.2.0'; exit;; esac";
    fs::write(&qemu, format!("#!/bin/sh\n{version}\n{script}\n")).expect("script");
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).expect("mode");
    home.configure(&format!("vmm = \"qemu\"\nqemu_bin = \"{}\"\n", qemu.display()));
}

#[test]
fn a_vmm_that_does_not_start_is_reported_at_once_and_leaves_nothing() {
    let home = Home::new();
    replace_qemu(&home, "echo 'cannot set up guest memory' >&2; exit 1");
    let _ = home.list();
    let since = Instant::now();
    refused(&home, &["--rm", "--", "true"], 125, &["exit code 1", "cannot set up guest memory"]);
    // Far below any readiness deadline: the VMM's end was seen, not waited out.
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_vmm_that_dies_during_boot_is_reported_at_once_and_kept() {
    let home = Home::new();
    replace_qemu(&home, "exec timeout --foreground -s KILL 1 qemu-system-x86_64 \"$@\"");
    let _ = home.list();
    let since = Instant::now();
    home.banger(["vm", "run", "--rm", "--name", "dead", "--", "true"])
        .expect_code(125)
        .expect_stderr(&["`dead`", "banger vm logs dead", "banger vm delete dead"]);
    assert!(since.elapsed() < Duration::from_secs(6));
    assert_eq!(home.show("dead")["state"], "error");
    home.banger(["vm", "delete", "dead"]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn a_guest_that_never_calls_shows_its_console_and_is_kept() {
    let home = Home::new();
    // A kernel whose extra initramfs replaces the agent by a program that only talks.
    let kernels = home.path().join("data/banger/kernels");
    let images = home.path().join("data/banger/images");
    fs::create_dir_all(&kernels).expect("directory");
    let data = shared_data();
    std::os::unix::fs::symlink(data.join("banger/images"), &images).expect("link");
    let silent = kernels.join("silent");
    copy_tree(&default_kernel(&data), &silent);
    let init = b"#!/busybox sh\n/busybox mkdir -p /dev; /busybox mount -t devtmpfs dev /dev\n\
        echo 'I have nothing to say to you' >/dev/console\nexec /busybox sleep 100000\n";
    let mut archive = CpioWriter::new(Vec::new());
    archive.file("init", 0o755, init).expect("init");
    archive.file("busybox", 0o755, &fs::read("/bin/busybox").expect("busybox")).expect("busybox");
    fs::write(silent.join("modules.cpio"), archive.finish().expect("archive")).expect("archive");

    home.configure("ready_timeout = 2\n");
    let run = |args: &[&str]| {
        let mut command = home.banger_command(args);
        command.env("XDG_DATA_HOME", home.path().join("data"));
        Ran::of(command, b"")
    };
    run(&["vm", "run", "--rm", "--name", "mute", "--kernel", "silent", "--", "true"])
        .expect_code(125)
        .expect_stderr(&[
            "`mute`",
            "I have nothing to say to you",
            "banger vm logs mute",
            "banger vm delete mute",
        ]);
    let shown = run(&["vm", "show", "--json", "mute"]).expect_code(0).json();
    assert_eq!(shown["state"], "error");
    assert!(run(&["vm", "logs", "mute"]).expect_code(0).stdout.contains("nothing to say"));
    run(&["vm", "delete", "mute"]).expect_code(0);
    home.expect_nothing_left();
}

fn shared_data() -> std::path::PathBuf {
    let home = Home::empty();
    let command = home.banger_command([""; 0]);
    command
        .get_envs()
        .find(|(name, _)| *name == "XDG_DATA_HOME")
        .and_then(|(_, value)| value.map(Into::into))
        .expect("XDG_DATA_HOME")
}

fn default_kernel(data: &std::path::Path) -> std::path::PathBuf {
    fs::read_dir(data.join("banger/kernels"))
        .expect("kernels")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("vmlinux").exists())
        .expect("a kernel")
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir(to).expect("directory");
    for entry in fs::read_dir(from).expect("directory").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}
