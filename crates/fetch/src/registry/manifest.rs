//! What an image consists of, according to its manifest; for this machine, where there are several
//! (<https://github.com/opencontainers/image-spec/blob/main/manifest.md>, `image-index.md`; Docker's
//! forms of the same). Pure: reads bytes that somebody else fetched and checked.

use oci_spec::image::{
    Arch, Descriptor as OciDescriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os,
};
use serde::Deserialize;

use super::ManifestError;
use banger_proto::Digest;
use banger_proto::oci::DigestError;

/// What is asked for, in this order of preference.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Largest manifest or index in bytes: what the distribution specification asks registries to
/// accept (4 MiB).
pub(super) const MAX_MANIFEST: usize = 4 << 20;

/// Most layers of an image; what overlay file systems are made of has 128 at most.
pub(super) const MAX_LAYERS: usize = 1024;

/// Largest configuration in bytes.
const MAX_CONFIG: u64 = 16 << 20;

/// Largest layer in bytes.
const MAX_LAYER: u64 = 256 << 30;

/// What a reference leads to.
#[derive(Debug)]
pub(super) enum Found {
    /// The parts of an image.
    Manifest(Parts),
    /// One image of several: the manifest to ask for.
    Index(Part),
}

/// The parts of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) config: Part,
    pub(super) layers: Vec<Part>,
}

/// A blob that an image consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) digest: Digest,
    /// In bytes.
    pub(super) size: u64,
    pub(super) media_type: String,
}

/// What decides which form a text has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    media_type: Option<String>,
}

/// Reads a manifest or index that was sent as `content_type`.
pub(super) fn parse_manifest(
    text: &[u8],
    content_type: Option<&str>,
) -> Result<Found, ManifestError> {
    let form = |what| move |source| ManifestError::Form { what, source };
    let shape: Shape = serde_json::from_slice(text).map_err(form("manifest"))?;
    if shape.schema_version == 1 {
        return Err(ManifestError::Schema1);
    }
    let sent = content_type.and_then(|sent| sent.split(';').next()).map(str::trim);
    let kind = match (shape.media_type, sent) {
        (Some(own), Some(sent)) if is_known(sent) && own != sent => {
            return Err(ManifestError::Ambiguous { own, sent: sent.to_owned() });
        }
        (Some(own), _) => own,
        (None, Some(sent)) => sent.to_owned(),
        (None, None) => MediaType::ImageManifest.to_string(),
    };
    if is_index(&kind) {
        let index: ImageIndex = serde_json::from_slice(text).map_err(form("index"))?;
        Ok(Found::Index(choose(&index)?))
    } else if is_manifest(&kind) {
        let manifest: ImageManifest = serde_json::from_slice(text).map_err(form("manifest"))?;
        Ok(Found::Manifest(parse_parts(&manifest)?))
    } else {
        Err(ManifestError::Kind(kind))
    }
}

/// Reads the configuration of an image; gives the digests of its layers when unpacked, too.
pub(super) fn parse_config(
    text: &[u8],
    layers: usize,
) -> Result<(ImageConfiguration, Vec<Digest>), ManifestError> {
    let config: ImageConfiguration = serde_json::from_slice(text)
        .map_err(|source| ManifestError::Form { what: "configuration", source })?;
    if (config.os(), config.architecture()) != (&Os::Linux, &Arch::Amd64) {
        let platform = format!("{}/{}", config.os(), config.architecture());
        return Err(ManifestError::Platform(vec![platform]));
    }
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != layers {
        return Err(ManifestError::LayerCount { layers, diff_ids: diff_ids.len() });
    }
    let diff_ids: Result<_, DigestError> = diff_ids.iter().map(|id| id.parse()).collect();
    Ok((config, diff_ids?))
}

fn is_known(kind: &str) -> bool {
    is_index(kind) || is_manifest(kind)
}

fn is_index(kind: &str) -> bool {
    kind == "application/vnd.docker.distribution.manifest.list.v2+json"
        || MediaType::from(kind) == MediaType::ImageIndex
}

fn is_manifest(kind: &str) -> bool {
    kind == "application/vnd.docker.distribution.manifest.v2+json"
        || MediaType::from(kind) == MediaType::ImageManifest
}

