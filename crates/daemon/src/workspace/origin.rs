//! The origin's URL without the credentials in it.

/// The URL as it may travel, or nothing when it cannot be told what in it is secret.
///
/// What is cut out depends on the scheme: web servers take a token as user name or password, so
/// both go, with query and fragment; with ssh the user (`git@`) is part of the address and only a
/// password goes. An scp-like address (`git@host:path`) and a path have no place for a password.
/// A remote helper's address (`ext::…`) may be any command line and stays at home.
pub(super) fn plan_origin(url: &[u8]) -> Option<Vec<u8>> {
    let Some(scheme_end) = find(url, b"://") else {
        let helper = find(url, b"::").is_some();
        return (!helper).then(|| url.to_vec());
    };
    let (scheme, rest) = (&url[..scheme_end], &url[scheme_end + 3..]);
    if !scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)) {
        return None;
    }
    let web = matches!(scheme, b"http" | b"https");
    let rest = if web { until(rest, b"?#") } else { rest };
    let authority = until(rest, b"/");
    let path = &rest[authority.len()..];
    // The last `@`: a password may have one that is not escaped.
    let (user, host) = match authority.iter().rposition(|byte| *byte == b'@') {
        Some(at) => (&authority[..at], &authority[at + 1..]),
        None => (&[][..], authority),
    };
    let user = if scheme.ends_with(b"ssh") { until(user, b":") } else { &[] };
    let at = if user.is_empty() { &b""[..] } else { b"@" };
    Some([scheme, b"://", user, at, host, path].concat())
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// What comes before the first of `ends`.
fn until<'a>(text: &'a [u8], ends: &[u8]) -> &'a [u8] {
    text.split(|byte| ends.contains(byte)).next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_cut_out() {
        for (url, expected) in [
            ("https://example.org/a/b.git", Some("https://example.org/a/b.git")),
            ("https://user:pass@example.org/a", Some("https://example.org/a")),
            ("https://token@example.org:8443/a@b", Some("https://example.org:8443/a@b")),
            ("https://u:p@ss@example.org", Some("https://example.org")),
            ("https://example.org/a?private_token=x", Some("https://example.org/a")),
            ("ssh://git@example.org:22/a", Some("ssh://git@example.org:22/a")),
            ("ssh://git:pw@example.org/a", Some("ssh://git@example.org/a")),
            ("git+ssh://git@example.org/a", Some("git+ssh://git@example.org/a")),
            ("ftp://u:p@example.org/a", Some("ftp://example.org/a")),
            ("git@example.org:a/b.git", Some("git@example.org:a/b.git")),
            ("/srv/git/a.git", Some("/srv/git/a.git")),
            ("file:///srv/a@b", Some("file:///srv/a@b")),
            ("ext::sh -c 'x token'", None),
            ("helper::https://u:p@example.org", None),
        ] {
            let planned = plan_origin(url.as_bytes());
            assert_eq!(planned.as_deref(), expected.map(str::as_bytes), "{url}");
        }
    }
}
