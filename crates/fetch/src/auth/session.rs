//! Requests to one repository of one registry, each with what the registry wants to see.
//!
//! ```text
//! request ──▶ 401 with a challenge ──▶ token or password ──▶ request again, once
//! ```
//!
//! A token that has expired leads to the same 401, so that nobody keeps time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::challenge::{Challenge, parse_challenge};
use super::{AuthError, Credential, Secret};
use crate::http::{self, Http, HttpError, address};
use crate::transfer::SourceError;
use banger_proto::Reference;

/// What a token server may answer, in bytes.
const MAX_TOKEN: usize = 1 << 20;

/// What this program is called where tokens are given.
const CLIENT_ID: &str = "banger";

/// Talks to one repository.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    http: &'a Http,
    registry: String,
    repository: String,
    /// `https://registry/v2/`
    base: Url,
    credential: Credential,
    authorization: Mutex<Authorization>,
}

/// What requests carry, and how many times that was changed.
#[derive(Debug, Default, Clone)]
struct Authorization {
    /// Marked as sensitive, so that it is not shown.
    header: Option<HeaderValue>,
    generation: u64,
}

impl<'a> Session<'a> {
    /// For requests below `base`, the address of the registry's interface.
    pub(crate) fn new(
        http: &'a Http,
        base: Url,
        image: &Reference,
        credential: Credential,
    ) -> Self {
        Self {
            http,
            registry: image.registry().to_owned(),
            repository: image.repository().to_owned(),
            base,
            credential,
            authorization: Mutex::default(),
        }
    }

    /// Whether there is a login for this registry.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.credential == Credential::Anonymous
    }

    /// Asks for `path` (`manifests/latest`) in the repository.
    ///
    /// # Errors
    /// When there is no answer, or it is no success.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        fill: &(dyn Fn(RequestBuilder) -> RequestBuilder + Sync),
    ) -> Result<Response, SourceError> {
        let url = format!("{}{}/{path}", self.base, self.repository);
        let url = address::parse(&url).map_err(HttpError::from)?;
        let with = |authorization: Authorization| {
            let method = method.clone();
            let url = &url;
            async move {
                let fill = |request| match authorization.header {
                    Some(header) => fill(request).header(AUTHORIZATION, header),
                    None => fill(request),
                };
                self.http.send(method, url, fill).await
            }
        };
        let current = self.authorization.lock().await.clone();
        let generation = current.generation;
        let response = with(current).await?;
        // Only the registry itself is told who we are, not where it sends us for content.
        if response.status() == StatusCode::UNAUTHORIZED
            && response.url().origin() == url.origin()
            && let Some(renewed) = self.renew(generation, &response).await?
        {
            return Ok(http::expect_success(with(renewed).await?).await?);
        }
        Ok(http::expect_success(response).await?)
    }

    /// What requests carry from now on; none where nothing would help. When several requests were
    /// refused at once, the first renews for all.
    async fn renew(
        &self,
        refused: u64,
        response: &Response,
    ) -> Result<Option<Authorization>, AuthError> {
        let mut authorization = self.authorization.lock().await;
        if authorization.generation != refused {
            return Ok(Some(authorization.clone()));
        }
        let challenge = parse_challenge(response.headers())
            .map_err(|reason| AuthError::Challenge { registry: self.registry.clone(), reason })?;
        let value = match (&challenge, &self.credential) {
            (_, Credential::Token(token)) if refused == 0 => format!("Bearer {}", token.reveal()),
            (_, Credential::Token(_)) => return Ok(None),
            (Challenge::Basic, Credential::Password { user, password }) if refused == 0 => {
                render_basic(user, password)
            }
            (Challenge::Basic, _) => return Ok(None),
            (Challenge::Bearer { realm, service, scope }, _) => {
                let token = self.fetch_token(realm, service.as_deref(), scope.as_deref()).await?;
                format!("Bearer {}", token.reveal())
            }
        };
        let mut header = HeaderValue::try_from(value).map_err(|_| AuthError::Challenge {
            registry: self.registry.clone(),
            reason: "the login or token has characters that cannot be sent".to_owned(),
        })?;
        header.set_sensitive(true);
        *authorization = Authorization { header: Some(header), generation: refused + 1 };
        Ok(Some(authorization.clone()))
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Secret, AuthError> {
        let failed = |source: HttpError| {
            let (registry, source) = (self.registry.clone(), Box::new(source));
            match source.status() {
                Some(400 | 401 | 403) => AuthError::Refused { registry, source },
                _ => AuthError::TokenServer { registry, source },
            }
        };
        let mut url = address::parse(realm).map_err(|error| failed(error.into()))?;
        // A registry that is reached encrypted must not have secrets sent in the clear, be it to
        // this host.
        if self.base.scheme() == "https" && url.scheme() != "https" {
            let address = address::render(&url);
            return Err(failed(address::AddressError::PlainHttp { address }.into()));
        }
        let pull = format!("repository:{}:pull", self.repository);
        let scope = scope.unwrap_or(&pull);
        let service = service.map(|service| ("service", service));
        let response = if let Credential::Identity(token) = &self.credential {
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", CLIENT_ID),
                ("scope", scope),
                ("refresh_token", token.reveal()),
            ];
            let form: Vec<_> = form.into_iter().chain(service).collect();
            self.http.post_form(&url, &form).await
        } else {
            url.query_pairs_mut().extend_pairs(service).append_pair("scope", scope);
            let fill = |request: RequestBuilder| match &self.credential {
                Credential::Password { user, password } => {
                    request.basic_auth(user, Some(password.reveal()))
                }
                _ => request,
            };
            self.http.send(Method::GET, &url, fill).await
        };
        let response = http::expect_success(response.map_err(failed)?).await.map_err(failed)?;
        let body = http::read_all(response, MAX_TOKEN).await.map_err(failed)?;
        parse_token(&body).ok_or_else(|| {
            let address = address::render(&url);
            failed(HttpError::Nonsense { address, reason: "there is no token in it".to_owned() })
        })
    }
}

fn render_basic(user: &str, password: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal())))
}

/// The token in an answer: `token`, or as OAuth 2 calls it `access_token`.
fn parse_token(body: &[u8]) -> Option<Secret> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let given = |token: Option<String>| token.filter(|token| !token.is_empty());
    given(answer.token).or_else(|| given(answer.access_token)).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_two_names() {
        let token =
            |text: &str| parse_token(text.as_bytes()).map(|token| token.reveal().to_owned());
        assert_eq!(token(r#"{"token": "a", "expires_in": 300}"#).as_deref(), Some("a"));
        assert_eq!(token(r#"{"token": "", "access_token": "b"}"#).as_deref(), Some("b"));
        assert_eq!(token("{}"), None);
        assert_eq!(token("<html>"), None);
    }
}
