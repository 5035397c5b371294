//! Running the programs that keep registry logins (`docker-credential-NAME`).

use std::error::Error;
use std::ffi::OsString;
use std::time::Duration;

use banger_fetch::{Helper, HelperReply};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::exec::{HostEnv, Program};

/// How long one may take: some ask their user, or a server.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer, in bytes; tokens have some thousand.
const MAX_ANSWER: usize = 256 << 10;

/// What helpers find their stores by, of the variables that other host programs do not see: the
/// user's session for `secretservice`, `pass`'s store, and the settings of the clouds' helpers
/// (<https://github.com/docker/docker-credential-helpers>, and those of AWS, Google and Azure).
const VARIABLES: [&str; 24] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_CONFIG_DIR",
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "CLOUDSDK_CONFIG",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "DOCKER_CONFIG",
    "GNUPGHOME",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "PASSWORD_STORE_DIR",
    "WAYLAND_DISPLAY",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
];

/// Runs credential helpers.
#[derive(Clone)]
pub struct CredentialHelpers {
    env: HostEnv,
}

impl CredentialHelpers {
    /// Helpers that are found in `env` and see what more of the environment (`lookup`) they need.
    #[must_use]
    pub fn from_env(env: HostEnv, lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let found = VARIABLES.into_iter().filter_map(|name| Some((name, lookup(name)?)));
        Self { env: found.fold(env, |env, (name, value)| env.with(name, value)) }
    }
}

/// Without the secrets that some variables are.
impl std::fmt::Debug for CredentialHelpers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialHelpers").finish_non_exhaustive()
    }
}

impl Helper for CredentialHelpers {
    fn get<'a>(
        &'a self,
        helper: &'a str,
        server: &'a str,
    ) -> BoxFuture<'a, Result<HelperReply, Box<dyn Error + Send + Sync>>> {
        async move {
            let program = Program::new(&self.env, format!("docker-credential-{helper}"))
                .arg("get")
                .stdin_bytes(server.as_bytes().to_vec())
                .deadline(PATIENCE);
            let ran = program.capture(MAX_ANSWER).await?;
            Ok(HelperReply { success: ran.status.success(), stdout: ran.stdout })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Helpers among which `test` is this script.
    fn helpers(script: &str) -> (tempfile::TempDir, CredentialHelpers) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker-credential-test");
        fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let lookup = |name: &str| match name {
            "PATH" => Some(format!("{}:/usr/bin:/bin", dir.path().display()).into()),
            "GNUPGHOME" => Some("/keys".into()),
            _ => None,
        };
        let helpers = CredentialHelpers::from_env(HostEnv::from_env(lookup), lookup);
        (dir, helpers)
    }

    #[tokio::test]
    async fn a_helper_gets_the_server_and_answers() {
        let (_dir, helpers) = helpers(r#"echo "$1 $(cat) $GNUPGHOME""#);
        let reply = helpers.get("test", "ghcr.io").await.unwrap();
        assert!(reply.success);
        assert_eq!(reply.stdout, b"get ghcr.io /keys\n");
    }

    #[tokio::test]
    async fn a_failure_is_an_answer_and_a_missing_program_is_none() {
        let (_dir, helpers) = helpers("echo credentials not found; exit 1");
        let reply = helpers.get("test", "ghcr.io").await.unwrap();
        assert_eq!((reply.success, &*reply.stdout), (false, &b"credentials not found\n"[..]));
        let missing = helpers.get("other", "ghcr.io").await.unwrap_err();
        assert_eq!(missing.to_string(), "`docker-credential-other` was not found");
    }

    #[test]
    fn secrets_are_not_shown() {
        let lookup = |_: &str| Some("hunter2".into());
        let helpers = CredentialHelpers::from_env(HostEnv::from_env(|_| None), lookup);
        assert!(!format!("{helpers:?}").contains("hunter2"));
    }
}
