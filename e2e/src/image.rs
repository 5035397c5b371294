//! Small OCI images, made by hand: one layer and a configuration, as an archive of an OCI image
//! layout (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>).

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An image that is being put together. Everything in it is root's.
pub struct OciImage {
    layer: tar::Builder<Vec<u8>>,
    config: Value,
}

impl fmt::Debug for OciImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OciImage").field("config", &self.config).finish_non_exhaustive()
    }
}

impl OciImage {
    /// An image without a file, whose programs run as `config` says: the `config` object of an
    /// image configuration (`Env`, `WorkingDir`, `User`, `Entrypoint`, `Cmd`, `StopSignal`).
    #[must_use]
    pub fn new(config: Value) -> Self {
        Self { layer: tar::Builder::new(Vec::new()), config }
    }

    /// The same image with a file.
    ///
    /// # Panics
    /// When the path fits into no archive.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, contents: &[u8]) -> Self {
        let mut header = header(tar::EntryType::Regular, mode);
        header.set_size(contents.len() as u64);
        self.layer.append_data(&mut header, path, contents).expect("entry");
        self
    }

    /// The same image with a symbolic link.
    ///
    /// # Panics
    /// When the path fits into no archive.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        let mut header = header(tar::EntryType::Symlink, 0o777);
        self.layer.append_link(&mut header, path, target).expect("entry");
        self
    }

    /// The same image with the host's static busybox at `path`.
    ///
    /// # Panics
    /// When the host has none.
    #[must_use]
    pub fn busybox(self, path: &str) -> Self {
        let program = fs::read("/bin/busybox").expect("package busybox-static");
        self.file(path, 0o755, &program)
    }

    /// Writes the archive.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(self, to: &Path) {
        let layer = self.layer.into_inner().expect("layer");
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))] },
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes()),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        })
        .to_string();
        let index = json!({
            "schemaVersion": 2,
            "manifests": [descriptor(MANIFEST, manifest.as_bytes())],
        })
        .to_string();
        let mut archive = tar::Builder::new(fs::File::create(to).expect("archive"));
        let mut add = |path: &str, contents: &[u8]| {
            let mut header = header(tar::EntryType::Regular, 0o644);
            header.set_size(contents.len() as u64);
            archive.append_data(&mut header, path, contents).expect("entry");
        };
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        add("index.json", index.as_bytes());
        for blob in [manifest.as_bytes(), config.as_bytes(), &layer] {
            add(&format!("blobs/sha256/{}", digest(blob)), blob);
        }
        archive.into_inner().expect("archive").flush().expect("archive");
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": format!("sha256:{}", digest(blob)),
        "size": blob.len(),
    })
}

fn digest(blob: &[u8]) -> String {
    Sha256::digest(blob).iter().map(|byte| format!("{byte:02x}")).collect()
}
