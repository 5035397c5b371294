//! What the processes are and can, and what outlives whom.

use std::process::{Command, Stdio};
use std::time::Instant;

use banger_proto::helper::{Reply, Request, tap_name};
use serde_json::{Value, json};

use crate::rig::{DEADLINE, HELPER, Namespaces, closed, gateway_mac, rules, subnet, vm};

const NOTHING: &str = "0000000000000000";

/// A line of `/proc/PID/status`.
fn status(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("{name} in {text}")).trim().to_owned()
}

#[test]
fn the_holder_has_nothing() {
    let namespaces = Namespaces::new();
    let pid = namespaces.pid;
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&text, set), NOTHING, "{set}");
    }
    assert_eq!(status(&text, "NoNewPrivs"), "1");
    // It was started by us, so it says who it is, not who started it.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap();
    assert_eq!(namespaces.said["start_time"].to_string(), start);
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
    assert_eq!(session, pid.to_string(), "its own session");
}

#[test]
fn a_holder_that_nobody_has_noted_ends() {
    let output = Command::new(HELPER).arg("hold").output().unwrap();
    assert!(output.status.success());
    assert!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["pid"].is_u64());
}

#[test]
fn the_server_has_what_operations_take() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    helper.observe();
    let text = std::fs::read_to_string(format!("/proc/{}/status", helper.process.0.id())).unwrap();
    // CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN is 12.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(&text, set), "0000000000001400", "{set}");
    }
    assert_eq!(status(&text, "NoNewPrivs"), "1");
}

#[test]
fn a_vmm_can_attach_to_its_tap_and_nothing_else() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    helper.done(&Request::EnsureTap { vm: vm(1) });
    helper.done(&rules(&[closed(1)]));
    let mut vmm = namespaces.vmm();
    let text = vmm.does(json!(["read", "/proc/self/status"]));
    let text = text.as_str().unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(text, set), NOTHING, "{set}");
    }
    assert_eq!(status(text, "NoNewPrivs"), "1");

    assert_eq!(vmm.fails(json!(["attach", tap_name(&vm(2))])), "EPERM");
    vmm.does(json!(["attach", tap_name(&vm(1))]));
    // Frames pass: the gateway answers by the tap.
    let rules = closed(1);
    let answer =
        vmm.does(json!(["ask_arp", tap_name(&vm(1)), rules.mac(), rules.address, "172.30.0.1"]));
    assert_eq!(answer, json!(gateway_mac()));

    for (path, errors) in [
        (format!("/proc/{}/ns/net", std::process::id()), ["EACCES", "EPERM"]),
        ("/proc/self/ns/net".to_owned(), ["EPERM", "EPERM"]),
    ] {
        let error = vmm.fails(json!(["setns", path]));
        assert!(errors.contains(&error.as_str()), "{path}: {error}");
    }
    for program in [
        json!(["run", "nft", "list", "ruleset"]),
        json!(["run", "nft", "flush", "ruleset"]),
        json!(["run", "ip", "link", "set", "br-fc", "down"]),
        json!(["run", "ip", "link", "delete", tap_name(&vm(1))]),
        json!(["run", "ip", "tuntap", "add", "x", "mode", "tap"]),
    ] {
        let done = vmm.does(program.clone());
        assert_ne!(done[0], 0, "{program}: {done}");
        assert!(done[2].as_str().unwrap().contains("not permitted"), "{program}: {done}");
    }
    assert!(helper.observe().rules);
}

#[test]
fn what_cannot_be_run_is_told() {
    let namespaces = Namespaces::new();
    let run = |entrance: &[String], program: &str| {
        let output =
            Command::new(HELPER).arg("run").args(entrance).args(["--", program]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    let entrance = namespaces.entrance(namespaces.pid);
    assert!(run(&entrance, "/nowhere").contains("cannot execute `/nowhere`"));
    let mut wrong = entrance.clone();
    wrong[7] = "1".to_owned();
    let said = run(&wrong, "true");
    let there = &namespaces.said["netns_inode"];
    assert!(said.contains(&format!("leads to namespace {there}, not to 1")), "{said}");
    let mut gone = entrance;
    gone[1] = "/proc/0/ns/user".to_owned();
    assert!(run(&gone, "true").contains("cannot open the namespace"));
}

#[test]
fn descriptors_and_the_bond_to_the_parent_stay() {
    let namespaces = Namespaces::new();
    // The shell is bound to this process by setpriv, and must still be so behind the helper.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", HELPER, "run"]).args(namespaces.entrance(namespaces.pid));
    command.args(["--", "python3", "-c"]).arg(
        "import ctypes, os, sys\n\
         signal = ctypes.c_int()\n\
         ctypes.CDLL(None).prctl(2, ctypes.byref(signal))\n\
         print(signal.value, os.getpid(), sys.stdin.read())",
    );
    let (read, write) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut &write, b"kept").unwrap();
    drop(write);
    let child = command.stdin(read).stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("9 {pid} kept\n"));
}

