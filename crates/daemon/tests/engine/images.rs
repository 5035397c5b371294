//! Images over the interface: taken in, used, replaced, deleted, and what stays on the disk.

use std::path::PathBuf;

use banger_proto::api::{
    CreateVm, DaemonStatus, Event, ImageDetails, ImageList, ImageView, Pruned,
};
use banger_proto::{Code, Problem};
use banger_testkit::{TestDaemon, TestEnv};
use hyper::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::{create, delete, in_time, named};

/// The tar of a root file system with one file that says `text`.
pub(crate) fn rootfs(text: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, "etc/motd", text.as_bytes()).expect("an entry");
    tar.into_inner().expect("a tar")
}

struct Place {
    env: TestEnv,
    daemon: TestDaemon,
}

impl Place {
    async fn new() -> Self {
        let env = TestEnv::new();
        let daemon = TestDaemon::start(&env).await;
        Self { env, daemon }
    }

    /// Imports an archive with this text as `mine`.
    async fn import(&self, text: &str) -> Result<ImageView, Problem> {
        let path = self.env.dir().join("rootfs.tar");
        fs_err::write(&path, rootfs(text)).expect("a file");
        let asked = serde_json::json!({ "name": "mine", "path": path, "force": true });
        self.events("/v1/images/import", asked).await
    }

    async fn events(&self, path: &str, asked: serde_json::Value) -> Result<ImageView, Problem> {
        let mut events = self.daemon.client.events(path, asked).await;
        events
            .find(|event| match event {
                Event::ImageReady { image } => Some(Ok((**image).clone())),
                Event::Failed { problem } => Some(Err(problem.clone())),
                _ => None,
            })
            .await
    }

    async fn vm_of_mine(&self, name: &str) {
        let asked = CreateVm { image: Some("mine".into()), ..named(name) };
        self.daemon.client.events("/v1/vms", asked).await.ready().await;
    }

    async fn call<T: serde::de::DeserializeOwned>(&self, method: Method, path: &str) -> T {
        self.daemon.client.call(method, path, ()).await.ok()
    }

    /// Waits until a file is gone: that is done after the answer to what led to it.
    async fn until_gone(&self, file: &str) {
        in_time(async {
            while fs_err::metadata(file).is_ok() {
                self.daemon.client.get::<DaemonStatus>("/v1/daemon").await;
            }
        })
        .await;
    }
}

fn file(image: &ImageView) -> String {
    image.path.clone().expect("a path")
}

fn is_there(image: &ImageView) -> bool {
    PathBuf::from(file(image)).is_file()
}

#[tokio::test]
async fn a_disk_that_no_record_tells_of_keeps_what_it_may_lie_over() {
    let place = Place::new().await;
    let old = file(&place.import("one").await.expect("an image"));
    // As a lost database leaves it.
    let orphan = place.env.paths.state_dir.join("vms/0123456789ab");
    fs_err::create_dir_all(&orphan).expect("a directory");
    place.import("two").await.expect("an image");
    place.call::<Pruned>(Method::POST, "/v1/images/prune").await;
    assert!(fs_err::metadata(&old).is_ok());
    fs_err::remove_dir(&orphan).expect("removed");
    place.call::<Pruned>(Method::POST, "/v1/images/prune").await;
    assert!(fs_err::metadata(&old).is_err());
    place.daemon.stop().await;
}

#[tokio::test]
async fn a_replaced_file_stays_as_long_as_a_vm_of_it() {
    let place = Place::new().await;
    let unused = place.import("one").await.unwrap();
    let used = place.import("two").await.unwrap();
    assert!(!is_there(&unused), "nobody used it");
    place.vm_of_mine("web").await;
    place.call::<serde_json::Value>(Method::POST, "/v1/vms/web/stop").await;
    let newest = place.import("three").await.unwrap();
    assert!(is_there(&used), "a VM that is stopped needs it");
    let pruned: Pruned = place.call(Method::POST, "/v1/images/prune").await;
    assert_eq!(pruned.files, 0);
    delete(&place.daemon, "web").await;
    place.until_gone(&file(&used)).await;
    assert!(is_there(&newest));
    place.daemon.stop().await;
}

#[tokio::test]
async fn what_a_killed_daemon_left_goes_with_the_next_start() {
    let place = Place::new().await;
    place.import("one").await.unwrap();
    place.vm_of_mine("web").await;
    let Place { env, daemon } = place;
    daemon.kill().await;
    // Killed between an image's file and its manifest.
    let half = env.paths.images_dir().join("half-0123456789ab.ext4");
    fs_err::write(&half, "x").unwrap();
    let daemon = TestDaemon::start(&env).await;
    assert!(!half.exists());
    let shown: ImageDetails = daemon.client.get("/v1/images/mine").await;
    assert!(is_there(&shown.image));
    assert_eq!(shown.vms, ["web"]);
    daemon.stop().await;
}

