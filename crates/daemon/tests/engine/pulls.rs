//! Images from a registry: what a second pull asks for, what a changed tag does to VMs, and a
//! cache that was damaged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use banger_fetch::sha256;
use banger_proto::api::{CreateVm, Event, ImageList, ImageView, Pruned};
use banger_proto::{Code, Problem};
use banger_testkit::{TestDaemon, TestEnv};
use serde_json::json;

use super::images::rootfs;
use super::{delete, in_time, named};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry on this host with one repository, `app`, whose only tag can be moved.
#[derive(Debug, Clone, Default)]
struct Registry {
    state: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    /// By the last part of the path: a tag or a digest.
    by_name: BTreeMap<String, Vec<u8>>,
    /// What was asked for: `GET sha256:…`.
    log: Vec<String>,
}

impl Registry {
    /// Serves it; the name of its image is returned, too.
    async fn start() -> (Self, String) {
        let registry = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let name = format!("{}/app:1", listener.local_addr().expect("an address"));
        let router =
            Router::new().route("/v2/app/{kind}/{name}", any(answer)).with_state(registry.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        (registry, name)
    }

    /// Makes the tag mean an image with a file of this text.
    fn publish(&self, text: &str) {
        let layer = rootfs(text);
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": { "Env": [format!("TEXT={text}")] },
            "rootfs": { "type": "layers", "diff_ids": [sha256(&layer).to_string()] },
        });
        let config = config.to_string().into_bytes();
        let part = |media_type: &str, content: &[u8]| {
            json!({
                "mediaType": media_type, "digest": sha256(content).to_string(),
                "size": content.len(),
            })
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": part(CONFIG, &config),
            "layers": [part(LAYER, &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let mut state = self.state.lock().expect("no panic");
        for content in [&layer, &config, &manifest] {
            state.by_name.insert(sha256(content).to_string(), content.clone());
        }
        state.by_name.insert("1".into(), manifest);
    }

    /// What was asked for since it was asked last.
    fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().expect("no panic").log)
    }
}

