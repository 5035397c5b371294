//! Images as the engine sees them, in an empty place, on a host on which nothing is installed.

use std::io;

use banger_fetch::{AuthFiles, Network, Retry};
use banger_proto::Code;
use banger_rootfs::bundle::write_bundle;
use banger_rootfs::digest::{render_hex, sha256};
use futures_util::stream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::archive::tests::{Saved, Tar};
use super::*;
use crate::fetcher::CredentialHelpers;

/// What reaches no registry: its proxy is a port that nobody listens at.
fn unreachable(cache: &std::path::Path) -> Fetcher {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let network = Network {
        https_proxy: Some(format!("http://127.0.0.1:{port}")),
        retry: Retry { attempts: 1, ..Retry::default() },
        ..Network::default()
    };
    let helpers = CredentialHelpers::from_env(HostEnv::from_env(|_| None), |_| None);
    Fetcher::new(network, AuthFiles::none(), helpers, cache)
}

struct Place {
    dir: tempfile::TempDir,
    images: Images,
    directory: PathBuf,
}

impl Place {
    fn new() -> Self {
        Self::with_catalog(None)
    }

    /// With a catalog of these entries.
    fn with_catalog(entries: Option<serde_json::Value>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        let paths =
            Paths::from_env(|name| (name == "HOME").then(|| home.clone()), 1000, false).unwrap();
        let env = HostEnv::from_env(|name| (name == "PATH").then(|| "/nonexistent".into()));
        let url = entries.map(|entries| {
            let catalog = serde_json::json!({ "version": 1, "images": entries });
            let path = dir.path().join("catalog.json");
            fs_err::write(&path, catalog.to_string()).unwrap();
            format!("file://{}", path.display())
        });
        fs_err::create_dir_all(&paths.state_dir).unwrap();
        let images = Images::new(&paths, &env, &unreachable(&paths.cache_dir), url);
        Self { images, directory: paths.images_dir(), dir }
    }

    fn file(&self, name: &str, contents: &[u8]) -> String {
        let path = self.dir.path().join(name);
        fs_err::write(&path, contents).unwrap();
        path.display().to_string()
    }

    async fn import(&self, asked: ImportImage) -> Result<Image, Problem> {
        Ok(self.images.import(asked, &Progress::none()).await?)
    }

    /// What is in the directory of images, leaving out what is there for itself.
    fn files(&self) -> Vec<String> {
        let entries = fs_err::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }
}

fn asked(name: &str, path: &str) -> ImportImage {
    ImportImage {
        name: name.parse().unwrap(),
        path: Some(path.to_owned()),
        kernel: None,
        description: None,
        force: false,
    }
}

fn rootfs(text: &str) -> Vec<u8> {
    Tar::new().directory("etc/").file("etc/motd", text.as_bytes()).finish()
}

#[tokio::test]
async fn what_can_be_made_is_listed_and_not_found() {
    let place = Place::new();
    let listed = place.images.list().await.unwrap().images;
    let view = listed.iter().find(|view| view.name == "debian-bookworm").unwrap();
    assert!(!view.local && view.digest.is_none());
    assert_eq!(place.images.find("debian-bookworm").await.unwrap(), None);
}

#[tokio::test]
async fn unknown_ones_are_refused_with_names() {
    let place = Place::new();
    let outcome = place.images.ensure("debian-bokworm", false, &Progress::none()).await;
    let problem = Problem::from(outcome.unwrap_err());
    assert_eq!(problem.message, "cannot get image `debian-bokworm`");
    assert!(problem.causes[0].contains("docker.io"), "{problem:?}");
    assert_eq!(problem.hints[0], "Did you mean `debian-bookworm`?");
    let outcome = place.images.ensure("../../etc", false, &Progress::none()).await;
    assert!(matches!(outcome, Err(ImageError::Unknown { .. })));
}

