//! From a server to a verified archive.
//!
//! ```text
//! BASE/manifest.json
//! BASE/v1.2.3/SHA256SUMS, SHA256SUMS.sig, banger-v1.2.3-x86_64-linux.tar.gz
//! ```

use std::path::{Path, PathBuf};

use banger_fetch::{DownloadError, Http, Network, SetupError};
use banger_proto::Digest;

use crate::{Key, Manifest, ReleaseError, Sums, Version, manifest, signature, sums};

/// What is told of a download as it goes on: the bytes that are here, and all of them, where the
/// server says.
pub type Progress<'a> = &'a (dyn Fn(u64, Option<u64>) + Send + Sync);

/// Where releases are.
#[derive(Debug)]
pub struct Server {
    http: Http,
    /// The address, without a slash at its end.
    base: String,
    /// Whose releases are taken.
    key: Key,
}

/// An archive that is here and is what was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The file.
    pub path: PathBuf,
    /// Its release.
    pub version: Version,
    /// Its hash.
    pub digest: Digest,
}

impl Server {
    /// The server at `base` (`https`, `http` on this host, or `file`), whose releases are signed with
    /// `key`. `lookup` reads the environment, for proxies. Nothing is connected yet.
    ///
    /// # Errors
    /// When what the environment says of the network cannot be used.
    pub fn new(
        base: &str,
        key: Key,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SetupError> {
        let http = Http::new(&Network::from_env(lookup))?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), key })
    }

    /// The list of releases.
    ///
    /// # Errors
    /// When it does not arrive or is none.
    pub async fn manifest(&self) -> Result<Manifest, ReleaseError> {
        let address = format!("{}/manifest.json", self.base);
        Manifest::parse(&self.http.get_small(&address, manifest::MAX_SIZE).await?)
    }

    /// The hashes of a release's files, as they were signed.
    ///
    /// # Errors
    /// When they do not arrive, or nobody vouches for them.
    pub async fn sums(&self, version: &Version) -> Result<Sums, ReleaseError> {
        let sums = self.voucher(version, "SHA256SUMS", sums::MAX_SIZE).await?;
        let signature = self.voucher(version, "SHA256SUMS.sig", signature::MAX_SIZE).await?;
        self.key.verify(&sums, &signature)?;
        Sums::parse(&sums)
    }

    /// Fetches the archive of a release into `dir`, under a name that begins with a dot; what a
    /// broken attempt has left there is gone on with.
    ///
    /// # Errors
    /// When it does not arrive or is not what was signed; then there is no file of that name.
    pub async fn archive(
        &self,
        version: &Version,
        dir: &Path,
        progress: Progress<'_>,
    ) -> Result<Archive, ReleaseError> {
        let name = version.archive();
        let digest = self.sums(version).await?.find(&name).ok_or_else(|| {
            ReleaseError::NotSigned { version: version.clone(), file: name.clone() }
        })?;
        let address = self.address(version, &name);
        let size = self.http.head(&address).await?.size;
        let path = dir.join(format!(".{name}"));
        let tell = |here| progress(here, size);
        self.http.download(&address, digest, None, &path, &tell).await?;
        Ok(Archive { path, version: version.clone(), digest })
    }

    /// A file without which nobody vouches for the release.
    async fn voucher(
        &self,
        version: &Version,
        file: &'static str,
        limit: usize,
    ) -> Result<Vec<u8>, ReleaseError> {
        match self.http.get_small(&self.address(version, file), limit).await {
            Err(DownloadError::NotFound { .. }) => {
                Err(ReleaseError::Unsigned { version: version.clone(), file })
            }
            got => Ok(got?),
        }
    }

    fn address(&self, version: &Version, file: &str) -> String {
        format!("{}/{version}/{file}", self.base)
    }
}
