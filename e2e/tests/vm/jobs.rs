//! Jobs in a real guest: they, their output and their end outlive everybody but the VM.

use banger_e2e::Home;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_job_outlives_the_daemon_and_tells_how_it_ended() {
    let home = Home::new();
    let vm = home.create("worker", &[]);
    home.exec(&vm, &["mkfifo", "/run/gate"]).expect_code(0);
    // More than any buffer on the way holds; it waits in the middle.
    let script = "echo begun; echo oops >&2; cat /run/gate; seq 200000; exit 7";
    let started = home.banger(["vm", "exec", "-d", &vm, "--", "sh", "-c", script]).expect_code(0);
    let job = started.stdout.trim().to_owned();
    let listed = home.banger(["vm", "jobs", "--json", &vm]).expect_code(0).json();
    assert_eq!(
        (&listed["jobs"][0]["id"], &listed["jobs"][0]["state"]),
        (&job.as_str().into(), &"running".into())
    );

    let daemon = home.daemon_pid();
    kill_process(Pid::from_raw(daemon).expect("a pid"), Signal::KILL).expect("kill");
    home.exec(&vm, &["sh", "-c", "echo between > /run/gate"]).expect_code(0);
    assert_ne!(home.daemon_pid(), daemon);
    let read = home.banger(["vm", "job", "logs", "-f", &vm, &job[..4]]).expect_code(7);
    let numbers: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(read.stdout == format!("begun\nbetween\n{numbers}"), "{} bytes", read.stdout.len());
    assert_eq!(read.stderr, "oops\n");
    let tail = home.banger(["vm", "job", "logs", "--tail", "2", &vm, &job]).expect_code(0);
    assert_eq!(tail.stdout, "199999\n200000\n");

    let second = home.banger(["vm", "exec", "-d", &vm, "--", "sleep", "1000"]).expect_code(0);
    let second = second.stdout.trim().to_owned();
    home.banger(["vm", "job", "kill", "-s", "KILL", &vm, &second]).expect_code(0);
    home.banger(["vm", "attach", &vm, &second]).expect_code(137);

    // What ended is known after a restart, and what the restart ended as well.
    home.banger(["vm", "exec", "-d", &vm, "--", "sleep", "1000"]).expect_code(0);
    home.banger(["vm", "restart", &vm]).expect_code(0);
    let listed = home.banger(["vm", "jobs", "--json", &vm]).expect_code(0).json();
    let jobs = listed["jobs"].as_array().expect("jobs");
    assert_eq!((&jobs[0]["code"], &jobs[1]["signal"]), (&7.into(), &9.into()));
    assert_ne!(jobs[2]["state"], "running");
    let again = home.banger(["vm", "job", "logs", "--tail", "1", &vm, &job]).expect_code(0);
    assert_eq!(again.stdout, "200000\n");
}
