//! Which redirects are followed. The library drops credentials when scheme, host or port change.

use reqwest::redirect::{Attempt, Policy};

use super::address;

/// Most redirects in a row.
const MAX_REDIRECTS: usize = 10;

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedirectError {
    /// It leads to where a request may not go.
    #[error("the server redirects to an address that is refused")]
    Refused(#[source] address::AddressError),
    /// From an encrypted connection to one that is not, be it to this host.
    #[error("the server redirects from https to http")]
    Downgrade,
    /// There is no end to it.
    #[error("the server redirects more than {MAX_REDIRECTS} times")]
    TooMany,
}

/// The rules.
pub(super) fn policy() -> Policy {
    Policy::custom(|attempt: Attempt<'_>| {
        let encrypted = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        let refused = if attempt.previous().len() > MAX_REDIRECTS {
            Some(RedirectError::TooMany)
        } else if encrypted && attempt.url().scheme() != "https" {
            Some(RedirectError::Downgrade)
        } else {
            address::check(attempt.url()).err().map(RedirectError::Refused)
        };
        match refused {
            None => attempt.follow(),
            Some(error) => attempt.error(error),
        }
    })
}
