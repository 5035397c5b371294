//! Images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, ImageName};

/// Asks for an image to be made from its recipe, or to be got from wherever it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObtainImage {
    /// Its name; absent for the default image.
    #[serde(default)]
    pub name: Option<String>,
    /// Make or get it again even if it is there; VMs keep the one they use.
    #[serde(default)]
    pub force: bool,
}

/// Asks for an image to be made of an archive that the user has, or of one that follows as the
/// body of the request: what [`ImportImage`] says is then the query of its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema, utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ImportImage {
    /// Name of the new image.
    #[cfg_attr(feature = "openapi", param(value_type = String))]
    pub name: ImageName,
    /// Absolute path of the archive, or of a directory in the form of an OCI image layout; absent
    /// when the archive is the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Kernel it wants; absent for the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// One line about it; absent for one that says where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Replace an image of that name; VMs keep the one they use.
    #[serde(default)]
    pub force: bool,
}

/// Asks for an image whose file stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterImage {
    /// Name of the new image.
    pub name: ImageName,
    /// Absolute path of an ext4 file system.
    pub rootfs: String,
    /// Kernel it wants; absent for the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// One line about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
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
    /// Distribution; `unknown` where nobody said.
    #[serde(default)]
    pub distro: String,
    /// Architecture as the distribution calls it.
    #[serde(default)]
    pub arch: String,
    /// Absolute path of the ext4 file; absent while the image is not here.
    #[serde(default)]
    pub path: Option<String>,
    /// Whether its file is the user's own and stays where it is.
    #[serde(default)]
    pub registered: bool,
    /// Whether that file is gone: no VM can be made from it.
    #[serde(default)]
    pub gone: bool,
}

/// An image and who uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageDetails {
    /// The image.
    #[serde(flatten)]
    pub image: ImageView,
    /// Names of the VMs that were made from it.
    pub vms: Vec<String>,
}

/// What was removed because nothing needed it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pruned {
    /// Number of files.
    pub files: u64,
    /// Bytes they took on the disk.
    pub bytes: ByteSize,
    /// What was kept although it may be of no use, and why; whole sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// All images, those obtainable but not here included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageList {
    /// The images by name.
    pub images: Vec<ImageView>,
    /// What the user should know about the list, whole sentences: a catalog that cannot be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}
