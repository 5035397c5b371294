//! Images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// Asks for an image to be made from its recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObtainImage {
    /// Name of the recipe; absent for the default image.
    #[serde(default)]
    pub name: Option<String>,
    /// Make it again even if it is there; VMs keep the one they use.
    #[serde(default)]
    pub force: bool,
}

/// Asks for an image to be made of a root file system that the user has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportImage {
    /// Name of the new image.
    pub name: String,
    /// Absolute path of a tar archive of the root file system, not compressed.
    pub path: String,
    /// Replace an image of that name; VMs keep the one they use.
    #[serde(default)]
    pub force: bool,
}

/// What an image says about running it: the part of an OCI image's configuration that means
/// something to a VM (<https://github.com/opencontainers/image-spec/blob/main/config.md>).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunConfig {
    /// Environment of every command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Directory that commands run in; absent for the user's home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// User that commands run as, by name or number, optionally with a group after `:`; absent
    /// for root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The image's own program with its first arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Further arguments of the entrypoint, or a whole command where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Signal that ends the image's own program (`SIGQUIT`); absent for `SIGTERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageView {
    /// Name.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// What it is made of and how, as a SHA-256, hexadecimal; absent while the image is not here.
    pub digest: Option<String>,
    /// Bytes on this disk; zero while the image is not here.
    pub size: ByteSize,
    /// When it was made, RFC 3339.
    pub created_at: Option<String>,
    /// Whether it is here; else it is obtained at first use.
    pub local: bool,
    /// What it was made of (`docker.io/library/alpine:latest`, the name of an archive); absent
    /// while the image is not here.
    #[serde(default)]
    pub source: Option<String>,
    /// Kernel it wants; absent for the default one.
    #[serde(default)]
    pub kernel: Option<String>,
    /// What it says about running it.
    #[serde(default)]
    pub run: RunConfig,
}

/// All images, those obtainable but not here included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageList {
    /// The images by name.
    pub images: Vec<ImageView>,
}
