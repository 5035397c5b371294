//! A directory of releases as a server has it, signed by openssl; and this program, installed as one.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::Host;

/// The release that is installed: this very program's version.
pub(crate) const INSTALLED: &str = "v0.1.0-000000000000";

/// What a release that works says and does; its words are written down in `calls`.
pub(crate) const WORKS: &str = r#"#!/bin/sh
echo "VERSION $*" >> "$HOME/calls"
case "$1 $2" in
"version --json" | "daemon status") echo '{"version": "VERSION"}' ;;
"daemon start" | "daemon stop") ;;
*) echo "banger VERSION" ;;
esac
"#;

/// Releases and who signs them.
pub(crate) struct Releases {
    dir: PathBuf,
}

fn sh(dir: &Path, script: &str) {
    let done = Command::new("sh").args(["-ec", script]).current_dir(dir).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
}

fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Releases {
    /// None yet.
    pub(crate) fn new(host: &Host) -> Self {
        let dir = host.path("releases");
        fs::create_dir(&dir).unwrap();
        sh(
            &dir,
            "openssl ecparam -name prime256v1 -genkey -noout -out key
                  openssl ec -in key -pubout -out key.pem
                  echo '{\"schema\": 1, \"releases\": []}' > manifest.json",
        );
        Self { dir }
    }

    /// The address, and the key's file.
    pub(crate) fn address(&self) -> String {
        format!("file://{}", self.dir.display())
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.join(below)
    }

    /// Publishes `version`, such as `v0.2.0`, whose `banger` is `program`.
    pub(crate) fn publish(&self, version: &str, program: &str) {
        let name = format!("banger-{version}-x86_64-linux");
        let tree = self.dir.join(&name);
        let program = program.replace("VERSION", version.trim_start_matches('v'));
        write_program(&tree.join("bin/banger"), &program);
        for companion in ["banger-agent", "banger-supervisor", "banger-helper"] {
            write_program(&tree.join("lib/banger").join(companion), "");
        }
        let page = tree.join("share/man/man1/banger.1");
        fs::create_dir_all(page.parent().unwrap()).unwrap();
        fs::write(page, version).unwrap();
        self.pack(version);
    }

    /// Packs what is in the directory of `version`, and signs it.
    pub(crate) fn pack(&self, version: &str) {
        let name = format!("banger-{version}-x86_64-linux");
        sh(
            &self.dir,
            &format!("mkdir -p {version}; tar -czf {version}/{name}.tar.gz {name}; rm -r {name}"),
        );
        self.sign(version);
        let manifest = self.dir.join("manifest.json");
        let mut list: serde_json::Value =
            serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
        let release = serde_json::json!({"version": version, "targets": ["x86_64-linux"]});
        list["releases"].as_array_mut().unwrap().push(release);
        fs::write(&manifest, list.to_string()).unwrap();
    }

    /// Makes the hashes of `version` anew, and signs them.
    pub(crate) fn sign(&self, version: &str) {
        sh(
            &self.dir.join(version),
            "sha256sum *.tar.gz > SHA256SUMS
            openssl dgst -sha256 -sign ../key SHA256SUMS | base64 -w0 > SHA256SUMS.sig",
        );
    }
}

/// This program, installed as a release beneath the user's `~/.local`.
pub(crate) struct Installed<'a> {
    pub(crate) host: &'a Host,
    releases: &'a Releases,
}

impl<'a> Installed<'a> {
    pub(crate) fn new(host: &'a Host, releases: &'a Releases) -> Self {
        let installed = Self { host, releases };
        let release = installed.releases().join(INSTALLED);
        fs::create_dir_all(release.join("bin")).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_banger"));
        let here = release.join("bin/banger");
        if fs::hard_link(program, &here).is_err() {
            fs::copy(program, &here).unwrap();
        }
        installed.put_back();
        fs::create_dir_all(host.path("home/.local/bin")).unwrap();
        symlink("../lib/banger/current/bin/banger", installed.command()).unwrap();
        installed
    }

    /// Has this program be the release in use, whatever was.
    pub(crate) fn put_back(&self) {
        let current = self.host.path("home/.local/lib/banger/current");
        let _ = fs::remove_file(&current);
        symlink(Path::new("releases").join(INSTALLED), current).unwrap();
    }

    pub(crate) fn command(&self) -> PathBuf {
        self.host.path("home/.local/bin/banger")
    }

    pub(crate) fn releases(&self) -> PathBuf {
        self.host.path("home/.local/lib/banger/releases")
    }

    /// What is in the directory of releases, by name.
    pub(crate) fn list(&self) -> Vec<String> {
        let entries = fs::read_dir(self.releases()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What the command says of its version, whichever release it is.
    pub(crate) fn said(&self) -> String {
        let output =
            self.in_home(&mut Command::new(self.command())).arg("version").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs the installed command as a user would.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        self.run_by(&mut Command::new(self.command()), args)
    }

    /// The same by way of another program.
    pub(crate) fn run_by(&self, command: &mut Command, args: &[&str]) -> String {
        let output = self.in_home(command).args(args).output().unwrap();
        self.host.transcript(&output)
    }

    fn in_home<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.host.path("home"))
            .env("XDG_RUNTIME_DIR", self.host.path("run"))
            .env("BANGER_RELEASES", self.releases.address())
            .env("BANGER_RELEASE_KEY", self.releases.path("key.pem"))
            .current_dir(self.host.path("home"))
    }
}
