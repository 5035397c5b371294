//! From a server of releases to a machine that runs, and on to the next release, and away again: with
//! the scripts that make releases and install them, as somebody does who has never seen banger.

use std::path::Path;

use banger_e2e::{Home, Ran, Releases, WebServer, files};

/// The installer, as the server has it, with these words.
fn install(home: &Home, server: &WebServer, words: &str) -> Ran {
    let mut command = home.command("bash");
    let script = server.url("install.sh");
    command.args(["-c", &format!("curl -fsSL {script} | bash -s -- {words}")]);
    Ran::of(command, b"")
}

/// The command that was installed, with these words.
fn banger(home: &Home, words: &[&str]) -> Ran {
    let mut command = home.command(home.path().join("home/.local/bin/banger"));
    command.args(words);
    Ran::of(command, b"")
}

/// What is beneath `dir` but for directories.
fn left(dir: &Path) -> Vec<String> {
    files(dir).into_iter().filter(|path| !Path::new(path).is_dir()).collect()
}

fn version(home: &Home) -> String {
    let said = banger(home, &["version", "--json"]).expect_code(0).json();
    said["version"].as_str().expect("a version").to_owned()
}

#[test]
fn installed_updated_beside_a_vm_that_runs_and_removed() {
    let home = Home::new();
    std::fs::create_dir_all(home.path().join("home")).expect("a home");
    let dir = home.path().join("server");
    let server = WebServer::start(&dir);
    let releases = Releases::new(&dir, &server.url(""));
    releases.publish("v0.7.0");

    // From nothing, without root.
    let told = install(&home, &server, "--user --yes").expect_code(0);
    assert!(told.stderr.contains("banger v0.7.0 is installed."), "{}", told.stderr);
    assert_eq!(version(&home), "0.7.0");
    let vm = "stays";
    banger(&home, &["vm", "create", "--name", vm, "--memory", "512M"]).expect_code(0);
    banger(&home, &["vm", "exec", vm, "--", "sh", "-c", "echo here > /run/mark"]).expect_code(0);
    let processes = home.vm_processes();
    assert!(processes.iter().any(|line| line.contains("releases/v0.7.0-")), "{processes:#?}");

    // On to the next one.
    releases.publish("v0.7.1");
    let told = banger(&home, &["update", "--check"]).expect_code(0);
    assert_eq!(told.stdout, "v0.7.1 is there, v0.7.0 is in use: banger update\n");
    let told = banger(&home, &["update"]).expect_code(0);
    assert_eq!(told.stdout, "v0.7.1 is in use, v0.7.0 was before\n");
    assert_eq!(version(&home), "0.7.1");
    let status = banger(&home, &["daemon", "status", "--json"]).expect_code(0).json();
    assert_eq!((&status["version"], &status["vms_running"]), (&"0.7.1".into(), &1.into()));
    assert_eq!(home.vm_processes(), processes, "the VM has noticed");
    let mark = banger(&home, &["vm", "exec", vm, "--", "cat", "/run/mark"]).expect_code(0);
    assert_eq!(mark.stdout, "here\n");
    let back = banger(&home, &["update", "--version", "v0.7.0"]).expect_code(1);
    assert!(back.stderr.contains("v0.7.0 is older than v0.7.1"), "{}", back.stderr);

    // Away: not while a VM runs, and then no more than was installed.
    let told = install(&home, &server, "--user --yes --uninstall").expect_code(1);
    assert!(told.stderr.contains("1 VMs run: stop them first"), "{}", told.stderr);
    banger(&home, &["vm", "stop", vm]).expect_code(0);
    install(&home, &server, "--user --yes --uninstall").expect_code(0);
    assert_eq!(left(&home.path().join("home/.local")), Vec::<String>::new());
    assert_eq!(home.processes(), Vec::<String>::new());
    assert!(home.state_dir().join("banger.db").is_file(), "VMs are the user's");
}