#[tokio::test]
async fn a_missing_packaging_tool_is_named_and_nothing_stays() {
    let entry = serde_json::json!([{
        "name": "own", "distro": "debian", "arch": "amd64", "recipe": "debian-bookworm",
        "suite": "bookworm",
    }]);
    let place = Place::with_catalog(Some(entry));
    let outcome = place.images.ensure("own", false, &Progress::none()).await;
    let problem = Problem::from(outcome.unwrap_err());
    assert_eq!(problem.message, "cannot make image `own`");
    assert_eq!(
        problem.causes,
        ["`mmdebstrap` is not installed, which fetches and unpacks packages"]
    );
    assert_eq!(problem.hints, ["Install it: `sudo apt-get install mmdebstrap`."]);
    assert_eq!(place.images.find("own").await.unwrap(), None);
}

#[tokio::test]
async fn a_host_that_cannot_build_falls_back_and_says_so() {
    let place = Place::new();
    let (events_to, mut events) = mpsc::unbounded_channel();
    let progress = Progress::new(events_to);
    place.images.ensure("debian-bookworm", false, &progress).await.unwrap_err();
    let mut notices = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let banger_proto::api::Event::Notice { text } = event {
            notices.push(text);
        }
    }
    let told = notices.iter().any(|text| text.ends_with("getting `debian:bookworm` instead."));
    assert!(told, "{notices:?}");
}

#[tokio::test]
async fn an_archive_becomes_an_image() {
    let place = Place::new();
    let tar = place.file("rootfs.tar", &rootfs("one"));
    let image = place.import(asked("mine", &tar)).await.unwrap();
    assert_eq!(image.description, "imported from rootfs.tar");
    assert_eq!(place.images.find("mine").await.unwrap(), Some(image.clone()));
    // Taken, unless it is to be replaced.
    let again = place.import(asked("mine", &tar)).await.unwrap_err();
    assert_eq!(again.code, Code::AlreadyExists);
    let other = place.file("other.tar", &rootfs("two"));
    let forced = ImportImage {
        force: true,
        kernel: Some("own".into()),
        description: Some("mine own".into()),
        ..asked("mine", &other)
    };
    let replaced = place.import(forced).await.unwrap();
    assert_ne!(replaced.digest, image.digest);
    assert_eq!((replaced.kernel_ref.as_deref(), &*replaced.description), (Some("own"), "mine own"));
    // The old file is kept for whoever uses it.
    assert!(image.path.is_file());
    let used = vec![image.path.clone()];
    let kept = place.images.collect(move || Ok(Some(used))).await.unwrap();
    assert_eq!(kept.files, 0);
    assert_eq!(place.images.collect(|| Ok(None)).await.unwrap().files, 0);
    assert_eq!(place.images.collect(|| Ok(Some(vec![]))).await.unwrap().files, 1);
    assert!(!image.path.exists() && replaced.path.is_file());
}

#[tokio::test]
async fn an_archive_may_come_as_bytes() {
    let place = Place::new();
    let tar = rootfs("one");
    let chunks = |bytes: &[u8]| -> Vec<io::Result<Bytes>> {
        bytes.chunks(700).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect()
    };
    let request = ImportImage { path: None, ..asked("team/app:1", "") };
    let mut body = stream::iter(chunks(&tar));
    let image = place.images.receive(request.clone(), &mut body, &Progress::none()).await.unwrap();
    assert_eq!((&*image.name, &*image.description), ("team/app:1", "imported from standard input"));
    let mut cut = chunks(&tar);
    cut.truncate(2);
    cut.push(Err(io::Error::other("connection lost")));
    let request = ImportImage { force: true, ..request };
    let mut body = stream::iter(cut);
    let broken = place.images.receive(request, &mut body, &Progress::none()).await;
    assert_eq!(broken.unwrap_err().to_string(), "cannot receive the archive");
    assert_eq!(place.images.find("team/app:1").await.unwrap(), Some(image));
}

