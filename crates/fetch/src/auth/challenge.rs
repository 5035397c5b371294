//! What a registry asks for in `WWW-Authenticate`
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use http_auth::ChallengeRef;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be told who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With a token that another server gives.
    Bearer {
        /// The address of that server.
        realm: String,
        /// What the registry is called there.
        service: Option<String>,
        /// What the token has to be for.
        scope: Option<String>,
    },
    /// With name and password.
    Basic,
}

/// The best way that `headers` offer. The error says what is wrong.
pub(super) fn parse_challenge(headers: &HeaderMap) -> Result<Challenge, String> {
    let mut basic = false;
    let mut seen = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let text = value.to_str().map_err(|_| "it is no text".to_owned())?;
        let challenges = http_auth::parse_challenges(text)
            .map_err(|_| format!("`{}` cannot be read", text.escape_debug()))?;
        for challenge in challenges {
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let realm = parameter(&challenge, "realm")
                    .ok_or_else(|| "it names no server for tokens".to_owned())?;
                let service = parameter(&challenge, "service");
                let scope = parameter(&challenge, "scope");
                return Ok(Challenge::Bearer { realm, service, scope });
            }
            basic |= challenge.scheme.eq_ignore_ascii_case("basic");
            seen.push(challenge.scheme.to_owned());
        }
    }
    match basic {
        true => Ok(Challenge::Basic),
        false if seen.is_empty() => Err("it does not say how".to_owned()),
        false => Err(format!("it wants `{}`", seen.join("`, `"))),
    }
}

fn parameter(challenge: &ChallengeRef<'_>, name: &str) -> Option<String> {
    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_unescaped()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn parse(values: &[&str]) -> Result<Challenge, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        parse_challenge(&headers)
    }

    #[test]
    fn bearer_wins_wherever_it_stands() {
        let bearer = Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: Some("reg".into()),
            scope: Some("repository:a/b:pull,push".into()),
        };
        let text = r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push""#;
        assert_eq!(parse(&[text]), Ok(bearer.clone()));
        assert_eq!(parse(&[r#"Basic realm="x""#, text]), Ok(bearer.clone()));
        assert_eq!(parse(&[&format!(r#"Basic realm="x", {text}"#)]), Ok(bearer));
    }

    #[test]
    fn others_are_told() {
        assert_eq!(parse(&[r#"basic realm="x""#]), Ok(Challenge::Basic));
        assert_eq!(parse(&[r#"Negotiate"#]), Err("it wants `Negotiate`".into()));
        assert_eq!(parse(&[]), Err("it does not say how".into()));
        assert_eq!(parse(&[r#"Bearer service="x""#]), Err("it names no server for tokens".into()));
        assert!(parse(&[r#"Bearer realm="x"#]).is_err());
    }
}
