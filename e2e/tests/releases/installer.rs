//! What `scripts/install.sh` installs, what it refuses, and what is there when it is killed.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use banger_e2e::{Home, Ran, Releases, WebServer, checkout, files};

use crate::standin::{program, publishing};

/// A user, a server of releases, and a place to install them in.
struct Scene {
    home: Home,
    server: WebServer,
    releases: Releases,
    prefix: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let home = Home::empty();
        let dir = home.path().join("server");
        let server = WebServer::start(&dir);
        let releases = Releases::new(&dir, &server.url(""));
        let prefix = home.path().join("prefix");
        let scene = Self { home, server, releases, prefix };
        scene.publish("v1.0.0", "/dev/null");
        scene
    }

    fn publish(&self, version: &str, list: &str) {
        let mut script = publishing(&self.releases, version);
        script.arg("--key").arg(self.releases.key()).args(["--manifest", list]);
        Ran::of(script, b"").expect_code(0);
    }

    /// As it is said to be done, with these words.
    fn installer(&self, words: &str) -> Command {
        let mut command = self.home.command("bash");
        let script = self.server.url("install.sh");
        let prefix = self.prefix.display();
        let line = format!(
            "set -o pipefail; curl -fsSL {script} | bash -s -- --prefix {prefix} --yes {words}"
        );
        command.args(["-c", &line]).env("TMPDIR", self.home.path());
        command
    }

    fn install(&self, words: &str) -> Ran {
        Ran::of(self.installer(words), b"")
    }

    fn expect_refused(&self, why: &str) {
        self.install("").expect_code(1).expect_stderr(&[why]);
        assert!(!self.prefix.exists(), "{why}");
    }

    /// The version that is installed, if one is and works.
    fn version(&self) -> Option<String> {
        let output = Command::new(self.prefix.join("bin/banger")).output().ok()?;
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(said["version"].as_str()?.to_owned())
    }

    fn of_release(&self, name: &str) -> PathBuf {
        self.releases.dir().join("v1.0.0").join(name)
    }
}

/// What is beneath `dir` but for directories.
fn left(dir: &Path) -> Vec<String> {
    files(dir).into_iter().filter(|path| !Path::new(path).is_dir()).collect()
}

#[test]
fn the_key_alone_is_believed() {
    let scene = Scene::new();
    let archive = scene.of_release("banger-v1.0.0-x86_64-linux.tar.gz");
    let whole = fs::read(&archive).expect("the archive");
    fs::write(&archive, &whole[..whole.len() - 1]).expect("a shorter one");
    scene.expect_refused("is not what was signed: nothing was installed");
    fs::write(&archive, &whole).expect("the archive");
    let (hashes, signature) = (scene.of_release("SHA256SUMS"), scene.of_release("SHA256SUMS.sig"));
    let sums = fs::read_to_string(&hashes).expect("the hashes");
    fs::write(&hashes, format!("{sums}\n")).expect("others");
    scene.expect_refused(
        "the signature of v1.0.0 is not that of banger's makers: nothing was installed",
    );
    fs::remove_file(&hashes).expect("none");
    scene.expect_refused("cannot fetch");
    fs::write(&hashes, &sums).expect("the hashes");
    let signed = fs::read(&signature).expect("the signature");
    fs::remove_file(&signature).expect("none");
    scene.expect_refused("cannot fetch");
    fs::write(&signature, &signed).expect("the signature");

    // Another release, rightly signed, in the place of this one.
    scene.publish("v1.1.0", "/dev/null");
    for name in ["SHA256SUMS", "SHA256SUMS.sig"] {
        fs::copy(scene.releases.dir().join("v1.1.0").join(name), scene.of_release(name))
            .expect("it");
    }
    let told = scene.install("--version v1.0.0").expect_code(1);
    assert!(
        told.stderr.contains("what is signed as v1.0.0 has no banger-v1.0.0"),
        "{}",
        told.stderr
    );
    assert!(!scene.prefix.exists());
}

