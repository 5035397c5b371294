//! From a server of releases to a machine that runs, and on to the next release, and away again: with
//! the scripts that make releases and install them, as somebody does who has never seen banger.

use std::path::{Path, PathBuf};
use std::process::Command;

use banger_e2e::{Home, Ran, WebServer, checkout, files};

/// Variables by which programs and their parts are found.
const FOR_CARGO: [&str; 5] = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];

/// Releases that are really built, packed and signed, and a server that has them.
struct Releases {
    dir: PathBuf,
    server: WebServer,
}

impl Releases {
    fn new(home: &Home) -> Self {
        let dir = home.path().join("server");
        std::fs::create_dir(&dir).expect("a directory");
        let made = Command::new("openssl")
            .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
            .arg(home.path().join("key"))
            .status();
        assert!(made.expect("openssl").success());
        let server = WebServer::start(&dir);
        Self { dir, server }
    }

    fn address(&self) -> String {
        self.server.url("").trim_end_matches('/').to_owned()
    }

    /// Publishes what is checked out here as `version`, after the releases of `list`.
    fn publish(&self, home: &Home, version: &str, list: &str) {
        let done = Command::new(checkout().join("scripts/publish-release.sh"))
            .args(["--snapshot", "--version", version, "--releases", &self.address()])
            .arg("--key")
            .arg(home.path().join("key"))
            .args(["--manifest", list, "--out"])
            .arg(&self.dir)
            // What cargo tells this program is not for another cargo: it would compile anew what asks
            // for it.
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| FOR_CARGO.contains(&name.as_str())))
            .output()
            .expect("the script");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
    }
}

/// The installer, as the server has it, with these words.
fn install(home: &Home, releases: &Releases, words: &str) -> Ran {
    let mut command = home.command("bash");
    let script = releases.server.url("install.sh");
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
    let releases = Releases::new(&home);
    releases.publish(&home, "v0.7.0", "/dev/null");

    // From nothing, without root.
    let told = install(&home, &releases, "--user --yes").expect_code(0);
    assert!(told.stderr.contains("banger v0.7.0 is installed."), "{}", told.stderr);
    assert_eq!(version(&home), "0.7.0");
    let vm = "stays";
    banger(&home, &["vm", "create", "--name", vm, "--memory", "512M"]).expect_code(0);
    banger(&home, &["vm", "exec", vm, "--", "sh", "-c", "echo here > /run/mark"]).expect_code(0);
    let processes = home.vm_processes();
    assert!(processes.iter().any(|line| line.contains("releases/v0.7.0-")), "{processes:#?}");

    // On to the next one.
    let list = releases.dir.join("manifest.json");
    let before = home.path().join("before.json");
    std::fs::copy(&list, &before).expect("the list");
    releases.publish(&home, "v0.7.1", before.to_str().expect("UTF-8"));
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
    let told = install(&home, &releases, "--user --yes --uninstall").expect_code(1);
    assert!(told.stderr.contains("1 VMs run: stop them first"), "{}", told.stderr);
    banger(&home, &["vm", "stop", vm]).expect_code(0);
    install(&home, &releases, "--user --yes --uninstall").expect_code(0);
    assert_eq!(left(&home.path().join("home/.local")), Vec::<String>::new());
    assert_eq!(home.processes(), Vec::<String>::new());
    assert!(home.state_dir().join("banger.db").is_file(), "VMs are the user's");
}

