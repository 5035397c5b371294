//! VMs that begin from a template of their kind instead of booting.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use banger_e2e::{Home, Repository};

use crate::snapshots::identity;

/// A boot, and all that an image starts by itself, beside the VM of another test.
const TEMPLATE_DEADLINE: Duration = Duration::from_secs(240);

fn machine() -> [&'static str; 6] {
    ["--memory", "512M", "--vcpu", "1", "--disk-size", "1G"]
}

/// Waits until the daemon says that it has made so many templates.
fn await_templates(home: &Home, count: usize) {
    let mut logs = home.banger_command(["daemon", "logs", "--follow"]);
    let mut logs = logs.stdout(Stdio::piped()).spawn().expect("banger");
    let lines = BufReader::new(logs.stdout.take().expect("piped")).lines();
    let (send, told) = mpsc::channel();
    thread::spawn(move || {
        let templates = lines.map_while(Result::ok).filter(|line| line.contains("template"));
        // Whoever waits may have given up.
        let _ = send.send(templates.take(count).collect::<Vec<_>>());
    });
    let told = told.recv_timeout(TEMPLATE_DEADLINE).expect("a template in time");
    logs.kill().expect("killed");
    logs.wait().expect("it ends");
    assert!(told.iter().all(|line| line.contains("template made")), "{told:#?}");
}

fn templates(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.state_dir().join("warm")).expect("templates");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn vms_of_a_kind_begin_from_one_that_has_booted() {
    let home = Home::new();
    home.configure("warm_starts = true\n");
    let begin = |name: &str, args: &[&str]| {
        home.banger([&["vm", "create", "--name", name], args].concat()).expect_code(0);
        home.show(name)["warm"].as_bool().expect("how it began")
    };
    let like = machine();
    assert!(!begin("first", &like), "there is nothing to begin from");
    await_templates(&home, 1);
    assert_eq!(templates(&home).len(), 1);

    // Two at once, and one with a repository, which is brought in as after a boot.
    let warm: Vec<bool> = thread::scope(|scope| {
        let begun = ["a", "b"].map(|name| scope.spawn(move || begin(name, &like)));
        begun.into_iter().map(|one| one.join().expect("a VM")).collect()
    });
    assert_eq!(warm, [true, true]);
    let repository = Repository::create(&home.path().join("repo"));
    let run = ["vm", "run", "--name", "c", repository.arg()];
    let ran = home.banger([&run[..], &like, &["--", "test", "-e", "hello.txt"]].concat());
    ran.expect_code(0);
    assert_eq!(home.show("c")["warm"], true);

    // None of them is who another is, or whom the template was.
    let all = ["first", "a", "b", "c"];
    let identities: Vec<_> = all.iter().map(|vm| identity(&home, vm)).collect();
    for what in 0..6 {
        let different: BTreeSet<_> = identities.iter().map(|lines| &lines[what]).collect();
        assert_eq!(different.len(), all.len(), "{what}: {identities:#?}");
    }
    home.exec("a", &["sh", "-c", "test ! -e /root/b; touch /root/a; sync"]).expect_code(0);
    home.exec("b", &["sh", "-c", "test ! -e /root/a; touch /root/b; sync"]).expect_code(0);
    // What was stopped has a disk of its own, and boots.
    let boot = home.show("a")["guest"]["boot_id"].clone();
    home.banger(["vm", "restart", "a"]).expect_code(0);
    assert_ne!(home.show("a")["guest"]["boot_id"], boot);
    home.exec("a", &["test", "-e", "/root/a"]).expect_code(0);
    home.banger(["vm", "delete", "-f", "first", "a", "b", "c"]).expect_code(0);

    // Others boot, and so does whoever wants to.
    let larger = ["--memory", "640M", "--vcpu", "1", "--disk-size", "1G"];
    assert!(!begin("larger", &larger), "another kind");
    await_templates(&home, 2);
    assert!(!begin("cold", &[&["--cold"], &like[..]].concat()));
    home.banger(["vm", "delete", "-f", "larger", "cold"]).expect_code(0);

    // What cannot be begun from is given up, and the VM is there all the same.
    for template in templates(&home) {
        fs::write(template.join("state"), b"nothing that a VMM knows").expect("written");
    }
    assert!(!begin("again", &like), "it has booted instead");
    assert_eq!(home.exec("again", &["hostname"]).expect_code(0).stdout, "again\n");
    home.banger(["vm", "delete", "-f", "again"]).expect_code(0);
    home.expect_nothing_left();
}
