//! Images.

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

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageView {
    /// Name.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// SHA-256 of the ext4 file, hexadecimal; absent while the image is not here.
    pub digest: Option<String>,
    /// Bytes on this disk; zero while the image is not here.
    pub size: ByteSize,
    /// When it was made, RFC 3339.
    pub created_at: Option<String>,
    /// Whether it is here; else it is obtained at first use.
    pub local: bool,
}

/// All images, those obtainable but not here included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageList {
    /// The images by name.
    pub images: Vec<ImageView>,
}
