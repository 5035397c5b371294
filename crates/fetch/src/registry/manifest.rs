//! What an image consists of, according to its manifest; for this machine, where there are several
//! (<https://github.com/opencontainers/image-spec/blob/main/manifest.md>, `image-index.md`; Docker's
//! forms of the same). Pure: reads bytes that somebody else fetched and checked.

use oci_spec::image::{
    Arch, Descriptor as OciDescriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os,
};
use serde::Deserialize;

use crate::digest::{Digest, DigestError};

/// What is asked for, in this order of preference.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Largest manifest or index in bytes: what the distribution specification asks registries to
/// accept (4 MiB).
pub(super) const MAX_MANIFEST: usize = 4 << 20;

/// Most layers of an image; what overlay file systems are made of has 128 at most.
const MAX_LAYERS: usize = 1024;

/// Largest configuration in bytes.
const MAX_CONFIG: u64 = 16 << 20;

/// Largest layer in bytes.
const MAX_LAYER: u64 = 256 << 30;

/// Why an image cannot be had from its manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not of the form it says it has.
    #[error("the {what} cannot be read")]
    Form {
        /// `manifest`, `index` or `configuration`.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It is a form of the first days of Docker, which has no digests of layers.
    #[error("the manifest has the old form of Docker (schema 1), which cannot be verified")]
    Schema1,
    /// It is neither a manifest nor an index.
    #[error("the registry sent `{0}`, which is not an image")]
    Kind(String),
    /// It says one thing and its server another: somebody may be misled.
    #[error("the manifest calls itself `{own}`, the registry calls it `{sent}`")]
    Ambiguous {
        /// What it says.
        own: String,
        /// What the server says.
        sent: String,
    },
    /// An index in an index.
    #[error("the index names another index where the image should be")]
    Nested,
    /// There is nothing for this machine.
    #[error("there is no image for linux/amd64, only for {}", .0.join(", "))]
    Platform(Vec<String>),
    /// A digest is none.
    #[error("the manifest has a digest that is not usable")]
    Digest(#[from] DigestError),
    /// A layer is not in the registry.
    #[error(
        "layer `{digest}` must not be distributed (`{media_type}`): its licence forbids registries to have it, so that it cannot be fetched"
    )]
    Foreign {
        /// The layer.
        digest: Digest,
        /// What it is.
        media_type: String,
    },
    /// A layer is no file system.
    #[error(
        "layer `{digest}` is `{media_type}`, not a part of a file system: this is no image to boot"
    )]
    Layer {
        /// The layer.
        digest: Digest,
        /// What it is.
        media_type: String,
    },
    /// There are too many layers.
    #[error("the image has {0} layers; the most is {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// A part is too large.
    #[error("`{digest}` has {size} bytes; the most is {limit}")]
    TooLarge {
        /// The layer or configuration.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The most, in bytes.
        limit: u64,
    },
    /// Manifest and configuration contradict each other.
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
}

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