/// The image for this machine; the first, where there are several variants.
fn choose(index: &ImageIndex) -> Result<Part, ManifestError> {
    let is_ours = |entry: &&OciDescriptor| match entry.platform() {
        Some(platform) => (platform.os(), platform.architecture()) == (&Os::Linux, &Arch::Amd64),
        // Tools that make an index of one image leave the platform out; its configuration tells.
        None => index.manifests().len() == 1,
    };
    let Some(chosen) = index.manifests().iter().find(is_ours) else {
        let platforms = index.manifests().iter().filter_map(|entry| entry.platform().as_ref());
        let mut there: Vec<String> = platforms.map(render_platform).collect();
        // Signatures and the like are listed as an unknown platform.
        there.retain(|platform| platform != "unknown/unknown");
        there.dedup();
        if there.is_empty() {
            there.push("unknown platforms".to_owned());
        }
        return Err(ManifestError::Platform(there));
    };
    let part = parse_part(chosen)?;
    match (is_index(&part.media_type), is_manifest(&part.media_type)) {
        (true, _) => Err(ManifestError::Nested),
        (_, true) => Ok(part),
        _ => Err(ManifestError::Kind(part.media_type)),
    }
}

fn render_platform(platform: &oci_spec::image::Platform) -> String {
    let variant = platform.variant().as_ref().map(|variant| format!("/{variant}"));
    format!("{}/{}{}", platform.os(), platform.architecture(), variant.unwrap_or_default())
}

fn parse_parts(manifest: &ImageManifest) -> Result<Parts, ManifestError> {
    if manifest.layers().len() > MAX_LAYERS {
        return Err(ManifestError::TooManyLayers(manifest.layers().len()));
    }
    let config = check_size(parse_part(manifest.config())?, MAX_CONFIG)?;
    let layers = manifest.layers().iter().map(|layer| {
        let part = check_size(parse_part(layer)?, MAX_LAYER)?;
        let Part { digest, media_type, .. } = part.clone();
        match layer_kind(&media_type) {
            LayerKind::FileSystem => Ok(part),
            LayerKind::Foreign => Err(ManifestError::Foreign { digest, media_type }),
            LayerKind::Other => Err(ManifestError::Layer { digest, media_type }),
        }
    });
    Ok(Parts { config, layers: layers.collect::<Result<_, _>>()? })
}

fn parse_part(descriptor: &OciDescriptor) -> Result<Part, ManifestError> {
    Ok(Part {
        digest: descriptor.digest().to_string().parse()?,
        size: descriptor.size(),
        media_type: descriptor.media_type().to_string(),
    })
}

fn check_size(part: Part, limit: u64) -> Result<Part, ManifestError> {
    match part.size > limit {
        true => Err(ManifestError::TooLarge { digest: part.digest, size: part.size, limit }),
        false => Ok(part),
    }
}

enum LayerKind {
    FileSystem,
    Foreign,
    Other,
}