async fn answer(
    State(registry): State<Registry>,
    Path((_, name)): Path<(String, String)>,
    method: Method,
) -> Response {
    let mut state = registry.state.lock().expect("no panic");
    state.log.push(format!("{method} {name}"));
    match state.by_name.get(&name) {
        Some(content) => {
            let digest = sha256(content).to_string();
            let kind =
                [(header::CONTENT_TYPE.as_str(), MANIFEST), ("docker-content-digest", &digest)];
            (kind, content.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

struct Place {
    env: TestEnv,
    daemon: TestDaemon,
    registry: Registry,
    name: String,
}

impl Place {
    async fn new() -> Self {
        let env = TestEnv::new();
        let daemon = TestDaemon::start(&env).await;
        let (registry, name) = Registry::start().await;
        Self { env, daemon, registry, name }
    }

    /// Pulls the image, and returns what was said about it meanwhile.
    async fn pull(&self) -> Result<(ImageView, Vec<String>), Problem> {
        let asked = json!({ "name": self.name });
        let mut events = self.daemon.client.events("/v1/images/pull", asked).await;
        let mut notices = Vec::new();
        let image = events.find(|event| match event {
            Event::Notice { text } => {
                notices.push(text.clone());
                None
            }
            Event::ImageReady { image } => Some(Ok((**image).clone())),
            Event::Failed { problem } => Some(Err(problem.clone())),
            _ => None,
        });
        let image = image.await?;
        Ok((image, notices))
    }

    /// The cached layer of the image with this text.
    fn layer(&self, text: &str) -> PathBuf {
        let digest = sha256(&rootfs(text)).hex();
        self.env.paths.cache_dir.join("oci/blobs/sha256").join(digest)
    }
}

#[tokio::test]
async fn a_second_pull_asks_whether_the_tag_moved() {
    let place = Place::new().await;
    place.registry.publish("one");
    let (one, _) = place.pull().await.expect("an image");
    assert_eq!(one.name, place.name);
    assert_eq!(one.run.env["TEXT"], "one");
    place.registry.take_log();

    let (again, notices) = place.pull().await.expect("an image");
    assert_eq!(again, one);
    assert_eq!(notices, [format!("Image `{}` is up to date.", place.name)]);
    assert_eq!(place.registry.take_log(), ["HEAD 1"]);

    // A VM keeps the file it was made from, whatever the tag comes to mean.
    let asked = CreateVm { image: Some(place.name.clone()), ..named("vm") };
    place.daemon.client.events("/v1/vms", asked).await.ready().await;
    assert_eq!(place.registry.take_log(), Vec::<String>::new());
    place.registry.publish("two");
    let (two, _) = place.pull().await.expect("an image");
    assert_eq!(two.run.env["TEXT"], "two");
    assert_ne!(two.path, one.path);
    let file = |image: &ImageView| PathBuf::from(image.path.as_deref().expect("a path"));
    assert!(file(&one).is_file() && file(&two).is_file());
    delete(&place.daemon, "vm").await;
    // A moment after the answer.
    in_time(async {
        while file(&one).exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(file(&two).is_file());
    place.daemon.stop().await;
}

#[tokio::test]
async fn a_vm_gets_what_is_missing_by_any_name_that_means_it() {
    let place = Place::new().await;
    place.registry.publish("one");
    let by_tag = CreateVm { image: Some(place.name.clone()), ..named("one") };
    place.daemon.client.events("/v1/vms", by_tag).await.ready().await;
    let pinned = format!("{}@{}", place.name, "sha256:00");
    let wrong = CreateVm { image: Some(pinned), ..named("two") };
    let problem = place.daemon.client.events("/v1/vms", wrong).await.failed().await;
    assert_eq!(problem.code, Code::NotFound);
    let nowhere = CreateVm { image: Some(place.name.replace("app", "nope")), ..named("three") };
    let problem = place.daemon.client.events("/v1/vms", nowhere).await.failed().await;
    assert_eq!(problem.code, Code::NotFound);
    assert!(problem.message.contains("/nope:1`"), "{problem:?}");
    place.daemon.stop().await;
}

#[tokio::test]
async fn the_cache_is_used_mended_and_emptied() {
    let place = Place::new().await;
    place.registry.publish("one");
    place.pull().await.expect("an image");
    let delete_image = format!("/v1/images/{}", place.name.replace('/', "%2F"));
    let gone = || place.daemon.client.call(Method::DELETE, &delete_image, ());
    assert_eq!(gone().await.ok::<ImageView>().name, place.name);

    // What is cached is not fetched again.
    place.registry.take_log();
    place.pull().await.expect("an image");
    let layer = sha256(&rootfs("one"));
    assert!(!place.registry.take_log().contains(&format!("GET {layer}")));
    assert_eq!(gone().await.ok::<ImageView>().name, place.name);

    // Damaged on the disk: told, removed, and fetched anew.
    let cached = place.layer("one");
    let mut damaged = fs_err::read(&cached).expect("a layer");
    *damaged.get_mut(515).expect("a byte of the text") ^= 1;
    fs_err::set_permissions(&cached, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("a mode");
    fs_err::write(&cached, damaged).expect("a layer");
    let problem = place.pull().await.expect_err("a damaged layer");
    assert!(problem.message.contains(&layer.to_string()), "{problem:?}");
    assert!(problem.message.ends_with("was damaged on this disk"), "{problem:?}");
    assert!(!cached.exists());
    place.pull().await.expect("an image");

    let pruned: Pruned = place.daemon.client.call(Method::POST, "/v1/images/prune", ()).await.ok();
    assert_eq!(pruned.files, 2);
    assert!(!cached.exists());
    let images = place.daemon.client.get::<ImageList>("/v1/images").await.images;
    assert!(images.iter().any(|image| image.name == place.name && image.local));
    place.daemon.stop().await;
}
