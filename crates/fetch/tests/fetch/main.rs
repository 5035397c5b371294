//! Fetching from real servers on this host that behave, and that do not.

#![expect(clippy::unwrap_used, reason = "all of this crate is a test")]

mod downloads;
mod image;
mod logins;
mod networks;
mod pulls;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banger_fetch::{AuthFiles, Blobs, Helper, Http, Network, NoHelpers, Registry, Retry};

/// Longest a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a test uses the network with: nothing but this host, and short pauses.
fn network() -> Network {
    let retry = Retry { first_pause: Duration::from_millis(1), ..Retry::default() };
    Network { retry, ..Network::default() }
}

fn http() -> Http {
    Http::new(&network()).unwrap()
}

/// A registry client with its cache in `dir`.
fn registry(dir: &Path) -> Registry {
    registry_with(dir, http(), AuthFiles::none(), Arc::new(NoHelpers))
}

fn registry_with(dir: &Path, http: Http, logins: AuthFiles, helper: Arc<dyn Helper>) -> Registry {
    Registry::new(http, Blobs::new(dir), logins, helper)
}

/// The names of the files in the cache.
fn cached(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.join("oci/blobs/sha256")) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The daemon runs all of it in tasks.
#[test]
fn everything_can_be_spawned() {
    fn assert_send(_: impl Send) {}
    let (dir, http) = (Path::new("/"), http());
    let (client, image) = (registry(dir), "localhost/x".parse().unwrap());
    assert_send(client.pull(&image, &|_| {}));
    assert_send(client.resolve(&image));
    assert_send(http.head("x"));
    assert_send(http.get_small("x", 1));
    assert_send(http.download("x", banger_fetch::sha256(b""), None, dir, &|_| {}));
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it ends")
}
