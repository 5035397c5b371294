//! Registries that want to know who asks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use banger_fetch::{AuthFiles, Helper, HelperReply, NoHelpers, PullError};
use banger_proto::Problem;
use banger_proto::Reference;
use futures_util::future::BoxFuture;

use crate::image::Image;
use crate::server::{Reply, Request, Server};
use crate::{http, registry, registry_with, within};

/// `user:hunter2` in base64.
const LOGIN: &str = "dXNlcjpodW50ZXIy";

/// A registry that wants tokens, gives a new one to each who has the login, or to anybody if it is
/// `public`, and takes each token for `uses` requests only.
async fn with_tokens(image: &Image, public: bool, uses: usize) -> Server {
    let image = image.clone();
    let (issued, left) = (AtomicUsize::new(0), Mutex::new(0));
    Server::start(move |request| {
        if let Some(query) = request.path.strip_prefix("/token") {
            let by_password = request.header("authorization") == Some(&format!("Basic {LOGIN}"));
            let by_identity = request.method == "POST"
                && request.body.contains("refresh_token=hunter2")
                && request.body.contains("grant_type=refresh_token");
            let scope = "scope=repository%3Aa%2Fimage%3Apull";
            let wanted = [query, &request.body].concat();
            if !(public || by_password || by_identity) || !wanted.contains(scope) {
                return Reply::new(401, "");
            }
            *left.lock().unwrap() = uses;
            let number = issued.fetch_add(1, Ordering::Relaxed);
            return Reply::new(200, format!(r#"{{"token":"token{number}"}}"#));
        }
        let token = issued.load(Ordering::Relaxed).checked_sub(1);
        let expected = token.map(|number| format!("Bearer token{number}"));
        let mut left = left.lock().unwrap();
        if expected.is_none() || request.header("authorization") != expected.as_deref() || *left == 0 {
            let host = request.header("host").unwrap();
            let challenge = format!(
                r#"Bearer realm="http://{host}/token",service="here",scope="repository:a/image:pull""#
            );
            return Reply::new(401, "").header("WWW-Authenticate", challenge);
        }
        *left -= 1;
        image.serve(request)
    })
    .await
}

fn reference(server: &Server) -> Reference {
    format!("{}/a/image", server.address).parse().unwrap()
}

/// The text as a file of logins.
fn logins(dir: &tempfile::TempDir, text: &str) -> AuthFiles {
    let path = dir.path().join("auth.json");
    fs_err::write(&path, text).unwrap();
    AuthFiles::named(path)
}

#[tokio::test]
async fn tokens_are_fetched_and_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[100, 200, 300]);
    let entries =
        [format!(r#"{{"auth": "{LOGIN}"}}"#), r#"{"identitytoken": "hunter2"}"#.to_owned()];
    for (number, entry) in entries.iter().enumerate() {
        let server = with_tokens(&image, false, 4).await;
        let text = format!(r#"{{"auths": {{"{}": {entry}}}}}"#, server.address);
        let cache = dir.path().join(number.to_string());
        let client = registry_with(&cache, http(), logins(&dir, &text), Arc::new(NoHelpers));
        let pulled = within(client.pull(&reference(&server), &|_| {})).await.unwrap();
        assert_eq!(pulled.layers.len(), 3);
        assert_eq!(server.seen("/token").len(), 2, "five requests, four for a token");
    }
}

#[tokio::test]
async fn public_images_need_a_token_but_no_login() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_tokens(&Image::new(&[100]), true, 100).await;
    within(registry(dir.path()).pull(&reference(&server), &|_| {})).await.unwrap();
    let seen = server.seen("/token");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), None);
    assert!(seen[0].path.contains("service=here"), "{seen:?}");
}

