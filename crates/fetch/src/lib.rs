//! What comes over the network arrives here, complete and verified, as files on this disk: the
//! blobs of OCI images from registries, and the bundles that catalogs name.
//!
//! Knows neither images nor VMs, and never looks inside a layer or a bundle.
//!
//! ```text
//! Registry ─┬─▶ Session (login, tokens) ─┐
//!           └─▶ Blobs (cache) ──▶ transfer ──▶ Http (proxies, TLS, names) ──▶ server
//! Http::download ───────────────────▲
//! ```

mod auth;
mod blobs;
mod download;
mod hash;
mod http;
mod network;
mod problem;
mod registry;
mod transfer;

pub use auth::{AuthError, AuthFiles, Helper, HelperReply, NoHelpers};
pub use blobs::{Blob, Blobs, Pruned};
pub use download::{DownloadError, Head};
pub use hash::sha256;
pub use http::{AddressError, Http, HttpError, ResolveError, SetupError};
pub use network::{Network, Retry};
pub use registry::{LayerFile, ManifestError, Progress, PullError, Pulled, Registry};
pub use transfer::{SourceError, TransferError};
