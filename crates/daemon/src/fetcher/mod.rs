//! How this daemon gets what comes over the network: one client, one cache of blobs and one set
//! of logins for images, kernels and catalogs alike.
//!
//! ```text
//! images, kernels, catalogs ──▶ Fetcher ──▶ banger_fetch
//!                                  └──▶ credential helpers (host programs)
//! ```
//!
//! The client is made when it is first needed: a wrong proxy is a failure of what needs the
//! network, not of the daemon.

mod credential_helpers;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use banger_fetch::{
    AuthFiles, Blobs, DownloadError, Http, Network, PullError, Registry, SetupError,
};
use banger_proto::{Digest, Problem};

use crate::exec::HostEnv;
use crate::progress::Progress;

pub use credential_helpers::CredentialHelpers;

/// Why something does not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The settings of the network are wrong.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An image does not come from its registry.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// A file does not come from its address.
    #[error(transparent)]
    Download(#[from] DownloadError),
}

impl From<&FetchError> for Problem {
    fn from(error: &FetchError) -> Self {
        match error {
            FetchError::Setup(error) => error.into(),
            FetchError::Pull(error) => error.into(),
            FetchError::Download(error) => error.into(),
        }
    }
}

/// How the network is reached and what is known about registries. Cloned freely.
#[derive(Debug, Clone)]
pub struct Fetcher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    network: Network,
    logins: AuthFiles,
    helpers: CredentialHelpers,
    blobs: Blobs,
    http: OnceLock<Http>,
}

impl Fetcher {
    /// Fetches over `network`, keeps blobs below the directory `cache`, and logs in with what
    /// `logins` and `helpers` know.
    #[must_use]
    pub fn new(
        network: Network,
        logins: AuthFiles,
        helpers: CredentialHelpers,
        cache: &Path,
    ) -> Self {
        let blobs = Blobs::new(cache);
        Self { inner: Arc::new(Inner { network, logins, helpers, blobs, http: OnceLock::new() }) }
    }

    /// Fetches without proxies and logins, with helpers found in `env`.
    #[must_use]
    pub fn direct(env: &HostEnv, cache: &Path) -> Self {
        let helpers = CredentialHelpers::from_env(env.clone(), |_| None);
        Self::new(Network::default(), AuthFiles::none(), helpers, cache)
    }

    /// The cache of blobs.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// The registries.
    ///
    /// # Errors
    /// When the settings of the network are wrong.
    pub(crate) fn registry(&self) -> Result<Registry, FetchError> {
        let Inner { blobs, logins, helpers, .. } = &*self.inner;
        let helpers = Arc::new(helpers.clone());
        Ok(Registry::new(self.http()?, blobs.clone(), logins.clone(), helpers))
    }

    /// The content of `url`, of which there may be `limit` bytes.
    ///
    /// # Errors
    /// When it cannot be had, or is more.
    pub(crate) async fn get_small(&self, url: &str, limit: usize) -> Result<Vec<u8>, FetchError> {
        Ok(self.http()?.get_small(url, limit).await?)
    }

    /// Fetches what `url` has to the new file `into`, if it is of this digest and size in bytes;
    /// `label` is what progress calls it.
    ///
    /// # Errors
    /// When it cannot be had, or is not what was promised.
    pub(crate) async fn download(
        &self,
        url: &str,
        digest: Digest,
        size: u64,
        into: &Path,
        progress: &Progress,
        label: &'static str,
    ) -> Result<(), FetchError> {
        let meter = progress.meter(label);
        let watch = |done| meter.update(done, size);
        Ok(self.http()?.download(url, digest, Some(size), into, &watch).await?)
    }

    fn http(&self) -> Result<Http, FetchError> {
        let Inner { network, http, .. } = &*self.inner;
        if let Some(http) = http.get() {
            return Ok(http.clone());
        }
        // Two that come at once make two, one of which stays.
        let made = Http::new(network)?;
        Ok(http.get_or_init(|| made).clone())
    }
}
