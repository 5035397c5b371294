//! The files in which `docker login` and `podman login` leave what they know
//! (<https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md>, and
//! `config.json` of Docker, which has the same form). They are read for every use, because users
//! log in while a daemon runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use banger_proto::env;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::helper::{Helper, parse_reply};
use super::{AuthError, Credential, Secret};
use banger_proto::Reference;

/// What Docker calls its registry here.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// Docker's registry by its name in references.
const DOCKER_HUB: &str = "docker.io";

/// Where logins are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFiles {
    /// In this order; the first that has a login for an image is used.
    paths: Vec<PathBuf>,
    /// Whether the user named the file, so that it has to exist.
    named: bool,
}

impl AuthFiles {
    /// No file at all: every registry is asked without a login.
    #[must_use]
    pub fn none() -> Self {
        Self { paths: Vec::new(), named: false }
    }

    /// This file and nothing else.
    #[must_use]
    pub fn named(path: PathBuf) -> Self {
        Self { paths: vec![path], named: true }
    }

    /// `$REGISTRY_AUTH_FILE` and nothing else, or else the places of Podman, then that of Docker.
    /// `lookup` reads the environment.
    #[must_use]
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = value(env::REGISTRY_AUTH_FILE) {
            return Self::named(path);
        }
        let home = value(env::HOME);
        let under_home = |dir: &str| home.as_ref().map(|home| home.join(dir));
        let paths = [
            value(env::XDG_RUNTIME_DIR).map(|dir| dir.join("containers/auth.json")),
            value(env::XDG_CONFIG_HOME)
                .or_else(|| under_home(".config"))
                .map(|dir| dir.join("containers/auth.json")),
            value(env::DOCKER_CONFIG)
                .or_else(|| under_home(".docker"))
                .map(|dir| dir.join("config.json")),
        ];
        Self { paths: paths.into_iter().flatten().collect(), named: false }
    }

    /// The login for `image`.
    pub(crate) async fn find(
        &self,
        image: &Reference,
        helper: &dyn Helper,
    ) -> Result<Credential, AuthError> {
        for path in &self.paths {
            let text = match fs_err::read(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.named => {
                    continue;
                }
                Err(error) => return Err(AuthError::File(error)),
            };
            for place in plan_lookup(path, &text, image)? {
                match place {
                    Place::Here(credential) => return Ok(credential),
                    Place::Helper { name, server } => {
                        let reply = helper.get(&name, &server).await;
                        let reply = reply.map_err(|error| AuthError::Helper {
                            helper: name.clone(),
                            registry: image.registry().to_owned(),
                            reason: error.to_string(),
                        })?;
                        if let Some(found) = parse_reply(&name, image.registry(), &reply)? {
                            return Ok(found);
                        }
                    }
                }
            }
        }
        Ok(Credential::Anonymous)
    }
}

/// Where a login may be.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In the file.
    Here(Credential),
    /// With a helper.
    Helper { name: String, server: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFile {
    #[serde(default)]
    auths: HashMap<String, Entry>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// Where in this file a login for `image` may be, the first place first: the helper for this very
/// registry, the helper for all, the file itself.
fn plan_lookup(path: &Path, text: &[u8], image: &Reference) -> Result<Vec<Place>, AuthError> {
    // The library's own text would quote what it does not understand.
    let file: AuthFile = serde_json::from_slice(text).map_err(|error| AuthError::Form {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })?;
    let keys = keys(image);
    let mut places = Vec::new();
    let for_this = keys.iter().find_map(|key| {
        file.cred_helpers.iter().find(|(candidate, _)| normalize(candidate) == *key)
    });
    if let Some((server, name)) = for_this.filter(|(_, name)| !name.is_empty()) {
        places.push(Place::Helper { name: check_name(path, name)?, server: server.clone() });
    } else if let Some(name) = file.creds_store.as_deref().filter(|name| !name.is_empty()) {
        let server = match image.registry() {
            DOCKER_HUB => DOCKER_HUB_SERVER,
            registry => registry,
        };
        places.push(Place::Helper { name: check_name(path, name)?, server: server.to_owned() });
    }
    for key in &keys {
        // An entry without content says that a helper has it.
        for (name, entry) in file.auths.iter().filter(|(name, _)| normalize(name) == *key) {
            let unreadable = || AuthError::Entry { path: path.to_owned(), registry: name.clone() };
            if let Some(credential) = parse_entry(entry).ok_or_else(unreadable)? {
                places.push(Place::Here(credential));
                return Ok(places);
            }
        }
    }
    Ok(places)
}

/// The names under which a login for `image` may be kept, the most special first: a login may be
/// for a part of a registry.
fn keys(image: &Reference) -> Vec<String> {
    let whole = format!("{}/{}", image.registry(), image.repository());
    let ends = whole.match_indices('/').map(|(at, _)| at).chain([whole.len()]);
    let mut keys: Vec<String> = ends.map(|at| whole[..at].to_owned()).collect();
    keys.reverse();
    keys
}

/// The name of an entry as [`keys`] writes it. Docker's entries may be addresses.
fn normalize(name: &str) -> String {
    let (bare, is_address) = match name.split_once("://") {
        Some((_, rest)) => (rest, true),
        None => (name, name.ends_with("/v1/") || name.ends_with("/v2/")),
    };
    let bare = bare.trim_end_matches('/');
    let (host, rest) = bare.split_once('/').map_or((bare, ""), |(host, rest)| (host, rest));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DOCKER_HUB,
        host => host,
    };
    match is_address || rest.is_empty() {
        true => host.to_owned(),
        false => format!("{host}/{rest}"),
    }
}

/// What an entry has. The outer `None` is an entry that cannot be read.
fn parse_entry(entry: &Entry) -> Option<Option<Credential>> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(token) = given(&entry.identitytoken) {
        return Some(Some(Credential::Identity(Secret::new(token))));
    }
    if let Some(token) = given(&entry.registrytoken) {
        return Some(Some(Credential::Token(Secret::new(token))));
    }
    if let Some(encoded) = given(&entry.auth) {
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        // Docker fills up to a length of its choice.
        let password = Secret::new(password.trim_end_matches('\0'));
        return Some(Some(Credential::Password { user: user.to_owned(), password }));
    }
    let pair = given(&entry.username).zip(given(&entry.password));
    Some(
        pair.map(|(user, password)| Credential::Password { user, password: Secret::new(password) }),
    )
}

