//! Images for the registries of tests. What is in the layers does not matter to fetching.

use std::collections::HashMap;

use banger_fetch::sha256;

use crate::server::{Reply, Request};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image as a registry has it, under the tag `latest`.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) index: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
}

/// Bytes that are different for each seed and do not repeat.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

impl Image {
    /// With layers of these sizes in bytes.
    pub(crate) fn new(sizes: &[usize]) -> Self {
        let layers: Vec<Vec<u8>> =
            sizes.iter().enumerate().map(|(seed, size)| noise(seed as u64 + 1, *size)).collect();
        let diff_ids: Vec<String> =
            layers.iter().map(|layer| format!("{:?}", sha256(layer).to_string())).collect();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        )
        .into_bytes();
        let parts: Vec<String> = layers.iter().map(|layer| descriptor(LAYER, layer)).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor("application/vnd.oci.image.config.v1+json", &config),
            parts.join(",")
        )
        .into_bytes();
        let entry = descriptor(MANIFEST, &manifest);
        let platform = |platform: &str| {
            let (os, architecture) = platform.split_once('/').unwrap();
            format!(
                r#"{},"platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
                &entry[..entry.len() - 1]
            )
        };
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{},{}]}}"#,
            platform("linux/arm64")
                .replace(&sha256(&manifest).to_string(), &sha256(b"another").to_string()),
            platform("linux/amd64")
        )
        .into_bytes();
        let blobs = layers.iter().chain([&config]);
        let blobs = blobs.map(|blob| (sha256(blob).to_string(), blob.clone())).collect();
        Self { manifest, index, config, layers, blobs }
    }

    /// What a registry that behaves answers. The tag `multi` is the index.
    pub(crate) fn serve(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap();
        let name = path.rsplit('/').next().unwrap();
        if request.path.contains("/blobs/") {
            return match self.blobs.get(name) {
                Some(blob) => Reply::content(request, blob),
                None => Reply::new(404, ""),
            };
        }
        let (text, kind) = match name {
            "multi" => (&self.index, INDEX),
            "latest" => (&self.manifest, MANIFEST),
            digest if digest == sha256(&self.manifest).to_string() => (&self.manifest, MANIFEST),
            _ => {
                let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here"}]}"#;
                return Reply::new(404, body);
            }
        };
        Reply::new(200, text.clone())
            .header("Content-Type", kind)
            .header("Docker-Content-Digest", sha256(text))
    }

    /// Bytes of all layers.
    pub(crate) fn size(&self) -> usize {
        self.layers.iter().map(Vec::len).sum()
    }
}

fn descriptor(media_type: &str, content: &[u8]) -> String {
    let (digest, size) = (sha256(content), content.len());
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}