#[tokio::test]
async fn without_the_right_login_the_way_out_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_tokens(&Image::new(&[100]), false, 100).await;
    let target = reference(&server);
    let error = within(registry(dir.path()).pull(&target, &|_| {})).await.unwrap_err();
    assert!(matches!(error, PullError::Unauthorized { anonymous: true, .. }), "{error:?}");
    let problem = Problem::from(&error);
    assert!(problem.message.contains("` gives no access to `"), "{problem:?}");
    let hints = problem.hints.join("\n");
    assert!(hints.contains(&format!("docker login {}", server.address)), "{hints}");
    assert!(hints.contains("registry_auth_file"), "{hints}");

    // `user:wr0ng` in base64.
    let text = format!(r#"{{"auths": {{"{}": {{"auth": "dXNlcjp3cjBuZw=="}}}}}}"#, server.address);
    let client = registry_with(dir.path(), http(), logins(&dir, &text), Arc::new(NoHelpers));
    let error = within(client.pull(&target, &|_| {})).await.unwrap_err();
    assert!(matches!(error, PullError::Unauthorized { anonymous: false, .. }), "{error:?}");
    let shown = format!("{error:?} {:?} {client:?}", error.to_string());
    assert!(!shown.contains("wr0ng") && !shown.contains("dXNlcjp3cjBuZw"), "{shown}");
}

/// Knows the login for every registry, and what it was asked for.
#[derive(Default)]
struct OneLogin {
    asked: Mutex<Vec<(String, String)>>,
}

impl Helper for OneLogin {
    fn get<'a>(
        &'a self,
        helper: &'a str,
        server: &'a str,
    ) -> BoxFuture<'a, Result<HelperReply, Box<dyn std::error::Error + Send + Sync>>> {
        self.asked.lock().unwrap().push((helper.to_owned(), server.to_owned()));
        let stdout = br#"{"ServerURL":"x","Username":"user","Secret":"hunter2"}"#.to_vec();
        Box::pin(async { Ok(HelperReply { success: true, stdout }) })
    }
}

#[tokio::test]
async fn helpers_and_passwords_are_enough_for_simple_registries() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[100]);
    let expected = format!("Basic {LOGIN}");
    let server = Server::start(move |request| match request.header("authorization") {
        Some(given) if given == expected => image.serve(request),
        _ => Reply::new(401, "").header("WWW-Authenticate", r#"Basic realm="here""#),
    })
    .await;
    let helper = Arc::new(OneLogin::default());
    let client = registry_with(
        dir.path(),
        http(),
        logins(&dir, r#"{"credsStore": "keys"}"#),
        Arc::clone(&helper) as Arc<dyn Helper>,
    );
    within(client.pull(&reference(&server), &|_| {})).await.unwrap();
    let asked = helper.asked.lock().unwrap().clone();
    assert_eq!(asked, [("keys".to_owned(), server.address.to_string())]);
}

#[tokio::test]
async fn credentials_stay_with_their_host() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[100]);
    let content = image.clone();
    let store = Server::start(move |request| content.serve(request)).await;
    // One store takes what it is asked for, another wants to know who asks: nobody tells it.
    let curious =
        Server::start(|_| Reply::new(401, "").header("WWW-Authenticate", r#"Basic realm="gimme""#))
            .await;
    for other in [&store, &curious] {
        let (image, elsewhere) = (image.clone(), other.url(""));
        let server =
            Server::start(move |request: &Request| match request.header("authorization") {
                None => Reply::new(401, "").header("WWW-Authenticate", r#"Basic realm="here""#),
                Some(_) if request.path.contains("/blobs/") => {
                    let to = format!("{elsewhere}{}?signature=s3cret", request.path);
                    Reply::new(307, "").header("Location", to)
                }
                Some(_) => image.serve(request),
            })
            .await;
        let text = format!(r#"{{"auths": {{"{}": {{"auth": "{LOGIN}"}}}}}}"#, server.address);
        let cache = dir.path().join(other.address.to_string());
        let client = registry_with(&cache, http(), logins(&dir, &text), Arc::new(NoHelpers));
        let pulled = within(client.pull(&reference(&server), &|_| {})).await;
        let seen = other.seen("/blobs/");
        assert!(!seen.is_empty());
        assert!(seen.iter().all(|request| request.header("authorization").is_none()));
        if let Err(error) = pulled {
            assert_eq!(other.address, curious.address, "{error:?}");
            let shown = format!("{error:?}");
            let shown = format!("{shown} {:?}", Problem::from(&error));
            assert!(!shown.contains("s3cret") && !shown.contains(LOGIN), "{shown}");
        }
    }
}