/// The name becomes a part of a program's name.
fn check_name(path: &Path, name: &str) -> Result<String, AuthError> {
    match name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        true => Ok(name.to_owned()),
        false => Err(AuthError::HelperName {
            path: path.to_owned(),
            helper: name.escape_debug().collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, image: &str) -> Result<Vec<Place>, AuthError> {
        plan_lookup(Path::new("/auth.json"), text.as_bytes(), &image.parse().unwrap())
    }

    fn password(user: &str, password: &str) -> Place {
        let (user, password) = (user.to_owned(), Secret::new(password));
        Place::Here(Credential::Password { user, password })
    }

    #[test]
    fn the_most_special_entry_wins() {
        // u:p, v:q and w:a:b in base64
        let text = r#"{"auths": {"ghcr.io": {"auth": "dTpw"}, "ghcr.io/a": {"auth": "djpx"},
            "https://index.docker.io/v1/": {"auth": "dzphOmI="}, "x.io": {}}}"#;
        assert_eq!(plan(text, "ghcr.io/b/c").unwrap(), [password("u", "p")]);
        assert_eq!(plan(text, "ghcr.io/a/c").unwrap(), [password("v", "q")]);
        assert_eq!(plan(text, "alpine").unwrap(), [password("w", "a:b")]);
        assert_eq!(plan(text, "x.io/a").unwrap(), []);
        assert_eq!(plan(text, "evil.ghcr.io/a/c").unwrap(), []);
    }

    #[test]
    fn tokens_come_before_passwords() {
        let text = r#"{"auths": {"a.io": {"auth": "dTpw", "identitytoken": "i"},
            "b.io": {"registrytoken": "r"}, "c.io": {"username": "u", "password": "p"}}}"#;
        let identity = Place::Here(Credential::Identity(Secret::new("i")));
        assert_eq!(plan(text, "a.io/x").unwrap(), [identity]);
        let token = Place::Here(Credential::Token(Secret::new("r")));
        assert_eq!(plan(text, "b.io/x").unwrap(), [token]);
        assert_eq!(plan(text, "c.io/x").unwrap(), [password("u", "p")]);
    }

    #[test]
    fn helpers_are_asked_by_the_name_they_know() {
        let text = r#"{"credHelpers": {"ghcr.io": "gh"}, "credsStore": "desktop",
            "auths": {"old.io": {"auth": "dTpw"}}}"#;
        let helper = |name: &str, server: &str| Place::Helper {
            name: name.to_owned(),
            server: server.to_owned(),
        };
        assert_eq!(plan(text, "ghcr.io/a").unwrap(), [helper("gh", "ghcr.io")]);
        assert_eq!(plan(text, "alpine").unwrap(), [helper("desktop", DOCKER_HUB_SERVER)]);
        assert_eq!(
            plan(text, "old.io/a").unwrap(),
            [helper("desktop", "old.io"), password("u", "p")]
        );
    }

    #[test]
    fn broken_files_are_named_without_what_they_hold() {
        for (text, image) in [
            (r#"{"auths": {"a.io": {"auth": {"hunter2": 1}}}}"#, "a.io/x"),
            (r#"{"auths": {"a.io": {"auth": "hunter2"}}}"#, "a.io/x"),
            (r#"{"auths": ["hunter2"]}"#, "a.io/x"),
            (r#"{"credsStore": "../../hunter2"#, "a.io/x"),
        ] {
            let error = plan(text, image).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("/auth.json") && !shown.contains("hunter2"), "{shown}");
        }
        let error = plan(r#"{"credsStore": "../../sh"}"#, "a.io/x").unwrap_err();
        assert!(matches!(error, AuthError::HelperName { .. }), "{error}");
    }

    #[test]
    fn places_are_those_of_podman_and_docker() {
        let files = |variables: &[(&str, &str)]| {
            AuthFiles::from_env(|name| {
                variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
            })
            .paths
        };
        assert_eq!(
            files(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")]),
            [
                "/r/containers/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json"
            ]
            .map(PathBuf::from)
        );
        let explicit = [("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/f")];
        assert_eq!(files(&explicit), [PathBuf::from("/f")]);
    }

    #[tokio::test]
    async fn only_a_named_file_has_to_exist() {
        let dir = tempfile::tempdir().unwrap();
        let image = "a.io/x".parse().unwrap();
        let missing = dir.path().join("none.json");
        let named = AuthFiles::named(missing.clone());
        let error = named.find(&image, &super::super::NoHelpers).await.unwrap_err();
        assert!(error.to_string().contains("none.json"), "{error}");
        let usual = AuthFiles { paths: vec![missing], named: false };
        let found = usual.find(&image, &super::super::NoHelpers).await.unwrap();
        assert_eq!(found, Credential::Anonymous);
    }
}
