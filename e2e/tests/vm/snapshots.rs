//! Guests that stand still, are taken back to what they were, and are copied.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use banger_e2e::{Home, Repository};
use serde_json::Value;

/// How often a guest is taken back to one snapshot.
const TIMES: usize = 3;
/// How far a guest's clock may be from the host's, in seconds.
const CLOCK: i64 = 2;

/// Writes files without an end, keeps their sums in its memory, and waits to be told to stop; then it says
/// what the sums are. `/dev/shm` is memory, too.
const LOAD: &str = r#"
cd /root
mkfifo /dev/shm/stopped
n=0
while [ ! -e /dev/shm/stop ]; do
    n=$((n + 1))
    head -c 100000 /dev/urandom > data.$((n % 8))
    eval "sum_$((n % 8))=$(sha256sum < data.$((n % 8)) | cut -d ' ' -f 1)"
    [ $n = 16 ] && echo > /dev/shm/begun
done
for i in 0 1 2 3 4 5 6 7; do eval "echo \"\$sum_$i  data.$i\""; done > /dev/shm/sums
echo $n > /dev/shm/stopped
"#;

fn machine() -> [&'static str; 6] {
    ["--memory", "512M", "--vcpu", "1", "--disk-size", "1G"]
}

fn disk(home: &Home, vm: &str) -> PathBuf {
    let shown = home.show(vm);
    home.state_dir().join("vms").join(shown["id"].as_str().expect("an id")).join("writable.ext4")
}