#[tokio::test]
async fn a_hostile_archive_leaves_nothing() {
    let place = Place::new();
    let bad = Tar::new().file("../x", b"").file("manifest.json", b"[]").finish();
    let path = place.file("bad.tar", &bad);
    let problem = place.import(asked("bad", &path)).await.unwrap_err();
    assert_eq!(problem.message, "cannot import image `bad`");
    assert_eq!(
        problem.causes,
        [format!("`../x` in `{path}` is a name that leads out of the archive")]
    );
    assert_eq!(place.files(), Vec::<String>::new());
    let relative = place.import(asked("bad", "bad.tar")).await.unwrap_err();
    assert_eq!(relative.message, "path `bad.tar` is not absolute");
    let kernel = ImportImage { kernel: Some("../k".into()), ..asked("bad", &path) };
    assert_eq!(place.import(kernel).await.unwrap_err().code, Code::BadRequest);
}

#[tokio::test]
async fn an_image_in_a_layout_keeps_its_configuration() {
    let place = Place::new();
    let path = place.file("app.tar", &Saved::layout().tar());
    let image = place.import(asked("app", &path)).await.unwrap();
    assert_eq!(image.run.cmd, ["/app"]);
    assert_eq!(image.description, "imported from team/app:1 in app.tar");
    let view = place.images.view("app").await.unwrap().unwrap();
    assert_eq!(view.run, image.run);
}

#[tokio::test]
async fn names_that_say_the_same_are_the_same() {
    assert!(Images::same_name("alpine", "alpine:latest"));
    assert!(Images::same_name("x", "x"));
    assert!(!Images::same_name("alpine:3", "alpine"));
    assert!(!Images::same_name("../x", "../y"));
}

#[tokio::test]
async fn a_registered_file_stays_where_it_is_until_promoted() {
    let place = Place::new();
    let tar = place.file("rootfs.tar", &rootfs("one"));
    let made = place.import(asked("made", &tar)).await.unwrap();
    let own = place.dir.path().join("own.ext4");
    fs_err::copy(&made.path, &own).unwrap();
    let request = RegisterImage {
        name: "own".parse().unwrap(),
        rootfs: own.display().to_string(),
        kernel: None,
        description: None,
        force: false,
    };
    let image = place.images.register(request.clone()).await.unwrap();
    assert_eq!((&image.path, &*image.digest), (&own, ""));
    let view = place.images.view("own").await.unwrap().unwrap();
    assert!(view.registered && !view.gone && view.local);
    assert!(matches!(place.images.register(request).await, Err(ImageError::Exists(_))));

    let hidden = place.dir.path().join("hidden");
    fs_err::rename(&own, &hidden).unwrap();
    let gone =
        Problem::from(place.images.ensure("own", false, &Progress::none()).await.unwrap_err());
    assert_eq!(gone.message, format!("the file of image `own` is gone: `{}`", own.display()));
    assert!(gone.hints[0].contains("banger image delete own"));
    assert!(place.images.view("own").await.unwrap().unwrap().gone);
    assert!(place.images.promote("own", &Progress::none()).await.is_err());
    fs_err::rename(&hidden, &own).unwrap();

    let promoted = place.images.promote("own", &Progress::none()).await.unwrap();
    assert!(promoted.path.starts_with(&place.directory));
    assert_eq!(fs_err::read(&promoted.path).unwrap(), fs_err::read(&own).unwrap());
    let again = place.images.promote("own", &Progress::none()).await;
    assert!(matches!(again, Err(ImageError::NotRegistered(_))));
    place.images.delete("own").await.unwrap();
    place.images.collect(|| Ok(Some(vec![]))).await.unwrap();
    assert!(own.is_file() && !promoted.path.exists());
}

