//! The one HTTP client: where it may connect to, whom it trusts, how failures are told apart.
//! Knows nothing of registries.
//!
//! | rule | where |
//! |---|---|
//! | plain HTTP to this host only, everything else is encrypted | [`address`] |
//! | a redirect obeys the same rule; credentials stay with their host | [`redirect`] |
//! | certificate authorities: the system's and those of the settings | [`roots`] |
//! | names: `/etc/hosts`, then `/etc/resolv.conf`'s servers, without libc | [`resolve`] |
//! | what may be tried again, and when | [`retry`] |

pub(crate) mod address;
mod classify;
mod error;
mod redirect;
mod resolve;
pub(crate) mod retry;
mod roots;

use std::sync::Arc;

pub use address::AddressError;
use banger_proto::env;
pub use error::{HttpError, SetupError};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, NoProxy, Proxy, RequestBuilder, Response, StatusCode, Url};
pub use resolve::ResolveError;

use crate::network::{Network, Retry};

/// Hosts that are never reached through a proxy, whatever the settings say.
const THIS_HOST: &str = "localhost,127.0.0.0/8,::1";

/// How much of an error page is read for the reason it gives, in bytes.
const MAX_ERROR_BODY: usize = 16 << 10;

/// A client that obeys the rules of this module. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Http {
    client: Client,
    /// The same without redirects, for requests that carry secrets in their body.
    direct: Client,
    retry: Retry,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("retry", &self.retry).finish_non_exhaustive()
    }
}

impl Http {
    /// A client for `network`. Nothing is connected yet.
    ///
    /// # Errors
    /// When a proxy is no address or a file of certificate authorities cannot be read.
    pub fn new(network: &Network) -> Result<Self, SetupError> {
        let tls = roots::client_config(network)?;
        let no_proxy = NoProxy::from_string(&format!("{THIS_HOST},{}", network.no_proxy));
        let builder = |policy| {
            // `no_proxy` keeps the library from looking into the environment.
            let mut builder = Client::builder()
                .no_proxy()
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(Arc::new(resolve::HostFiles))
                .redirect(policy)
                .referer(false)
                .user_agent(&network.user_agent)
                .connect_timeout(network.connect_timeout)
                .read_timeout(network.idle_timeout);
            if let Some(proxy) = &network.http_proxy {
                let proxy = Proxy::http(parse_proxy(env::HTTP_PROXY, proxy)?);
                builder =
                    builder.proxy(proxy.map_err(SetupError::client)?.no_proxy(no_proxy.clone()));
            }
            if let Some(proxy) = &network.https_proxy {
                let proxy = Proxy::https(parse_proxy(env::HTTPS_PROXY, proxy)?);
                builder =
                    builder.proxy(proxy.map_err(SetupError::client)?.no_proxy(no_proxy.clone()));
            }
            builder.build().map_err(SetupError::client)
        };
        Ok(Self {
            client: builder(redirect::policy())?,
            direct: builder(reqwest::redirect::Policy::none())?,
            retry: network.retry,
        })
    }

    pub(crate) fn retry(&self) -> Retry {
        self.retry
    }

    /// Asks for `url` with what `fill` adds, and gives back any answer, errors of the server
    /// included.
    pub(crate) async fn send(
        &self,
        method: reqwest::Method,
        url: &Url,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, HttpError> {
        address::check(url)?;
        let request = fill(self.client.request(method, url.clone()));
        request.send().await.map_err(|error| classify::classify(error, url))
    }

    /// Sends `form` to `url` and only there.
    pub(crate) async fn post_form(
        &self,
        url: &Url,
        form: &[(&str, &str)],
    ) -> Result<Response, HttpError> {
        address::check(url)?;
        let sent = self.direct.post(url.clone()).form(form).send().await;
        sent.map_err(|error| classify::classify(error, url))
    }
}

/// The settings are not shown when they are wrong: they may hold a password.
fn parse_proxy(variable: &'static str, text: &str) -> Result<Url, SetupError> {
    let with_scheme = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    match Url::parse(&with_scheme) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(SetupError::Proxy { variable }),
    }
}

/// The answer, if it is a success.
pub(crate) async fn expect_success(response: Response) -> Result<Response, HttpError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(retry::parse_retry_after);
    let address = address::render(response.url());
    let detail = read_detail(response).await;
    Err(HttpError::Status {
        address,
        status: status.as_u16(),
        phrase: phrase(status),
        detail,
        retry_after,
    })
}

fn phrase(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("unknown status")
}

/// The next piece of an answer's content; none at its end.
pub(crate) async fn next_chunk(response: &mut Response) -> Result<Option<bytes::Bytes>, HttpError> {
    match response.chunk().await {
        Ok(chunk) => Ok(chunk),
        Err(error) => Err(classify::classify(error, response.url())),
    }
}

/// All of an answer's content.
///
/// # Errors
/// When it is longer than `limit` bytes, or the connection breaks.
pub(crate) async fn read_all(mut response: Response, limit: usize) -> Result<Vec<u8>, HttpError> {
    let too_long =
        |url: &Url| HttpError::TooLong { address: address::render(url), limit: limit as u64 };
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_long(response.url()));
    }
    let mut content = Vec::new();
    while let Some(chunk) = next_chunk(&mut response).await? {
        if content.len() + chunk.len() > limit {
            return Err(too_long(response.url()));
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// What the server says is wrong, in the form of the OCI distribution specification
/// (`{"errors": [{"code": …, "message": …}]}`). Anything else is most often a page for browsers.
async fn read_detail(response: Response) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let body = read_all(response, MAX_ERROR_BODY).await.ok()?;
    let body: Body = serde_json::from_slice(&body).ok()?;
    let first = body.errors.into_iter().next()?;
    let text = if first.message.is_empty() { first.code } else { first.message };
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    (!text.is_empty()).then_some(text)
}