#[test]
fn a_guest_at_work_goes_on_from_its_snapshot_as_often_as_one_likes() {
    let home = Home::new();
    let vm = home.create("web", &machine());
    home.exec(&vm, &["sh", "-c", "echo kept > /root/marker; sync; mkfifo /dev/shm/begun"])
        .expect_code(0);
    home.exec(&vm, &["setsid", "-f", "sh", "-c", LOAD]).expect_code(0);
    home.exec(&vm, &["cat", "/dev/shm/begun"]).expect_code(0);
    let taken = home.banger(["snapshot", "create", "--json", &vm, "busy"]).expect_code(0).json();
    assert_eq!((&taken["name"], &taken["memory"]), (&"busy".into(), &true.into()), "{taken}");
    let boot = home.show(&vm)["guest"]["boot_id"].clone();

    let mut counts = BTreeSet::new();
    for _ in 0..TIMES {
        home.exec(&vm, &["sh", "-c", "touch /root/later /dev/shm/later; sync"]).expect_code(0);
        home.banger(["snapshot", "restore", "-f", &vm, "busy"]).expect_code(0);
        let later = home.exec(&vm, &["sh", "-c", "ls -d /root/later /dev/shm/later /dev/shm/stop"]);
        assert_eq!((later.stdout.as_str(), later.code()), ("", 2), "{}", later.stderr);
        assert_eq!(home.show(&vm)["guest"]["boot_id"], boot);
        // It is at work still, and what it wrote is what it knows: from the disk, not from the cache.
        let script = "cd /root && touch /dev/shm/stop && cat /dev/shm/stopped && \
                      sync && echo 3 > /proc/sys/vm/drop_caches && sha256sum -c --quiet /dev/shm/sums";
        let checked = home.exec(&vm, &["sh", "-c", script]).expect_code(0);
        counts.insert(checked.stdout.trim().parse::<u32>().expect("a count"));
    }
    assert!(counts.iter().all(|count| *count > 16), "{counts:?}");

    // Its disk alone is that of a machine whose plug was pulled: its journal is all there is to do.
    home.banger(["snapshot", "restore", "-f", "--disk", &vm, "busy"]).expect_code(0);
    let shown = home.show(&vm);
    assert_eq!((&shown["state"], &shown["ended"]), (&"stopped".into(), &"restored".into()));
    let copy = home.path().join("copy.ext4");
    let copied =
        Command::new("cp").arg("--sparse=always").args([&disk(&home, &vm), &copy]).status();
    assert!(copied.expect("cp").success());
    let checked = Command::new("/usr/sbin/e2fsck").arg("-fp").arg(&copy).output().expect("e2fsck");
    // 1: errors were corrected, which is what becoming clean counts as.
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(matches!(checked.status.code(), Some(0 | 1)), "{said}");
    let journal = Command::new("/usr/sbin/e2fsck").arg("-fn").arg(&copy).output().expect("e2fsck");
    assert!(journal.status.success(), "{}", String::from_utf8_lossy(&journal.stdout));
    std::fs::remove_file(copy).expect("removed");
    home.banger(["vm", "start", &vm]).expect_code(0);
    assert_eq!(home.exec(&vm, &["cat", "/root/marker"]).expect_code(0).stdout, "kept\n");
    assert_ne!(home.show(&vm)["guest"]["boot_id"], boot);

    home.banger(["snapshot", "delete", &vm, "busy"]).expect_code(0);
    let listed = home.banger(["snapshot", "list", "--json"]).expect_code(0).json();
    assert_eq!(listed["snapshots"], serde_json::json!([]));
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

/// What only one VM can have, line by line, as the guest tells it; the last line is from its kernel's own
/// randomness.
pub(crate) fn identity(home: &Home, vm: &str) -> Vec<String> {
    let script = "hostname; cat /etc/machine-id; cat /sys/class/net/e*/address; \
                  hostname -I | cut -d ' ' -f 1; \
                  sha256sum < /run/banger/ssh/host_key; head -c 16 /dev/urandom | od -An -tx1";
    // With the key that is known to be its own; its server begins with the first who comes.
    let said = home.banger(["vm", "ssh", vm, "--", "hostname"]).expect_code(0);
    assert_eq!(said.stdout.trim_end(), vm);
    let said = home.exec(vm, &["sh", "-c", script]).expect_code(0).stdout;
    let lines: Vec<_> = said.lines().map(str::to_owned).collect();
    assert_eq!((lines.len(), lines[0].as_str()), (6, vm), "{said}");
    lines
}

#[test]
fn copies_of_a_guest_are_guests_of_their_own() {
    let home = Home::new();
    let repository = Repository::create(&home.path().join("repo"));
    let args =
        [&["vm", "create", repository.arg(), "--name", "web", "--wait", "system"], &machine()[..]];
    home.banger(args.concat()).expect_code(0);
    // Something that runs in all of them, and work that was not committed.
    home.exec("web", &["sh", "-c", "echo before >> /root/repo/hello.txt; mkfifo /dev/shm/asked"])
        .expect_code(0);
    // Its own keys are at work when it is copied.
    let _ = identity(&home, "web");
    let answer = "read word < /dev/shm/asked; echo $word $(hostname) > /dev/shm/answered";
    home.exec("web", &["setsid", "-f", "sh", "-c", answer]).expect_code(0);

    let forked = home.banger(["vm", "fork", "--json", "-n", "3", "web"]).expect_code(0).json();
    let names: Vec<_> =
        forked["vms"].as_array().expect("VMs").iter().map(|vm| &vm["name"]).collect();
    assert_eq!(names, ["web-1", "web-2", "web-3"]);
    end_of_hurry(&home);
    let all = ["web", "web-1", "web-2", "web-3"];
    let identities: Vec<_> = all.iter().map(|vm| identity(&home, vm)).collect();
    for what in 0..6 {
        let different: BTreeSet<_> = identities.iter().map(|lines| &lines[what]).collect();
        assert_eq!(different.len(), all.len(), "{what}: {identities:#?}");
    }
    for (index, vm) in all.iter().enumerate() {
        // They find each other by their names, at the addresses that they say they have.
        let (other, theirs) = (all[(index + 1) % 4], &identities[(index + 1) % 4]);
        let found = home.exec(vm, &["getent", "ahostsv4", &format!("{other}.vm")]).expect_code(0);
        let found = found.stdout.split_whitespace().next().unwrap_or_default().to_owned();
        assert_eq!(found, theirs[3]);
        // What ran goes on in each of them, and what is done there is done there alone.
        let script = format!(
            "echo {index} > /dev/shm/asked; echo ${{BANGER_FORK_INDEX:-0}} > /root/repo/mine; \
             cd /root/repo && git add mine"
        );
        home.exec(vm, &["sh", "-c", &script]).expect_code(0);
    }
    for (index, vm) in all.iter().enumerate() {
        let answered = home.exec(vm, &["sh", "-c", "cat /dev/shm/answered"]).expect_code(0);
        assert_eq!(answered.stdout, format!("{index} {vm}\n"));
        let patch = home.banger(["vm", "workspace", "export", vm]).expect_code(0).stdout;
        assert!(patch.contains("+before") && patch.contains(&format!("\n+{index}\n")), "{patch}");
    }
    let listed = home.banger(["snapshot", "list", "--json"]).expect_code(0).json();
    assert_eq!(listed["snapshots"], Value::Array(vec![]));
    home.banger(["vm", "delete", "-f", "web", "web-1", "web-2", "web-3"]).expect_code(0);
    home.expect_nothing_left();
}

/// The first command in a copy comes before what else wakes there, but not for good.
fn end_of_hurry(home: &Home) {
    let vm = "web-copy";
    home.banger(["vm", "fork", "--name", vm, "web"]).expect_code(0);
    // proc(5): the 41st is the policy, and 0 that of all others (sched(7)).
    let script = "policy() { cut -d ' ' -f 41 /proc/$$/stat; }; tries=0; \
                  until [ $(policy) = 0 ] || [ $tries = 200 ]; do \
                  tries=$((tries + 1)); sleep 0.1; done; \
                  policy; cat /proc/sys/kernel/randomize_va_space";
    let said = home.exec(vm, &["sh", "-c", script]).expect_code(0).stdout;
    let is_emulated = home.show(vm)["backend"]["accel"] == "tcg";
    assert_eq!(said, if is_emulated { "0\n0\n" } else { "0\n2\n" });
    home.banger(["vm", "delete", "-f", vm]).expect_code(0);
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("seconds")
}

#[test]
fn a_command_goes_on_after_a_pause_and_knows_what_time_it_is() {
    let home = Home::new();
    let vm = home.create("web", &machine());
    let script = "echo begun; read word; date +%s; echo $word";
    let mut command = home.banger_command(["vm", "exec", &vm, "--", "sh", "-c", script]);
    let mut command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("banger");
    let mut said = BufReader::new(command.stdout.take().expect("piped")).lines();
    let mut line = move || said.next().expect("a line").expect("text");
    assert_eq!(line(), "begun");
    home.banger(["vm", "pause", &vm]).expect_code(0);
    assert_eq!(home.show(&vm)["state"], "paused");
    // Longer than its clock may be wrong; nothing happens meanwhile.
    home.banger(["vm", "wait", "--for", "stopped", "--timeout", "6", &vm]).expect_code(124);
    home.banger(["vm", "resume", &vm]).expect_code(0);
    command.stdin.take().expect("piped").write_all(b"word\n").expect("a line");
    let date: i64 = line().parse().expect("seconds");
    let host = now();
    assert!((host - date).abs() <= CLOCK, "{date} in the guest, {host} on the host");
    assert_eq!(line(), "word");
    assert!(command.wait().expect("it ends").success());
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}