#[test]
fn a_new_helper_serves_what_a_killed_one_made() {
    let namespaces = Namespaces::new();
    let mut first = namespaces.serve();
    first.done(&Request::EnsureBridge { subnet: subnet() });
    first.done(&Request::EnsureTap { vm: vm(1) });
    first.done(&rules(&[closed(1)]));
    let sockets = first.done(&Request::ListenDns { subnet: subnet() });
    let before = first.observe();
    first.process.0.kill().unwrap();
    first.process.0.wait().unwrap();

    let second = namespaces.serve();
    assert_eq!(second.observe(), before);
    second.done(&Request::EnsureTap { vm: vm(1) });
    // The sockets live with whoever has them.
    assert!(second.fails(&Request::ListenDns { subnet: subnet() }).contains("in use"));
    drop(sockets);
    // A program that another test is just starting has copies of them until it is executed.
    let since = Instant::now();
    while second.ask(&Request::ListenDns { subnet: subnet() }).0 != (Reply::Done {}) {
        assert!(since.elapsed() < DEADLINE, "the port is in use still");
    }
}

#[test]
fn namespaces_outlive_their_holder_in_a_vmm() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    helper.done(&Request::EnsureTap { vm: vm(1) });
    let before = helper.observe();
    let vmm = namespaces.vmm();
    let entrance = namespaces.entrance(vmm.pid());
    drop((helper, namespaces));

    let again = Namespaces::hold(&entrance);
    let inodes = |said: &Value| (said["userns_inode"].to_string(), said["netns_inode"].to_string());
    assert_eq!(inodes(&again.said), (entrance[3].clone(), entrance[7].clone()));
    drop(vmm);
    assert_eq!(again.serve().observe(), before);
}

#[test]
fn the_end_of_the_socket_ends_the_server() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    helper.observe();
    let (mut process, socket) = (helper.process, helper.socket);
    drop(socket);
    assert!(process.0.wait().unwrap().success());
}

#[test]
fn a_machine_without_namespaces_is_told() {
    // A user namespace whose own limit is 0 stands for such a machine.
    let limited = |file: &str, role: &str| {
        let script = format!("echo 0 > /proc/sys/user/{file} && exec {HELPER} {role}");
        let output =
            Command::new("unshare").args(["-U", "-r", "sh", "-c", &script]).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let said = limited("max_user_namespaces", "hold");
    assert_eq!(said["failed"], "cannot make a user namespace: `user.max_user_namespaces` is 0");
    assert!(said["causes"][0].as_str().unwrap().contains("No space left"), "{said}");
    let said = limited("max_net_namespaces", "hold");
    assert_eq!(said["failed"], "cannot make a network namespace: `user.max_net_namespaces` is 0");

    let probed = limited("max_net_namespaces", "probe");
    assert_eq!(probed["userns"], Value::Null);
    assert!(probed["netns"].as_str().unwrap().contains("`user.max_net_namespaces` is 0"));
    assert_eq!(probed["tap"], "not tried: there is no network namespace");
    assert_eq!(probed["jail"]["missing"][0][0], "network");
    let probed = limited("max_user_namespaces", "probe");
    let missing = &probed["jail"]["missing"];
    assert_eq!(missing[0][0], "namespaces");
    assert!(
        missing[0][1].as_str().unwrap().contains("`user.max_user_namespaces` is 0"),
        "{missing}"
    );
    assert_eq!(missing[1], Value::Null);
}

#[test]
fn the_probe_finds_that_all_works_and_leaves_nothing() {
    let output = Command::new(HELPER).arg("probe").output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let jail = json!({"failed": null, "missing": []});
    let works = json!(
        {"userns": null, "netns": null, "bridge": null, "tap": null, "nft": null, "jail": jail}
    );
    assert_eq!(found, works);
    assert!(!std::path::Path::new("/sys/class/net/bt-000000000000").exists());
}