#[test]
fn the_installer_believes_the_key_alone() {
    let home = Home::empty();
    let dir = home.path().join("server/v1.0.0");
    std::fs::create_dir_all(&dir).expect("a directory");
    let script = r#"
        openssl ecparam -name prime256v1 -genkey -noout -out key
        openssl ec -in key -pubout -out key.pem
        mkdir -p banger-v1.0.0-x86_64-linux/bin
        printf '#!/bin/sh\necho "{\\"version\\": \\"1.0.0\\"}"\n' > banger-v1.0.0-x86_64-linux/bin/banger
        chmod +x banger-v1.0.0-x86_64-linux/bin/banger
        tar -czf banger-v1.0.0-x86_64-linux.tar.gz banger-v1.0.0-x86_64-linux
        sha256sum *.gz > SHA256SUMS
        openssl dgst -sha256 -sign key SHA256SUMS | base64 -w0 > SHA256SUMS.sig
        echo '{"schema": 1, "releases": [{"version": "v1.0.0"}, {"version": "v1.1.0-rc.1"}]}' > ../manifest.json
        sed -n '1,/^# KEY BEGINS/p' "$0" > ../install.sh
        printf "RELEASES='%s'\nKEY='%s'\n" "$1" "$(cat key.pem)" >> ../install.sh
        sed -n '/^# KEY ENDS/,$p' "$0" >> ../install.sh"#;
    let server = WebServer::start(&home.path().join("server"));
    let made = Command::new("sh")
        .args(["-ec", script])
        .arg(checkout().join("scripts/install.sh"))
        .arg(server.url("").trim_end_matches('/'))
        .current_dir(&dir)
        .output()
        .expect("sh");
    assert!(made.status.success(), "{made:?}");
    let releases = Releases { dir: dir.clone(), server };
    let prefix = home.path().join("prefix");
    let words = format!("--prefix {} --yes", prefix.display());
    let refused = |why: &str| {
        let told = install(&home, &releases, &words).expect_code(1);
        assert!(told.stderr.contains(why), "{}", told.stderr);
        assert!(!prefix.exists(), "{why}");
    };

    let archive = dir.join("banger-v1.0.0-x86_64-linux.tar.gz");
    let whole = std::fs::read(&archive).expect("the archive");
    std::fs::write(&archive, &whole[..whole.len() - 1]).expect("a shorter one");
    refused("is not what was signed: nothing was installed");
    std::fs::write(&archive, &whole).expect("the archive");
    let sums = std::fs::read_to_string(dir.join("SHA256SUMS")).expect("the hashes");
    std::fs::write(dir.join("SHA256SUMS"), format!("{sums}\n")).expect("others");
    refused("the signature of v1.0.0 is not that of banger's makers: nothing was installed");
    std::fs::rename(dir.join("SHA256SUMS"), dir.join("away")).expect("none");
    refused("cannot fetch");
    std::fs::write(dir.join("SHA256SUMS"), &sums).expect("the hashes");
    std::fs::rename(dir.join("SHA256SUMS.sig"), dir.join("sig")).expect("no signature");
    refused("cannot fetch");
    std::fs::rename(dir.join("sig"), dir.join("SHA256SUMS.sig")).expect("the signature");

    // Half a script does nothing at all.
    let installer = std::fs::read_to_string(home.path().join("server/install.sh")).expect("it");
    let mut half = home.command("bash");
    half.args(["-s", "--", "--prefix"]).arg(&prefix).arg("--yes");
    Ran::of(half, installer.trim_end().trim_end_matches("main \"$@\"").as_bytes()).expect_code(0);
    assert!(!prefix.exists());

    // Once, and again over what was damaged meanwhile.
    install(&home, &releases, &words).expect_code(0);
    let program = prefix.join("bin/banger");
    std::fs::write(&program, "damaged").expect("the program");
    install(&home, &releases, &words).expect_code(0);
    assert!(std::fs::read_to_string(&program).expect("the program").starts_with("#!/bin/sh"));
    install(&home, &releases, &format!("{words} --uninstall")).expect_code(0);
    assert_eq!(left(&prefix), Vec::<String>::new());
    // The one that is in the source has no key, and says so.
    let mut own = home.command(checkout().join("scripts/install.sh"));
    own.args(["--user", "--yes"]);
    let told = Ran::of(own, b"").expect_code(1);
    assert!(told.stderr.contains("which knows no key"), "{}", told.stderr);
}
