//! Guest kernels.

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// Asks for a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObtainKernel {
    /// Name of the catalog entry; absent for the default kernel.
    #[serde(default)]
    pub name: Option<String>,
    /// Get it again even if it is there.
    #[serde(default)]
    pub force: bool,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KernelView {
    /// Name.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// Version (`6.1.0-56-cloud-amd64`); absent while it is not here.
    pub version: Option<String>,
    /// Bytes on this disk; zero while it is not here.
    pub size: ByteSize,
    /// Whether it is here; else it is obtained at first use.
    pub local: bool,
}

/// All kernels, those obtainable but not here included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KernelList {
    /// The kernels by name.
    pub kernels: Vec<KernelView>,
}
