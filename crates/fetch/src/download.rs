//! Single files by address: bundles, whose digest a catalog gives, and catalogs themselves.

use std::path::{Path, PathBuf};

use reqwest::{Method, Url};

use crate::http::retry::retrying;
use crate::http::{self, AddressError, Http, HttpError, address};
use crate::transfer::{
    Body, Opened, Partial, Source, SourceError, TransferError, Wanted, from_offset, parse_answer,
    receive, take_turn,
};
use banger_proto::Digest;

/// Why a file was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// There is none.
    #[error("there is no `{address}`")]
    NotFound {
        /// What was asked for.
        address: String,
    },
    /// It did not arrive.
    #[error("cannot fetch `{address}`")]
    Transfer {
        /// What was asked for.
        address: String,
        /// Why.
        #[source]
        source: Box<TransferError>,
    },
}

/// What a server says about a file before it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its size in bytes, where the server says.
    pub size: Option<u64>,
}

impl Http {
    /// Fetches `address` (`https`, `http` on this host, or `file`) to `into`, whose directory
    /// exists, and gives it that name only when it has the digest and, if given, the size in bytes.
    /// What a broken or cancelled download leaves (`INTO.partial`) is continued by the next one.
    /// `progress` gets the number of bytes that are here.
    ///
    /// # Errors
    /// As [`DownloadError`] says.
    pub async fn download(
        &self,
        address: &str,
        digest: Digest,
        size: Option<u64>,
        into: &Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), DownloadError> {
        let place = self.place(address)?;
        let mut partial_name = into.as_os_str().to_owned();
        partial_name.push(".partial");
        let partial_path = PathBuf::from(partial_name);
        let wanted = Wanted { digest, size };
        let fetch = async {
            let file = loop {
                // Who waited receives it again, because the other may have wanted other content;
                // it is rare enough.
                if let Some(file) = take_turn(&partial_path).await? {
                    break file;
                }
            };
            let partial = Partial::load(file, partial_path).await?;
            receive(&place, partial, into, wanted, self.retry(), progress).await
        };
        fetch.await.map_err(|error| place.failed(error))
    }

    /// Asks whether `address` is there without fetching it.
    ///
    /// # Errors
    /// As [`DownloadError`] says.
    pub async fn head(&self, address: &str) -> Result<Head, DownloadError> {
        let place = self.place(address)?;
        let size = match &place {
            Place::File(path) => {
                fs_err::metadata(path).map(|found| Some(found.len())).map_err(SourceError::File)
            }
            Place::Web { http, url } => {
                let identity = from_offset(0);
                let ask = || expect(http, Method::HEAD, url, &identity);
                // The size is in the header only: there is no content.
                let length = |response: reqwest::Response| {
                    let value = response.headers().get(reqwest::header::CONTENT_LENGTH)?;
                    value.to_str().ok()?.parse().ok()
                };
                retrying(self.retry(), ask).await.map(length)
            }
        };
        Ok(Head { size: size.map_err(|error| place.failed(error.into()))? })
    }

    /// The content of `address`, which nothing vouches for but the connection.
    ///
    /// # Errors
    /// When it has more than `limit` bytes, and as [`DownloadError`] says.
    pub async fn get_small(&self, address: &str, limit: usize) -> Result<Vec<u8>, DownloadError> {
        let place = self.place(address)?;
        let get = || async {
            match &place {
                Place::File(path) => read_small(path, limit),
                Place::Web { http, url } => {
                    let response = expect(http, Method::GET, url, |request| request).await?;
                    Ok(http::read_all(response, limit).await?)
                }
            }
        };
        retrying(self.retry(), get).await.map_err(|error: SourceError| place.failed(error.into()))
    }

    fn place(&self, text: &str) -> Result<Place<'_>, DownloadError> {
        let failed = |address: String, error: AddressError| DownloadError::Transfer {
            address,
            source: Box::new(SourceError::from(HttpError::from(error)).into()),
        };
        let url = address::parse(text).map_err(|error| failed("the address".to_owned(), error))?;
        if url.scheme() != "file" {
            return Ok(Place::Web { http: self, url });
        }
        let known = "`file:///PATH`";
        url.to_file_path().map(Place::File).map_err(|()| {
            let address = address::render(&url);
            failed(
                address.clone(),
                AddressError::Scheme { address, scheme: "file".to_owned(), known },
            )
        })
    }
}

/// Where a file is.
enum Place<'a> {
    /// On a server.
    Web { http: &'a Http, url: Url },
    /// On this host.
    File(PathBuf),
}

impl Place<'_> {
    fn failed(&self, source: TransferError) -> DownloadError {
        let missing = match &source {
            TransferError::Source(SourceError::File(error)) => {
                error.kind() == std::io::ErrorKind::NotFound
            }
            TransferError::Source(error) => matches!(error.status(), Some(404 | 410)),
            _ => false,
        };
        match missing {
            true => DownloadError::NotFound { address: self.name() },
            false => DownloadError::Transfer { address: self.name(), source: Box::new(source) },
        }
    }
}

impl Source for Place<'_> {
    fn name(&self) -> String {
        match self {
            Self::Web { url, .. } => address::render(url),
            Self::File(path) => format!("file://{}", path.display()),
        }
    }

    async fn open(&self, offset: u64) -> Result<Opened, SourceError> {
        match self {
            Self::Web { http, url } => {
                let answer = expect(http, Method::GET, url, from_offset(offset)).await;
                parse_answer(offset, answer)
            }
            Self::File(path) => open_file(path, offset).await,
        }
    }
}

/// A successful answer.
async fn expect(
    http: &Http,
    method: Method,
    url: &Url,
    fill: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
) -> Result<reqwest::Response, SourceError> {
    let response = http.send(method, url, fill).await?;
    Ok(http::expect_success(response).await?)
}

async fn open_file(path: &Path, offset: u64) -> Result<Opened, SourceError> {
    use tokio::io::AsyncSeekExt;

    let mut file = fs_err::tokio::File::open(path).await?;
    let size = file.metadata().await?.len();
    if offset >= size && offset > 0 {
        return Ok(Opened::NothingLeft);
    }
    file.seek(std::io::SeekFrom::Start(offset)).await?;
    Ok(Opened::Content { start: offset, left: Some(size - offset), body: Body::File(file) })
}

fn read_small(path: &Path, limit: usize) -> Result<Vec<u8>, SourceError> {
    use std::io::Read;

    let mut content = Vec::new();
    fs_err::File::open(path)?.take(limit as u64 + 1).read_to_end(&mut content)?;
    match content.len() > limit {
        true => Err(HttpError::TooLong {
            address: format!("file://{}", path.display()),
            limit: limit as u64,
        }
        .into()),
        false => Ok(content),
    }
}
