//! What the errors of the HTTP library mean. It wraps those of the layers below; which layer it
//! was is found in the chain of sources.

use std::error::Error;
use std::io;

use reqwest::Url;

use super::HttpError;
use super::address::{render, render_host};
use super::redirect::RedirectError;
use super::resolve::ResolveError;

/// The failure that `error` is, while `url` was asked.
pub(super) fn classify(error: reqwest::Error, url: &Url) -> HttpError {
    // A redirect may have led elsewhere. The address is left out of the library's own text, because
    // it may be signed, which is as good as a password.
    let url = error.url().unwrap_or(url).clone();
    let host = render_host(&url);
    let (is_connect, is_timeout) = (error.is_connect(), error.is_timeout());
    let error = error.without_url();
    if let Some(found) = find::<ResolveError>(&error) {
        let source = match found {
            ResolveError::NoSuchHost => ResolveError::NoSuchHost,
            ResolveError::NoAnswer(reason) => ResolveError::NoAnswer(reason.clone()),
        };
        return HttpError::Resolve { host, source };
    }
    if let Some(source) = find::<RedirectError>(&error) {
        return HttpError::Redirect { address: render(&url), source: source.clone().into() };
    }
    if let Some(source) = find::<rustls::Error>(&error) {
        return HttpError::Tls { host, source: source.clone() };
    }
    if is_timeout {
        return HttpError::TimedOut { host };
    }
    let refused = find::<io::Error>(&error)
        .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    let source = innermost(error);
    match is_connect {
        true => HttpError::Connect { host, refused, source },
        false => HttpError::Broken { host, source },
    }
}

/// The first error of type `T` in the chain. An I/O error hides what it was made of from the
/// chain, so it is opened.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}

/// What a person needs to know is the last reason; those before it say which layer of the library
/// passed it on.
fn innermost(error: reqwest::Error) -> Box<dyn Error + Send + Sync> {
    let mut last: &(dyn Error + 'static) = &error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string().into()
}
