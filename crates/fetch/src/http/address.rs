//! Which addresses may be asked, and how they are shown.
//!
//! Plain HTTP has no secrets and no integrity, so that it is for this host only. What a server on
//! it says is verified by digest all the same.

use std::net::IpAddr;

use reqwest::Url;

/// Why an address is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is none.
    #[error("`{address}` is not an address")]
    NotOne {
        /// The text.
        address: String,
    },
    /// It begins with something else.
    #[error("`{address}` has the scheme `{scheme}`; only {known} can be fetched")]
    Scheme {
        /// The address.
        address: String,
        /// What it begins with.
        scheme: String,
        /// What it may begin with.
        known: &'static str,
    },
    /// It is not encrypted.
    #[error(
        "`{address}` is not encrypted; plain http is for this host (`localhost`, `127.0.0.1`, `::1`) only"
    )]
    PlainHttp {
        /// The address.
        address: String,
    },
}

/// Reads an address.
///
/// # Errors
/// When `text` is none.
pub(crate) fn parse(text: &str) -> Result<Url, AddressError> {
    // The text may hold a password, the parsed form of which `render` would leave out.
    let shown = || {
        text.split(['?', '#'])
            .next()
            .unwrap_or_default()
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    Url::parse(text).map_err(|_| AddressError::NotOne { address: shown() })
}

/// Whether `url` may be asked over the network.
///
/// # Errors
/// When it is neither `https` nor `http` on this host.
pub(crate) fn check(url: &Url) -> Result<(), AddressError> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err(AddressError::PlainHttp { address: render(url) }),
        scheme => Err(AddressError::Scheme {
            address: render(url),
            scheme: scheme.to_owned(),
            known: "https and, on this host, http",
        }),
    }
}

/// Whether `url` is on this host by its name alone: no server is asked what a name means.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback_host)
}

/// Whether `host`, a name or an address as in a URL, is this host.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// The address without what may be secret: user, password, query (which signs the address at some
/// stores) and fragment.
pub(crate) fn render(url: &Url) -> String {
    let mut url = url.clone();
    // Neither can be set where there is no host, and there they are not.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// The host for error texts.
pub(crate) fn render_host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => render(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_host() {
        let allowed = |text: &str| check(&parse(text).unwrap()).is_ok();
        for text in [
            "https://example.org/x",
            "http://localhost/x",
            "http://LOCALHOST:5000/x",
            "http://127.8.9.1:80/x",
            "http://[::1]:5000/x",
            // The parser knows the other ways to write the same address.
            "http://0x7f.1/x",
        ] {
            assert!(allowed(text), "{text}");
        }
        for text in [
            "http://example.org/x",
            "http://localhost.example.org/x",
            "http://127.0.0.1.example.org/x",
            "http://10.0.0.1/x",
            "http://0.0.0.0/x",
            "http://[::ffff:10.0.0.1]/x",
            "http://localhost@example.org/x",
            "ftp://localhost/x",
            "file:///etc/passwd",
        ] {
            assert!(!allowed(text), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let url = parse("https://user:pw@example.org:8443/a/b?X-Signature=s3cret#f").unwrap();
        assert_eq!(render(&url), "https://example.org:8443/a/b");
        assert_eq!(render_host(&url), "example.org:8443");
        let error = parse("https://user:pw@[bad/a?token=s3cret").unwrap_err();
        assert_eq!(error, AddressError::NotOne { address: "[bad/a".into() });
    }
}