#[tokio::test]
async fn a_bundle_is_made_and_got_by_the_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("rootfs.tar");
    fs_err::write(&tar, rootfs("one")).unwrap();
    let asked = MakeBundle {
        rootfs_tar: Some(tar),
        name: "golden".parse().unwrap(),
        distro: "debian".into(),
        arch: "amd64".into(),
        kernel_ref: Some("own".into()),
        description: "the golden one".into(),
        size: None,
        out: dir.path().join("out"),
    };
    let made = make_bundle(asked.clone(), CancellationToken::new()).await.unwrap();
    let name = made.path.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, format!("golden-{}.tar.zst", &made.sha256[..12]));
    assert_eq!(fs_err::metadata(&made.path).unwrap().len(), made.size);
    assert_eq!(make_bundle(asked.clone(), CancellationToken::new()).await.unwrap(), made);
    assert_eq!(fs_err::read_dir(&asked.out).unwrap().count(), 1);

    let entry = |sha256: &str, path: &std::path::Path| {
        let size = fs_err::metadata(path).unwrap().len();
        serde_json::json!([{
            "name": "golden", "distro": "debian", "arch": "amd64", "sha256": sha256,
            "size": size, "url": format!("file://{}", path.display()),
        }])
    };
    let place = Place::with_catalog(Some(entry(&made.sha256, &made.path)));
    let image = place.images.ensure("golden", false, &Progress::none()).await.unwrap();
    assert_eq!((image.kernel_ref.as_deref(), &*image.description), (Some("own"), "the golden one"));
    assert_eq!(register::check_ext4(&image.path).unwrap(), image.size.bytes());

    // Another digest than promised, and contents that are no image.
    let place = Place::with_catalog(Some(entry(&"00".repeat(32), &made.path)));
    let error = place.images.ensure("golden", false, &Progress::none()).await.unwrap_err();
    let causes = Problem::from(error).causes.join("; ");
    assert!(causes.contains(&format!("sha256:{}", made.sha256)), "{causes}");
    let (text, no_ext4) = (dir.path().join("m"), dir.path().join("r"));
    let manifest = r#"{"name":"golden","distro":"x","arch":"amd64"}"#;
    fs_err::write(&text, manifest).unwrap();
    fs_err::write(&no_ext4, "no file system").unwrap();
    let bad = dir.path().join("bad.tar.zst");
    let members = [("manifest.json", &*text), ("rootfs.ext4", &*no_ext4)];
    let written = write_bundle(&members, fs_err::File::create(&bad).unwrap()).unwrap();
    let place = Place::with_catalog(Some(entry(&render_hex(&written.sha256), &bad)));
    let error = place.images.ensure("golden", false, &Progress::none()).await.unwrap_err();
    assert!(Problem::from(error).message.ends_with("is no ext4 file system"));
    assert_eq!(place.files(), Vec::<String>::new());
    assert!(sha256(&mut fs_err::File::open(&made.path).unwrap()).is_ok());
}

#[tokio::test]
async fn a_bundle_that_is_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("rootfs.tar");
    fs_err::write(&tar, rootfs("one")).unwrap();
    let asked = MakeBundle {
        rootfs_tar: Some(tar),
        name: "golden".parse().unwrap(),
        distro: "debian".into(),
        arch: "amd64".into(),
        kernel_ref: None,
        description: String::new(),
        size: None,
        out: dir.path().join("out"),
    };
    let stop = CancellationToken::new();
    stop.cancel();
    let problem = make_bundle(asked.clone(), stop).await.unwrap_err();
    assert!(problem.message.contains("cannot import") || problem.code == Code::Cancelled);
    let small = MakeBundle { size: Some(ByteSize::from_bytes(1)), ..asked.clone() };
    let problem = make_bundle(small, CancellationToken::new()).await.unwrap_err();
    assert!(problem.causes.iter().any(|cause| cause.contains("limit of 1 B")), "{problem:?}");
    assert_eq!(fs_err::read_dir(&asked.out).unwrap().count(), 0);
}
