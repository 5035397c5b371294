//! Credential helpers: programs that keep logins, `docker-credential-NAME get`, with the registry
//! on stdin and JSON on stdout
//! (<https://github.com/docker/docker-credential-helpers#development>). This crate starts no
//! programs: who uses it does that and hands the answer back.

use std::fmt;

use futures_util::future::BoxFuture;

use super::{AuthError, Credential, Secret};

/// What a helper says when it has nothing for a registry.
const NOT_FOUND: &str = "credentials not found";

/// The user name of an entry whose secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Asks credential helpers.
pub trait Helper: Send + Sync {
    /// Runs `docker-credential-HELPER get` with `server` on stdin. `helper` has letters, digits,
    /// `.`, `_` and `-` only.
    ///
    /// The error's text, why the program could not be run, is shown to the user.
    fn get<'a>(
        &'a self,
        helper: &'a str,
        server: &'a str,
    ) -> BoxFuture<'a, Result<HelperReply, Box<dyn std::error::Error + Send + Sync>>>;
}

/// What a credential helper said.
#[derive(Clone)]
pub struct HelperReply {
    /// Whether it exited with 0.
    pub success: bool,
    /// All that it wrote to stdout.
    pub stdout: Vec<u8>,
}

/// Without the secret in it.
impl fmt::Debug for HelperReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelperReply").field("success", &self.success).finish_non_exhaustive()
    }
}

/// For where no programs can be started: a login that is kept by a helper is an error.
#[derive(Debug, Clone, Copy)]
pub struct NoHelpers;

impl Helper for NoHelpers {
    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<HelperReply, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async { Err("helpers are not used here".into()) })
    }
}

/// What the answer of `helper` for `registry` means; none where it knows no login.
pub(super) fn parse_reply(
    helper: &str,
    registry: &str,
    reply: &HelperReply,
) -> Result<Option<Credential>, AuthError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        username: String,
        secret: String,
    }
    let failed = |reason: String| AuthError::Helper {
        helper: helper.to_owned(),
        registry: registry.to_owned(),
        reason,
    };
    if !reply.success {
        // Errors go to stdout, too; without success there is no secret among them.
        let text = String::from_utf8_lossy(&reply.stdout);
        let text = text.trim();
        return match text.contains(NOT_FOUND) {
            true => Ok(None),
            false => Err(failed(text.chars().filter(|c| !c.is_control()).take(200).collect())),
        };
    }
    let entry: Entry = serde_json::from_slice(&reply.stdout)
        .map_err(|_| failed("its output is not of the expected form".to_owned()))?;
    Ok(match (entry.username.as_str(), entry.secret.as_str()) {
        (_, "") => None,
        (TOKEN_USER, _) => Some(Credential::Identity(Secret::new(entry.secret))),
        _ => {
            Some(Credential::Password { user: entry.username, password: Secret::new(entry.secret) })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(success: bool, stdout: &str) -> Result<Option<Credential>, String> {
        let reply = HelperReply { success, stdout: stdout.into() };
        parse_reply("pass", "ghcr.io", &reply).map_err(|error| error.to_string())
    }

    #[test]
    fn replies_are_logins_or_none() {
        assert_eq!(
            parse(true, r#"{"ServerURL":"ghcr.io","Username":"u","Secret":"s"}"#),
            Ok(Some(Credential::Password { user: "u".into(), password: Secret::new("s") }))
        );
        assert_eq!(
            parse(true, r#"{"ServerURL":"ghcr.io","Username":"<token>","Secret":"s"}"#),
            Ok(Some(Credential::Identity(Secret::new("s"))))
        );
        assert_eq!(parse(false, "credentials not found in native keychain\n"), Ok(None));
        assert_eq!(
            parse(false, "error: locked\n"),
            Err("credential helper `docker-credential-pass` has no answer for `ghcr.io`: error: locked".into())
        );
        let bad = parse(true, r#"{"Secret":{"hunter2":1}}"#).unwrap_err();
        assert!(!bad.contains("hunter2"), "{bad}");
    }
}
