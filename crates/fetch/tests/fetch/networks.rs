//! Certificates, proxies and redirects.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use banger_fetch::{
    AuthFiles, DownloadError, Http, HttpError, Network, NoHelpers, PullError, SourceError,
    TransferError,
};
use banger_proto::Problem;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use crate::image::Image;
use crate::server::{Proxy, Reply, Server};
use crate::{http, network, registry_with, within};

/// Every page is small.
const LIMIT: usize = 1000;

/// A company's own authority: its certificate in a file, and a server with a certificate of it for
/// this host and for `company.invalid`.
fn authority(dir: &tempfile::TempDir) -> (PathBuf, Arc<ServerConfig>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let path = dir.path().join("ca.pem");
    fs_err::write(&path, ca.pem()).unwrap();
    let names = ["localhost", "127.0.0.1", "company.invalid"].map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (path, Arc::new(config))
}

/// As the environment of a daemon gives it.
fn from_env(variables: &[(&str, &str)]) -> Network {
    let found = Network::from_env(|name| {
        variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
    });
    Network { retry: network().retry, ..found }
}

async fn get(http: &Http, url: &str) -> Result<String, HttpError> {
    match within(http.get_small(url, LIMIT)).await {
        Ok(content) => Ok(String::from_utf8(content).unwrap()),
        Err(DownloadError::Transfer { source, .. }) => match *source {
            TransferError::Source(SourceError::Http(error)) => Err(error),
            error => panic!("{error:?}"),
        },
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, tls) = authority(&dir);
    let image = Image::new(&[100]);
    let server = Server::start_with(Some(tls), move |request| image.serve(request)).await;
    let target = format!("localhost:{}/a/image", server.address.port()).parse().unwrap();
    let trusting = Http::new(&from_env(&[("SSL_CERT_FILE", ca.to_str().unwrap())])).unwrap();
    let client = registry_with(dir.path(), trusting, AuthFiles::none(), Arc::new(NoHelpers));
    assert_eq!(within(client.pull(&target, &|_| {})).await.unwrap().layers.len(), 1);

    let client = registry_with(dir.path(), http(), AuthFiles::none(), Arc::new(NoHelpers));
    let error = within(client.pull(&target, &|_| {})).await.unwrap_err();
    let PullError::Request { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, SourceError::Http(HttpError::Tls { .. })), "{error:?}");
    let problem = Problem::from(&error);
    assert!(problem.message.starts_with("cannot pull `"), "{problem:?}");
    assert!(problem.message.contains("` from registry `localhost:"), "{problem:?}");
    let hints = problem.hints.join("\n");
    assert!(hints.contains("SSL_CERT_FILE"), "{hints}");
}

#[test]
fn authorities_that_are_not_there_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    fs_err::write(&empty, "nothing").unwrap();
    for path in [dir.path().join("none.pem"), empty] {
        let path = path.to_str().unwrap();
        let error = Http::new(&from_env(&[("SSL_CERT_FILE", path)])).unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
    }
    let error = Http::new(&from_env(&[("HTTPS_PROXY", "socks5://u:hunter2@h")])).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[tokio::test]
async fn other_hosts_are_reached_through_the_proxy_and_this_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, tls) = authority(&dir);
    let server = Server::start_with(Some(tls), |_| Reply::new(200, "inside")).await;
    let proxy = Proxy::start(server.address).await;
    let address = format!("http://user:hunter2@{}", proxy.address);
    let variables = [("SSL_CERT_FILE", ca.to_str().unwrap()), ("https_proxy", &address)];
    let http = Http::new(&from_env(&variables)).unwrap();
    assert_eq!(get(&http, "https://company.invalid/x").await.unwrap(), "inside");
    let asked = proxy.seen();
    assert_eq!(
        (asked[0].method.as_str(), asked[0].path.as_str()),
        ("CONNECT", "company.invalid:443")
    );
    // `user:hunter2` in base64; the server inside gets none of it.
    assert_eq!(asked[0].header("proxy-authorization"), Some("Basic dXNlcjpodW50ZXIy"));
    assert_eq!(server.seen("/x")[0].header("proxy-authorization"), None);

    let here = format!("https://localhost:{}/here", server.address.port());
    assert_eq!(get(&http, &here).await.unwrap(), "inside");
    assert_eq!(proxy.seen().len(), 1, "this host needs no proxy");

    let excepted = [variables[0], variables[1], ("no_proxy", "company.invalid")];
    let excepting = Http::new(&Network {
        retry: banger_fetch::Retry { attempts: 1, ..network().retry },
        ..from_env(&excepted)
    });
    // There is no such host, and the proxy, which would know it, is not asked.
    let error = get(&excepting.unwrap(), "https://company.invalid/x").await.unwrap_err();
    assert!(matches!(error, HttpError::Resolve { .. }), "{error:?}");
    assert_eq!(proxy.seen().len(), 1);
}

#[tokio::test]
async fn plain_http_stays_on_this_host() {
    let error = get(&http(), "http://company.invalid/x").await.unwrap_err();
    assert!(matches!(error, HttpError::Address(_)), "{error:?}");
    let outward =
        Server::start(|_| Reply::new(302, "").header("Location", "http://company.invalid/x")).await;
    let error = get(&http(), &outward.url("/x")).await.unwrap_err();
    assert!(matches!(error, HttpError::Redirect { .. }), "{error:?}");

    let dir = tempfile::tempdir().unwrap();
    let (ca, tls) = authority(&dir);
    let plain = Server::start(|_| Reply::new(200, "plain")).await;
    let to = plain.url("/x");
    let downgrade =
        Server::start_with(Some(tls), move |_| Reply::new(302, "").header("Location", &to)).await;
    let trusting = Http::new(&from_env(&[("SSL_CERT_FILE", ca.to_str().unwrap())])).unwrap();
    let url = format!("https://localhost:{}/x", downgrade.address.port());
    let error = get(&trusting, &url).await.unwrap_err();
    assert!(matches!(error, HttpError::Redirect { .. }), "{error:?}");
    assert_eq!(plain.seen("/x").len(), 0);

    let circle = Server::start(|_| Reply::new(302, "").header("Location", "/again")).await;
    let error = get(&http(), &circle.url("/x")).await.unwrap_err();
    assert!(matches!(error, HttpError::Redirect { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    // It takes connections, because the system does, but nobody answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let impatient = Network {
        idle_timeout: std::time::Duration::from_millis(20),
        retry: banger_fetch::Retry { attempts: 2, ..network().retry },
        ..network()
    };
    let url = format!("http://{}/x", silent.local_addr().unwrap());
    let error = get(&Http::new(&impatient).unwrap(), &url).await.unwrap_err();
    assert!(matches!(error, HttpError::TimedOut { .. }), "{error:?}");
}