fn layer_kind(media_type: &str) -> LayerKind {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => LayerKind::FileSystem,
        _ if media_type.contains(".nondistributable.") || media_type.contains(".foreign.") => {
            LayerKind::Foreign
        }
        _ => LayerKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256;

    const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn descriptor(kind: &str, content: &str, more: &str) -> String {
        let digest = sha256(content.as_bytes());
        format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{}{more}}}"#, content.len())
    }

    fn manifest(kind: &str, layer: &str) -> String {
        let config = descriptor("application/vnd.docker.container.image.v1+json", "config", "");
        let layer = descriptor(layer, "layer", "");
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[{layer}]}}"#
        )
    }

    fn index(kind: &str, entries: &[String]) -> String {
        let entries = entries.join(",");
        format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{entries}]}}"#)
    }

    fn platform(kind: &str, os: &str, architecture: &str) -> String {
        let platform = format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#);
        descriptor(kind, &format!("{os}/{architecture}"), &platform)
    }

    fn parse(text: &str, sent: Option<&str>) -> Result<Found, ManifestError> {
        parse_manifest(text.as_bytes(), sent)
    }

    #[test]
    fn manifests_of_both_kinds_are_read() {
        for (kind, layer) in [
            (OCI, "application/vnd.oci.image.layer.v1.tar+zstd"),
            (DOCKER, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        ] {
            for sent in [None, Some(kind), Some("application/json; charset=utf-8")] {
                let Found::Manifest(parts) = parse(&manifest(kind, layer), sent).unwrap() else {
                    panic!("{kind} is a manifest")
                };
                assert_eq!(parts.config.digest, sha256(b"config"));
                let expected =
                    Part { digest: sha256(b"layer"), size: 5, media_type: layer.to_owned() };
                assert_eq!(parts.layers, [expected]);
            }
        }
    }

    #[test]
    fn the_image_for_this_machine_is_chosen() {
        for (kind, of) in [(OCI_INDEX, OCI), (DOCKER_LIST, DOCKER)] {
            let entries = [
                platform(of, "linux", "arm64"),
                platform(of, "windows", "amd64"),
                platform(of, "linux", "amd64"),
            ];
            let Found::Index(chosen) = parse(&index(kind, &entries), Some(kind)).unwrap() else {
                panic!("{kind} is an index")
            };
            assert_eq!(chosen.digest, sha256(b"linux/amd64"));
        }
        let only = index(OCI_INDEX, &[descriptor(OCI, "only", "")]);
        assert!(
            matches!(parse(&only, None), Ok(Found::Index(part)) if part.digest == sha256(b"only"))
        );
    }

    #[test]
    fn what_there_is_instead_is_listed() {
        let arm = platform(OCI, "linux", "arm64");
        let signature = platform(OCI, "unknown", "unknown");
        let error = parse(&index(OCI_INDEX, &[arm, signature]), None).unwrap_err();
        assert_eq!(error.to_string(), "there is no image for linux/amd64, only for linux/arm64");
        let config =
            r#"{"architecture":"arm64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let error = parse_config(config.as_bytes(), 0).unwrap_err();
        assert_eq!(error.to_string(), "there is no image for linux/amd64, only for linux/arm64");
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_reason() {
        let refused = |text: &str, sent| parse(text, sent).unwrap_err();
        let nested = index(OCI_INDEX, &[platform(OCI_INDEX, "linux", "amd64")]);
        assert!(matches!(refused(&nested, None), ManifestError::Nested));
        let foreign = manifest(DOCKER, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        assert!(matches!(refused(&foreign, None), ManifestError::Foreign { .. }));
        let kept = manifest(OCI, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
        assert!(matches!(refused(&kept, None), ManifestError::Foreign { .. }));
        let chart = manifest(OCI, "application/vnd.cncf.helm.chart.content.v1.tar+gzip");
        assert!(matches!(refused(&chart, None), ManifestError::Layer { .. }));
        let good = manifest(OCI, "application/vnd.oci.image.layer.v1.tar");
        // An index and a manifest in one, read as the one or the other (CVE-2021-41190).
        assert!(matches!(refused(&good, Some(OCI_INDEX)), ManifestError::Ambiguous { .. }));
        assert!(matches!(refused(r#"{"schemaVersion":1}"#, None), ManifestError::Schema1));
        assert!(matches!(refused("<html>", Some("text/html")), ManifestError::Form { .. }));
        assert!(matches!(refused("{}", Some("text/html")), ManifestError::Kind(_)));
        let other = good.replace("sha256:", "sha512:");
        assert!(parse(&other, None).is_err());
        let huge = good.replace(r#""size":5"#, r#""size":99999999999999"#);
        assert!(matches!(refused(&huge, None), ManifestError::TooLarge { .. }));
        let layer = descriptor("application/vnd.oci.image.layer.v1.tar", "layer", "");
        let many = good.replace(&layer, &vec![layer.clone(); MAX_LAYERS + 1].join(","));
        assert!(matches!(refused(&many, None), ManifestError::TooManyLayers(1025)));
        let config =
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let error = parse_config(config.as_bytes(), 1).unwrap_err();
        assert!(matches!(error, ManifestError::LayerCount { layers: 1, diff_ids: 0 }));
    }
}
