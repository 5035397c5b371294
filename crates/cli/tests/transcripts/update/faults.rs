//! Updates that go wrong: forged, broken, too large, killed. Whatever happens, a whole release is in
//! use.

use std::fs;
use std::process::Command;

use insta::assert_snapshot;

use super::releases::{INSTALLED, Installed, Releases, WORKS};
use crate::host::Host;

/// Makes sure that nothing has changed.
fn assert_untouched(installed: &Installed<'_>) {
    assert!(installed.said().starts_with("banger 0.1.0 "), "{}", installed.said());
    let list = installed.list();
    let left = list.iter().filter(|name| !name.ends_with(".partial") && *name != ".lock");
    assert_eq!(left.collect::<Vec<_>>(), [INSTALLED]);
}

#[test]
fn nothing_is_believed_that_is_not_signed() {
    let host = Host::new();
    let releases = Releases::new(&host);
    releases.publish("v0.2.0", WORKS);
    let installed = Installed::new(&host, &releases);
    let sums = releases.path("v0.2.0/SHA256SUMS");
    let signature = releases.path("v0.2.0/SHA256SUMS.sig");
    let archive = releases.path("v0.2.0/banger-v0.2.0-x86_64-linux.tar.gz");

    // Somebody changed the archive, and its hash with it.
    let text = fs::read_to_string(&sums).unwrap();
    let other = if text.starts_with('0') { "1" } else { "0" };
    fs::write(&sums, format!("{other}{}", &text[1..])).unwrap();
    assert_snapshot!(installed.run(&["update"]), @r"
    -- stderr
    banger: the signature is not that of banger's makers: the release was changed or forged
      hint: nothing was installed; tell the makers of banger if it stays so
    -- exit 1
    ");
    fs::write(&sums, &text).unwrap();

    // Somebody else signed it.
    let own = fs::read(&signature).unwrap();
    let elsewhere = Host::new();
    let others = Releases::new(&elsewhere);
    others.publish("v0.2.0", WORKS);
    fs::write(&signature, fs::read(others.path("v0.2.0/SHA256SUMS.sig")).unwrap()).unwrap();
    assert!(installed.run(&["update"]).contains("changed or forged"));

    // Nobody did, or there is nothing that could be signed.
    fs::remove_file(&signature).unwrap();
    assert_snapshot!(installed.run(&["update"]), @r"
    -- stderr
    banger: v0.2.0 has no `SHA256SUMS.sig`, so that nothing vouches for it
      hint: nothing was installed; tell the makers of banger if it stays so
    -- exit 1
    ");
    fs::write(&signature, &own).unwrap();
    fs::remove_file(&sums).unwrap();
    assert!(installed.run(&["update"]).contains("v0.2.0 has no `SHA256SUMS`, so"));
    fs::write(&sums, &text).unwrap();

    // The archive is not the one.
    let whole = fs::read(&archive).unwrap();
    let mut changed = whole.clone();
    changed[100] ^= 1;
    fs::write(&archive, &changed).unwrap();
    let told = installed.run(&["update"]);
    assert!(
        told.contains("banger-v0.2.0-x86_64-linux.tar.gz") && told.ends_with("-- exit 1"),
        "{told}"
    );
    fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    let told = installed.run(&["update"]);
    assert!(
        told.contains("banger-v0.2.0-x86_64-linux.tar.gz") && told.ends_with("-- exit 1"),
        "{told}"
    );

    // What is signed is another release, under this one's name.
    fs::write(&archive, &whole).unwrap();
    releases.publish("v0.1.5", WORKS);
    for file in ["SHA256SUMS", "SHA256SUMS.sig"] {
        fs::copy(releases.path("v0.1.5").join(file), releases.path("v0.2.0").join(file)).unwrap();
    }
    assert!(installed.run(&["update"]).contains("what is signed as v0.2.0 has no `banger-v0.2.0-"));
    assert_untouched(&installed);

    // And with everything in its place, it is believed.
    releases.sign("v0.2.0");
    assert!(installed.run(&["update"]).starts_with("v0.2.0 is in use"));
}

#[test]
fn what_does_not_work_here_is_not_put_in_use() {
    for (program, why) in [
        ("no program\n", "v0.2.0 does not work on this machine"),
        (
            "\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\u{b7}\0",
            "v0.2.0 does not work on this machine",
        ),
        ("#!/bin/sh\necho broken >&2; exit 3\n", "version --json` failed: broken"),
        ("#!/bin/sh\nkill -SEGV $$\n", "signal: 11"),
        (
            "#!/bin/sh\necho '{\"version\": \"0.1.9\"}'\n",
            "what is signed as v0.2.0 says that it is 0.1.9",
        ),
    ] {
        let host = Host::new();
        let releases = Releases::new(&host);
        releases.publish("v0.2.0", program);
        let installed = Installed::new(&host, &releases);
        let told = installed.run(&["update"]);
        assert!(told.contains(why) && told.contains("nothing was changed"), "{told}");
        assert_untouched(&installed);
    }
}

#[test]
fn a_daemon_that_does_not_start_brings_the_release_before_back() {
    let host = Host::new();
    let releases = Releases::new(&host);
    releases.publish("v0.2.0", &with_answer("daemon start", "echo 'no store' >&2; exit 1"));
    let installed = Installed::new(&host, &releases);
    let told = installed.run(&["update"]);
    assert!(told.starts_with("-- stderr\nbanger: the daemon of v0.2.0 does not work\n"), "{told}");
    assert!(told.contains("daemon start` failed: no store"), "{told}");
    assert!(told.contains("hint: the release before is in use again\n-- exit 1"), "{told}");
    assert!(installed.said().starts_with("banger 0.1.0 "));

    // It starts, and what answers is not it.
    let other = with_answer("daemon status", "echo '{\"version\": \"0.1.9\"}'");
    releases.publish("v0.2.1", &other);
    let told = installed.run(&["update"]);
    assert!(told.contains("the daemon that answers is 0.1.9, not 0.2.1"), "{told}");
    assert!(installed.said().starts_with("banger 0.1.0 "));
}

/// A release that works but for one command.
fn with_answer(command: &str, answer: &str) -> String {
    WORKS
        .replace("case \"$1 $2\" in\n", &format!("case \"$1 $2\" in\n\"{command}\") {answer} ;;\n"))
}

#[test]
fn an_archive_writes_nowhere_else() {
    let host = Host::new();
    let releases = Releases::new(&host);
    let installed = Installed::new(&host, &releases);
    for (number, (make, why)) in [
        ("ln -s /etc/passwd NAME/link", "NAME/link`, which is neither a file nor a directory"),
        ("mkfifo NAME/pipe", "NAME/pipe`, which is neither a file nor a directory"),
        ("rm NAME/lib/banger/banger-helper", "the archive has no `lib/banger/banger-helper`"),
    ]
    .into_iter()
    .enumerate()
    {
        let version = format!("v0.2.{number}");
        let name = format!("banger-{version}-x86_64-linux");
        releases.publish(&version, WORKS);
        let script = format!("tar -xzf {version}/{name}.tar.gz; {}", make.replace("NAME", &name));
        let made =
            Command::new("sh").args(["-ec", &script]).current_dir(releases.path("")).status();
        assert!(made.unwrap().success());
        releases.pack(&version);
        let told = installed.run(&["update", "--version", &version]);
        assert!(told.contains(&why.replace("NAME", &name)), "{told}");
        assert_untouched(&installed);
    }
}

/// Runs `banger update` after `script`, in a mount namespace of its own.
fn update_beneath(installed: &Installed<'_>, script: &str) -> String {
    let script = format!("{script}; exec \"$0\" update");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", &script]);
    command.arg(installed.command());
    installed.run_by(&mut command, &[])
}

#[test]
fn a_full_disk_and_one_that_is_not_to_be_written_to() {
    let host = Host::new();
    let releases = Releases::new(&host);
    let large = format!("{WORKS}# {}\n", "x".repeat(4 << 20));
    releases.publish("v0.2.0", &large);
    let installed = Installed::new(&host, &releases);
    // The program that runs is bound into a small disk of the same place.
    let small = format!(
        "cd .local/lib/banger; mkdir -p {INSTALLED}; mount --bind releases/{INSTALLED} {INSTALLED}
         mount -t tmpfs -o size=1m none releases; mkdir releases/{INSTALLED}
         mount --bind {INSTALLED} releases/{INSTALLED}; cd"
    );
    let told = update_beneath(&installed, &small);
    assert!(told.contains("No space left on device") && told.ends_with("-- exit 1"), "{told}");
    assert!(told.contains("nothing was changed: the release in use is as it was"), "{told}");

    let told =
        update_beneath(&installed, "mount --bind .local .local; mount -o remount,bind,ro .local");
    assert!(told.contains("releases` cannot be changed by this user"), "{told}");
    assert!(
        told.contains("hint: it belongs to somebody else, root mostly: sudo banger update"),
        "{told}"
    );
    assert_untouched(&installed);
}

#[test]
fn two_updates_at_once_are_one() {
    let host = Host::new();
    let releases = Releases::new(&host);
    releases.publish("v0.2.0", WORKS);
    let installed = Installed::new(&host, &releases);
    let lock = fs::File::create(installed.releases().join(".lock")).unwrap();
    lock.lock().unwrap();
    let told = installed.run(&["update"]);
    assert!(told.contains("another update of `$HOST/home/.local` is under way"), "{told}");
    drop(lock);
    assert!(installed.run(&["update"]).starts_with("v0.2.0 is in use"));
}

#[test]
fn a_server_that_is_gone_or_says_nothing() {
    let host = Host::new();
    let releases = Releases::new(&host);
    let installed = Installed::new(&host, &releases);
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let from_there = |patience: &str, words: &[&str]| {
        let mut command = Command::new("timeout");
        // As somebody who has waited long enough.
        command.args(["--preserve-status", "--signal=INT", patience, "env"]);
        command.arg(format!("BANGER_RELEASES=http://127.0.0.1:{port}")).arg(installed.command());
        installed.run_by(&mut command, words)
    };
    let told = from_there("1", &["update"]);
    assert!(told.ends_with("-- exit 130"), "{told}");
    drop(server);
    let told = from_there("60", &["update", "--check"]);
    assert!(told.contains(&format!("http://127.0.0.1:{port}/manifest.json")), "{told}");
    assert!(told.ends_with("-- exit 1"), "{told}");
    assert_untouched(&installed);
}

/// While a release is tried, it can be left; once it is in use, the update goes on to its end.
#[test]
fn a_signal_before_the_switch_and_one_after_it() {
    let host = Host::new();
    let releases = Releases::new(&host);
    releases.publish("v0.2.0", &with_answer("version --json", "kill -TERM $PPID; exec sleep 60"));
    let installed = Installed::new(&host, &releases);
    let told = installed.run(&["update"]);
    assert!(told.ends_with("-- exit 143"), "{told}");
    assert_untouched(&installed);

    releases.publish("v0.2.1", &with_answer("daemon start", "kill -TERM $PPID"));
    let told = installed.run(&["update"]);
    assert!(told.starts_with("v0.2.1 is in use, v0.1.0 was before\n"), "{told}");
    assert_eq!(installed.said(), "banger 0.2.1");
}

/// Killed in every call that changes the file system, one after the other. Each time a whole release
/// is in use, and the next update has nothing in its way.
#[test]
fn killed_at_any_step_a_whole_release_is_in_use() {
    let host = Host::new();
    let releases = Releases::new(&host);
    releases.publish("v0.2.0", WORKS);
    let installed = Installed::new(&host, &releases);
    let (mut killed, mut switched) = (0, 0);
    for call in ["rename", "renameat2", "symlink", "unlink", "unlinkat", "mkdir", "fsync", "clone3"]
    {
        for number in 1.. {
            installed.put_back();
            for name in installed.list().iter().filter(|name| name.starts_with("v0.2.0")) {
                fs::remove_dir_all(installed.releases().join(name)).unwrap();
            }
            let mut strace = Command::new("strace");
            // Its own thread only: the others fetch, which tests of that do.
            let inject = format!("inject={call}:signal=KILL:when={number}");
            strace.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
            let told = installed.run_by(strace.arg(installed.command()), &["update"]);
            if told.ends_with("-- exit 0") {
                break;
            }
            let when = format!("killed in {call} {number}");
            assert!(told.ends_with("-- signal: 9 (SIGKILL)"), "{when}: {told}");
            killed += 1;
            let said = installed.said();
            assert!(said == "banger 0.2.0" || said.starts_with("banger 0.1.0 "), "{when}: {said}");
            if said == "banger 0.2.0" {
                switched += 1;
                installed.put_back();
            }
            let told = installed.run(&["update"]);
            assert!(told.starts_with("v0.2.0 is in use"), "{when}: {told}");
            let list = installed.list();
            assert!(list.len() == 3 && list[2].starts_with("v0.2.0-"), "{when}: {list:?}");
        }
    }
    // Before the switch, and after it.
    assert!(killed > 12 && switched > 0, "{killed} were killed, {switched} after the switch");
}
