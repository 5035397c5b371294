//! Releases of the checkout, made by the script that makes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Ran, checkout};

/// What another cargo may know of the one that runs the test: everything else would have it compile
/// anew what asks for it.
const FOR_CARGO: [&str; 5] = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];

/// A directory of releases, which a server is to have at an address, and the key that they are
/// signed with.
#[derive(Debug)]
pub struct Releases {
    dir: PathBuf,
    address: String,
}

impl Releases {
    /// No release yet. The key is beside `dir`, with `.key` and `.pem` after its name.
    ///
    /// # Panics
    /// When there is no key to be had.
    #[must_use]
    pub fn new(dir: &Path, address: &str) -> Self {
        std::fs::create_dir_all(dir).expect("a directory");
        let address = address.trim_end_matches('/').to_owned();
        let releases = Self { dir: dir.to_owned(), address };
        let mut made = Command::new("sh");
        made.args(["-ec", "openssl ecparam -name prime256v1 -genkey -noout -out $1.key; openssl ec -in $1.key -pubout -out $1.pem", "sh"]);
        made.arg(dir);
        Ran::of(made, b"").expect_code(0);
        releases
    }

    /// Where they are, as a server has them.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.with_extension("key")
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> PathBuf {
        self.dir.with_extension("pem")
    }

    /// The script, to be given a key and more: it makes `version` of what is checked out, also of what
    /// is not committed there.
    #[must_use]
    pub fn publishing(&self, version: &str) -> Command {
        let mut command = Command::new(checkout().join("scripts/publish-release.sh"));
        command
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| FOR_CARGO.contains(&name.as_str())))
            .args(["--snapshot", "--version", version, "--releases", &self.address, "--out"])
            .arg(&self.dir);
        command
    }

    /// Builds `version`, signs it and adds it to the releases.
    ///
    /// # Panics
    /// When that cannot be.
    pub fn publish(&self, version: &str) {
        let list = self.dir.join("manifest.json");
        let list = if list.exists() { list } else { PathBuf::from("/dev/null") };
        let mut script = self.publishing(version);
        script.arg("--key").arg(self.key()).arg("--manifest").arg(list);
        Ran::of(script, b"").expect_code(0);
    }
}
