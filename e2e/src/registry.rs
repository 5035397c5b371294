//! The distribution's own `docker-registry`, on a loopback port.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The user whom a registry with a password lets in.
pub const USER: &str = "ada";
/// The user's password, which is no secret: it opens nothing but registries of tests.
pub const PASSWORD: &str = "banger-test-password";
/// [`PASSWORD`] as the registry wants to see it: bcrypt, cheap.
const PASSWORD_HASH: &str = "$2y$05$abcdefghijklmnopqrstuujdLMFc/Sn1VvzzRa7ozf4R21lswNlJu";

/// How long a registry may take until it listens.
const START: Duration = Duration::from_secs(30);

/// A registry that runs. Dropping it ends it; what it stores stays with whoever gave the place.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: String,
    _config: TempDir,
}

impl Registry {
    /// A registry that keeps its content in `storage`, open to everybody on this machine.
    #[must_use]
    pub fn start(storage: &Path) -> Self {
        Self::with_auth(storage, None)
    }

    /// A registry that lets in [`USER`] with [`PASSWORD`] and nobody else.
    #[must_use]
    pub fn start_with_password(storage: &Path) -> Self {
        Self::with_auth(storage, Some(&format!("{USER}:{PASSWORD_HASH}\n")))
    }

    fn with_auth(storage: &Path, accounts: Option<&str>) -> Self {
        let config = tempfile::Builder::new().prefix("registry-").tempdir().expect("directory");
        let mut settings = json!({
            "version": "0.1",
            "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": storage}},
            "http": {"addr": "127.0.0.1:0", "secret": "of no use outside of tests"},
        });
        if let Some(accounts) = accounts {
            let path = config.path().join("accounts");
            fs::write(&path, accounts).expect("accounts of the registry");
            settings["auth"] = json!({"htpasswd": {"realm": "tests", "path": path}});
        }
        // JSON is YAML, too.
        let file = config.path().join("config.yml");
        fs::write(&file, settings.to_string()).expect("configuration of the registry");
        let mut child = Command::new("/usr/bin/env")
            .args(["--default-signal", "docker-registry", "serve"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let keep = File::create(config.path().join("log")).expect("log of the registry");
        let address = wait_for_address(&follow(log, keep), &config.path().join("log"));
        Self { child, address, _config: config }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The reference of `image` (`name:tag`) in this registry.
    #[must_use]
    pub fn reference(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It keeps nothing in memory that is worth an orderly end; it may have ended itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies the log to a file as long as there is one, handing out its lines: a full pipe would
/// stop the registry.
fn follow(log: impl BufRead + Send + 'static, mut keep: File) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let _ = std::io::Write::write_all(&mut keep, format!("{line}\n").as_bytes());
            // Nobody listens any more once the address is known.
            let _ = sender.send(line);
        }
    });
    lines
}

/// Waits for the line that says where it listens: port 0 means that the system chooses.
fn wait_for_address(lines: &Receiver<String>, log: &Path) -> String {
    while let Ok(line) = lines.recv_timeout(START) {
        let message = serde_json::from_str::<Value>(&line).unwrap_or_default();
        if let Some(address) =
            message["msg"].as_str().and_then(|text| text.strip_prefix("listening on "))
        {
            return address.trim_end_matches(", tls").to_owned();
        }
    }
    panic!("docker-registry does not listen:\n{}", fs::read_to_string(log).unwrap_or_default());
}