#[tokio::test]
async fn an_image_in_use_is_not_deleted() {
    let place = Place::new().await;
    let image = place.import("one").await.unwrap();
    place.vm_of_mine("web").await;
    let refused = place.daemon.client.call(Method::DELETE, "/v1/images/mine", ()).await.problem();
    assert_eq!((refused.code, &*refused.message), (Code::Conflict, "image `mine` is in use"));
    assert_eq!(refused.causes, ["VMs were made from it: web"]);
    delete(&place.daemon, "web").await;
    let deleted: ImageView = place.call(Method::DELETE, "/v1/images/mine").await;
    assert_eq!(deleted.digest, image.digest);
    assert!(!is_there(&image));
    let gone = place.daemon.client.call(Method::DELETE, "/v1/images/mine", ()).await.problem();
    assert_eq!((gone.code, &*gone.message), (Code::NotFound, "there is no image `mine` here"));
    place.daemon.stop().await;
}

#[tokio::test]
async fn names_with_slashes_are_part_of_a_path() {
    let place = Place::new().await;
    let path = place.env.dir().join("rootfs.tar");
    fs_err::write(&path, rootfs("one")).unwrap();
    let asked = serde_json::json!({ "name": "localhost:5000/team/app:latest", "path": path });
    place.events("/v1/images/import", asked).await.unwrap();
    let shown: ImageDetails =
        place.call(Method::GET, "/v1/images/localhost%3A5000%2Fteam%2Fapp").await;
    assert_eq!(shown.image.name, "localhost:5000/team/app:latest");
    let asked = CreateVm { image: Some("localhost:5000/team/app".into()), ..named("web") };
    place.daemon.client.events("/v1/vms", asked).await.ready().await;
    let whole = "/v1/images/localhost%3A5000%2Fteam%2Fapp%3Alatest";
    let shown: ImageDetails = place.call(Method::GET, whole).await;
    assert_eq!(shown.vms, ["web"]);
    place.daemon.stop().await;
}

#[tokio::test]
async fn an_archive_is_received() {
    let place = Place::new().await;
    let query = "/v1/images/upload?name=team%2Fapp&description=mine%20own";
    let send = async |path: &str, body: Vec<u8>| {
        let answer = place.daemon.client.send(Method::POST, path, &[], body).await;
        assert!(answer.status().is_success());
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        let last = body.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap();
        serde_json::from_slice::<Event>(last).unwrap()
    };
    // Larger than what a request with a JSON body may be.
    let text = "x".repeat(5 << 20);
    let Event::ImageReady { image } = send(query, rootfs(&text)).await else { panic!("no image") };
    assert_eq!((&*image.name, &*image.description), ("team/app", "mine own"));
    // Refused before the body is of any use, and read to its end all the same.
    let Event::Failed { problem } = send(query, rootfs(&text)).await else { panic!("an image") };
    assert_eq!(problem.code, Code::AlreadyExists);
    place.daemon.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_upload_with_it() {
    let place = Place::new().await;
    let mut stream = UnixStream::connect(place.env.paths.daemon_socket()).await.unwrap();
    let head = "POST /v1/images/upload?name=mine HTTP/1.1\r\nhost: banger\r\n\
                content-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&rootfs("one")).await.unwrap();
    let work = place.env.paths.images_dir().join(".work");
    let busy = || fs_err::read_dir(&work).is_ok_and(|entries| entries.count() > 0);
    let ask = || place.daemon.client.get::<DaemonStatus>("/v1/daemon");
    in_time(async {
        while !busy() {
            ask().await;
        }
    })
    .await;
    drop(stream);
    in_time(async {
        while busy() {
            ask().await;
        }
    })
    .await;
    let list: ImageList = place.daemon.client.get("/v1/images").await;
    assert!(list.images.iter().all(|image| image.name != "mine"));
    place.daemon.stop().await;
}

#[tokio::test]
async fn a_file_of_ones_own_is_registered_and_promoted() {
    let place = Place::new().await;
    let image = place.import("one").await.unwrap();
    let own = place.env.dir().join("own.ext4");
    fs_err::copy(file(&image), &own).unwrap();
    let register = async |path: &PathBuf| {
        let asked = serde_json::json!({ "name": "own", "rootfs": path });
        place.daemon.client.call(Method::POST, "/v1/images/register", asked).await
    };
    let text = place.env.dir().join("rootfs.tar");
    let refused = register(&text).await.problem();
    assert_eq!(refused.code, Code::BadRequest);
    assert_eq!(refused.causes, ["it has no ext4 superblock"]);
    let view: ImageView = register(&own).await.ok();
    assert!(view.registered && view.digest.is_none());
    let asked = CreateVm { image: Some("own".into()), ..named("web") };
    place.daemon.client.events("/v1/vms", asked).await.ready().await;
    let promoted = place.events("/v1/images/own/promote", serde_json::json!({})).await.unwrap();
    assert!(!promoted.registered && promoted.digest.is_some());
    // The VM keeps what it was made from.
    let shown: ImageDetails = place.call(Method::GET, "/v1/images/own").await;
    assert!(shown.vms.is_empty());
    create(&place.daemon, "other").await;
    fs_err::rename(&own, place.env.dir().join("hidden")).unwrap();
    place.call::<serde_json::Value>(Method::POST, "/v1/vms/web/stop").await;
    let mut started = place.daemon.client.events("/v1/vms/web/start", ()).await;
    assert_eq!(started.failed().await.message, "the image that this VM was made from is gone");
    place.daemon.stop().await;
}