#[test]
fn half_a_script_does_nothing_and_that_of_a_checkout_knows_no_key() {
    let scene = Scene::new();
    let installer = fs::read_to_string(scene.releases.dir().join("install.sh")).expect("it");
    let mut half = scene.home.command("bash");
    half.args(["-s", "--", "--yes", "--prefix"]).arg(&scene.prefix);
    let text = installer.trim_end().trim_end_matches("main \"$@\"");
    Ran::of(half, text.as_bytes()).expect_code(0);
    assert!(!scene.prefix.exists());

    let mut own = scene.home.command(checkout().join("scripts/install.sh"));
    own.args(["--user", "--yes"]);
    Ran::of(own, b"").expect_code(1).expect_stderr(&["which knows no key"]);
}

#[test]
fn installed_again_over_what_was_damaged_and_removed() {
    let scene = Scene::new();
    scene.install("").expect_code(0);
    assert_eq!(scene.version().as_deref(), Some("1.0.0"));
    let manual = fs::read_to_string(scene.prefix.join("share/man/man1/banger.1"));
    assert_eq!(manual.expect("a manual page"), "manual\n");
    fs::write(scene.prefix.join("bin/banger"), "damaged").expect("the program");
    scene.install("").expect_code(0);
    assert_eq!(scene.version().as_deref(), Some("1.0.0"));
    fs::write(scene.prefix.join("share/not-ours"), "").expect("a file");
    scene.install("--uninstall").expect_code(0);
    assert_eq!(left(&scene.prefix), [scene.prefix.join("share/not-ours").display().to_string()]);
    scene.install("--uninstall").expect_code(1).expect_stderr(&["there is no banger beneath"]);
}

/// Killed before each of its steps, the next release is installed whole or not at all, and installing once
/// more brings it and leaves nothing of the first attempt.
#[test]
fn killed_at_any_step_a_whole_release_is_in_use() {
    let scene = Scene::new();
    let steps = scene.home.path().join("steps");
    for name in ["mkdir", "rm", "cp", "mv", "ln"] {
        // It ends its group, the installer with it, before the step that KILL_AT counts to.
        let script = format!(
            "#!/bin/sh\necho {name} >>\"$STEPS\"\n\
             [ \"$(grep -c . \"$STEPS\")\" != \"$KILL_AT\" ] || kill -9 0\nexec /bin/{name} \"$@\"\n"
        );
        program(&steps, name, &script);
    }
    let killed_at = |step: usize| {
        let count = scene.home.path().join("count");
        let _ = fs::remove_file(&count);
        let mut command = scene.installer("--version v1.1.0");
        command.env("PATH", format!("{}:/usr/bin:/bin", steps.display())).process_group(0);
        command.env("STEPS", &count).env("KILL_AT", step.to_string());
        let code = Ran::of(command, b"").code();
        (code, fs::read_to_string(count).unwrap_or_default())
    };
    scene.publish("v1.1.0", scene.releases.dir().join("manifest.json").to_str().expect("UTF-8"));
    for fresh in [true, false] {
        let mut seen = Vec::new();
        for step in 1.. {
            assert!(step < 100, "it does not end");
            let _ = fs::remove_dir_all(&scene.prefix);
            if !fresh {
                scene.install("--version v1.0.0").expect_code(0);
            }
            let (code, steps) = killed_at(step);
            if code == 0 {
                break;
            }
            assert_eq!(code, 137, "at step {step} of\n{steps}");
            match scene.version().as_deref() {
                None => assert!(fresh, "nothing works after\n{steps}"),
                Some(version) => {
                    assert!(version == "1.1.0" || !fresh && version == "1.0.0", "{version}");
                    seen.push(version.to_owned());
                }
            }
            scene.install("--version v1.1.0").expect_code(0);
            assert_eq!(scene.version().as_deref(), Some("1.1.0"));
            let staged = files(&scene.prefix).into_iter().filter(|path| path.contains(".new-"));
            assert_eq!(staged.collect::<Vec<_>>(), Vec::<String>::new());
        }
        seen.dedup();
        let wanted: &[&str] = if fresh { &["1.1.0"] } else { &["1.0.0", "1.1.0"] };
        assert_eq!(seen, wanted, "it goes from one to the other once");
    }
}
