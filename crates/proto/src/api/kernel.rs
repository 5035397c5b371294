//! Guest kernels.

use std::collections::BTreeMap;

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
    /// Get it again even if it is there; VMs keep the one they use.
    #[serde(default)]
    pub force: bool,
}

/// Asks for a kernel to be made of what the user has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportKernel {
    /// Name of the new kernel.
    pub name: String,
    /// Absolute path of an ELF `vmlinux`, a `bzImage`, a Debian package or a bundle.
    pub path: String,
    /// Where its modules come from.
    #[serde(default)]
    pub modules: ModulesFrom,
    /// Absolute path of its configuration; absent for what the package or the kernel itself says.
    #[serde(default)]
    pub config: Option<String>,
    /// One line about it.
    #[serde(default)]
    pub description: Option<String>,
    /// Replace a kernel of that name; VMs keep the one they use.
    #[serde(default)]
    pub force: bool,
}

/// Where a kernel's modules come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ModulesFrom {
    /// What the kernel is packed in; none where it is not packed.
    #[default]
    Package,
    /// Nowhere: it is to have none.
    None,
    /// Absolute path of a directory of modules (`/lib/modules/VERSION`) or of a `modules.cpio`.
    Path(String),
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// Everything about a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KernelDetails {
    /// What the list tells, too.
    #[serde(flatten)]
    pub kernel: KernelView,
    /// Distribution it comes from, when known.
    #[serde(default)]
    pub distro: Option<String>,
    /// Architecture as the distribution calls it, when known.
    #[serde(default)]
    pub arch: Option<String>,
    /// Where the catalog has it from; absent for one that it does not have.
    #[serde(default)]
    pub source: Option<String>,
    /// Directory of its files; absent while it is not here.
    #[serde(default)]
    pub directory: Option<String>,
    /// Whether it comes with modules that it boots with.
    #[serde(default)]
    pub has_modules: bool,
    /// Names of these modules, as far as they were listed.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Whether it comes with modules that programs in a guest may ask for.
    #[serde(default)]
    pub has_loadable_modules: bool,
    /// How many these are, when they were counted.
    #[serde(default)]
    pub loadable_modules: Option<u32>,
    /// Options that matter here, without `CONFIG_`: `y`, `m`, or `n` for those that it was built
    /// without. What is missing nobody looked at.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub features: BTreeMap<String, char>,
    /// What VMs of this host lack in it, a fragment each; with any of it, VMs are refused.
    #[serde(default)]
    pub lacking: Vec<String>,
    /// Names of the VMs that boot it.
    #[serde(default)]
    pub vms: Vec<String>,
}

/// All kernels, those obtainable but not here included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KernelList {
    /// The kernels by name.
    pub kernels: Vec<KernelView>,
    /// What the user should know about the list, whole sentences: a catalog that cannot be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}
