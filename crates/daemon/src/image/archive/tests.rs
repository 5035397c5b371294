//! Archives made by hand, entry by entry, and what is found in them.

use std::io::Write;
use std::path::Path;

use banger_rootfs::digest::{render_hex, sha256};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::*;

/// A tar file being written; names are taken as they are.
pub(in crate::image) struct Tar(Vec<u8>);

impl Tar {
    pub(in crate::image) fn new() -> Self {
        Self(Vec::new())
    }

    pub(in crate::image) fn file(self, name: &str, contents: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, "", contents)
    }

    pub(in crate::image) fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    pub(in crate::image) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    pub(in crate::image) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    pub(in crate::image) fn device(self, name: &str) -> Self {
        self.entry(EntryType::Char, name, "", b"")
    }

    /// A name of so many bytes, as GNU tar writes it.
    pub(in crate::image) fn long_name(self, length: usize) -> Self {
        self.entry(EntryType::GNULongName, "././@LongLink", "", &vec![b'x'; length]).file("x", b"")
    }

    fn entry(mut self, kind: EntryType, name: &str, target: &str, contents: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(contents.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(contents);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(in crate::image) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(in crate::image) fn write(path: &Path, bytes: &[u8]) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, bytes).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    render_hex(&sha256(&mut &bytes[..]).unwrap())
}

pub(in crate::image) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let program = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut program = program.expect("gzip");
    let mut stdin = program.stdin.take().unwrap();
    let bytes = bytes.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = program.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output.stdout
}

/// An image with two layers as it is saved; every part can be spoilt before it is written.
pub(in crate::image) struct Saved {
    /// Names and contents.
    pub(in crate::image) parts: Vec<(String, Vec<u8>)>,
}

impl Saved {
    fn layers() -> [Vec<u8>; 2] {
        [
            Tar::new().directory("etc/").file("etc/motd", b"one\n").finish(),
            Tar::new().file("etc/motd", b"two\n").file("app", b"#!").finish(),
        ]
    }

    fn config(platform: (&str, &str)) -> Value {
        let diff_ids: Vec<_> =
            Self::layers().iter().map(|l| format!("sha256:{}", hex(l))).collect();
        json!({
            "os": platform.0, "architecture": platform.1,
            "config": { "Env": ["A=1"], "Cmd": ["/app"], "WorkingDir": "/etc" },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
    }

    /// An OCI layout for linux/amd64, with other platforms beside it.
    pub(in crate::image) fn layout() -> Self {
        let mut saved = Self { parts: Vec::new() };
        let layers: Vec<_> = Self::layers()
            .iter()
            .map(|layer| saved.blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(layer)))
            .collect();
        let config = Self::config(("linux", "amd64")).to_string();
        let config = saved.blob("application/vnd.oci.image.config.v1+json", config.as_bytes());
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut ours = saved.blob(kind, manifest.to_string().as_bytes());
        ours["platform"] = json!({ "os": "linux", "architecture": "amd64" });
        ours["annotations"] = json!({ "org.opencontainers.image.ref.name": "team/app:1" });
        // Saved without its blobs, as of an image for several platforms.
        let other = json!({
            "mediaType": kind, "size": 7, "digest": format!("sha256:{}", "00".repeat(32)),
            "platform": { "os": "linux", "architecture": "arm64" },
        });
        saved.index(&[other, ours]);
        saved.part("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// What older `docker save` wrote: the second layer a link to where it lies.
    pub(in crate::image) fn docker() -> Self {
        let config = Self::config(("linux", "amd64")).to_string();
        let name = format!("{}.json", hex(config.as_bytes()));
        let manifest = json!([{
            "Config": name, "RepoTags": ["app:1"], "Layers": ["a/layer.tar", "b/layer.tar"],
        }]);
        let [first, second] = Self::layers();
        Self { parts: Vec::new() }
            .part("a/layer.tar", &first)
            .part("b/layer.tar", &second)
            .part(&name, config.as_bytes())
            .part(docker::MANIFEST, manifest.to_string().as_bytes())
    }

    fn part(mut self, name: &str, contents: &[u8]) -> Self {
        self.parts.retain(|(other, _)| other != name);
        self.parts.push((name.to_owned(), contents.to_owned()));
        self
    }

    fn index(&mut self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        self.parts.retain(|(name, _)| name != layout::INDEX);
        self.parts.push((layout::INDEX.to_owned(), index.to_string().into_bytes()));
    }

    fn blob(&mut self, kind: &str, contents: &[u8]) -> Value {
        let digest = hex(contents);
        self.parts.push((format!("blobs/sha256/{digest}"), contents.to_owned()));
        json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": contents.len() })
    }

    fn without(mut self, name: &str) -> Self {
        let before = self.parts.len();
        self.parts.retain(|(other, _)| !other.contains(name));
        assert!(self.parts.len() < before, "there is no `{name}`");
        self
    }

    pub(in crate::image) fn tar(&self) -> Vec<u8> {
        let add = |tar: Tar, (name, contents): &(String, Vec<u8>)| tar.file(name, contents);
        self.parts.iter().fold(Tar::new().directory("blobs/"), add).finish()
    }

    fn read(&self) -> Result<Contents, String> {
        read(&self.tar())
    }
}

fn read_at(path: &Path) -> Result<Contents, String> {
    let work = tempfile::tempdir().unwrap();
    let read = read_archive(path, "a.tar", work.path(), &Cancelled::never());
    read.map_err(|error| error.to_string())
}

fn read(bytes: &[u8]) -> Result<Contents, String> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.tar");
    write(&path, bytes);
    read_at(&path)
}

fn assert_whole(contents: &Contents, saved_as: &str) {
    assert_eq!(contents.layers.len(), 2);
    assert_eq!(contents.saved_as.as_deref(), Some(saved_as));
    assert_eq!(contents.run.working_dir.as_deref(), Some("/etc"));
    assert_eq!(contents.run.cmd, ["/app"]);
    for (layer, tar) in contents.layers.iter().zip(Saved::layers()) {
        assert_eq!(layer.diff_id.map(|id| render_hex(&id)), Some(hex(&tar)));
    }
}

#[test]
fn a_layout_is_found_in_a_directory_and_in_a_tar() {
    let saved = Saved::layout();
    let contents = saved.read().unwrap();
    assert_whole(&contents, "team/app:1");
    assert!(contents.layers.iter().all(|layer| layer.range.is_some() && layer.digest.is_some()));
    let place = tempfile::tempdir().unwrap();
    for (name, contents) in &saved.parts {
        write(&place.path().join(name), contents);
    }
    assert_whole(&read_at(place.path()).unwrap(), "team/app:1");
}

#[test]
fn an_archive_of_docker_is_found() {
    assert_whole(&Saved::docker().read().unwrap(), "app:1");
    // The form with both: everything in the layout is named by its digest, so it counts.
    let mut both = Saved::docker();
    both.parts.extend(Saved::layout().parts);
    assert_whole(&both.read().unwrap(), "team/app:1");
}

#[test]
fn an_archive_may_be_compressed_as_a_whole() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.tar.gz");
    write(&path, &gzip(&Saved::layout().tar()));
    let work = place.path().join("work");
    fs_err::create_dir(&work).unwrap();
    let contents = read_archive(&path, "a.tar.gz", &work, &Cancelled::never()).unwrap();
    assert_whole(&contents, "team/app:1");
    assert!(contents.layers.iter().all(|layer| layer.path.starts_with(&work)));
}

#[test]
fn everything_else_is_a_root_file_system() {
    let tar =
        Tar::new().directory("./").file("./etc/motd", b"").file("./manifest.json", b"").finish();
    for bytes in [&tar, &gzip(&tar), &Tar::new().file("hello", b"").finish()] {
        let contents = read(bytes).unwrap();
        assert_eq!(contents.layers.len(), 1);
        assert_eq!((contents.layers[0].range.clone(), contents.layers[0].diff_id), (None, None));
    }
}

#[test]
fn what_is_missing_is_named() {
    let [first, _] = Saved::layers();
    let blob = format!("blobs/sha256/{}", hex(&gzip(&first)));
    let layout = Saved::layout().without(&blob).read().unwrap_err();
    assert_eq!(layout, format!("`{blob}` in `a.tar` is missing"));
    let docker = Saved::docker().without("b/layer.tar").read().unwrap_err();
    assert_eq!(docker, "`b/layer.tar` in `a.tar` is missing");
}

#[test]
fn wrong_digests_are_named() {
    for spoilt in 0..4 {
        let mut saved = Saved::layout();
        let (name, contents) = &mut saved.parts[spoilt];
        let last = contents.len() - 1;
        contents[last] ^= 1;
        let name = name.clone();
        let error = saved.read().unwrap_err();
        assert!(error.starts_with(&format!("`{name}` in `a.tar` has the SHA-256 ")), "{error}");
    }
    let mut saved = Saved::docker();
    saved.parts[2].1.push(b' ');
    assert!(saved.read().unwrap_err().contains("not the one it is named by"));
    let mut longer = Saved::layout();
    longer.parts[0].1.push(0);
    assert!(longer.read().unwrap_err().contains("bytes, not the"));
}

#[test]
fn documents_are_bounded_and_understood() {
    let giant = vec![b' '; (4 << 20) + 1];
    let error = Saved::layout().part(layout::INDEX, &giant).read().unwrap_err();
    assert!(error.ends_with("more than a document may have"), "{error}");
    let deep = "[".repeat(1 << 20);
    let error = Saved::layout().part(layout::INDEX, deep.as_bytes()).read().unwrap_err();
    assert_eq!(error, "cannot read `index.json` in `a.tar`");
    let error = Saved::docker().part(docker::MANIFEST, b"[]").read().unwrap_err();
    assert_eq!(error, "`a.tar` holds no image");
}

#[test]
fn the_image_that_is_meant_must_be_clear() {
    let mut saved = Saved::layout();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let digest = format!("sha256:{}", "00".repeat(32));
    let arm = json!({ "mediaType": kind, "size": 7, "digest": digest,
        "platform": { "os": "linux", "architecture": "arm64" } });
    saved.index(std::slice::from_ref(&arm));
    assert_eq!(
        saved.read().unwrap_err(),
        "`a.tar` holds no image for linux/amd64, but linux/arm64"
    );
    let one = json!({ "mediaType": kind, "size": 7, "digest": digest });
    let two =
        json!({ "mediaType": kind, "size": 7, "digest": format!("sha256:{}", "11".repeat(32)) });
    saved.index(&[one.clone(), two]);
    assert!(saved.read().unwrap_err().contains("holds several images, save one only: sha256:00"));
    // Twice the same is one, and proof of how it was built is none.
    let proof = json!({ "mediaType": kind, "size": 7, "digest": format!("sha256:{}", "22".repeat(32)),
        "annotations": { "vnd.docker.reference.type": "attestation-manifest" } });
    saved.index(&[one.clone(), one, proof]);
    assert!(saved.read().unwrap_err().ends_with("is missing"));
    let saved = json!([{ "Config": "a", "Layers": [] }, { "Config": "b", "Layers": [] }]);
    let error = Saved::docker().part(docker::MANIFEST, saved.to_string().as_bytes()).read();
    assert_eq!(error.unwrap_err(), "`a.tar` holds several images, save one only: a, b");
}

#[test]
fn hostile_names_lead_nowhere() {
    let manifest = |config: &str, layer: &str| {
        json!([{ "Config": config, "Layers": [layer] }]).to_string().into_bytes()
    };
    for (config, layer) in [("../../etc/passwd", "x"), ("/etc/passwd", "x")] {
        let error = Saved::docker().part(docker::MANIFEST, &manifest(config, layer)).read();
        assert_eq!(error.unwrap_err(), format!("`{config}` in `a.tar` is missing"));
    }
    let link = Tar::new().symlink("c.json", "/etc/passwd").file(docker::MANIFEST, b"[]").finish();
    assert!(read(&link).unwrap_err().contains("outside of the archive"));
    let twice = Tar::new().file(docker::MANIFEST, b"[]").file(docker::MANIFEST, b"[]").finish();
    assert_eq!(read(&twice).unwrap_err(), "`manifest.json` in `a.tar` is there twice");
    let device = Tar::new().device("c.json").file(docker::MANIFEST, b"[]").finish();
    assert_eq!(read(&device).unwrap_err(), "`c.json` in `a.tar` is a device file or a pipe");
}

#[test]
fn layers_and_configuration_must_agree() {
    let config = json!({ "os": "linux", "architecture": "amd64",
        "rootfs": { "type": "layers", "diff_ids": [] } });
    let manifest = json!([{ "Config": "c.json", "Layers": ["a/layer.tar"] }]);
    let error = Saved::docker()
        .part("c.json", config.to_string().as_bytes())
        .part(docker::MANIFEST, manifest.to_string().as_bytes())
        .read();
    assert_eq!(error.unwrap_err(), "`c.json` in `a.tar` tells of 0 layers, and there are 1");
}

#[test]
fn what_is_no_archive_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let error = read_at(place.path()).unwrap_err();
    assert_eq!(error, "`a.tar` is a directory without `index.json`");
    assert_eq!(
        read_at(Path::new("/dev/null")).unwrap_err(),
        "`a.tar` is neither a file nor a directory"
    );
    assert_eq!(read_at(&place.path().join("nope")).unwrap_err(), "cannot read `a.tar`");
    let text = read(b"a text that is no tar, however long it may be").unwrap_err();
    assert_eq!(text, "`a.tar` is no tar archive, nor a directory with an image");
}

#[test]
fn nobody_waits_for_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.tar");
    write(&path, &Saved::layout().tar());
    let token = tokio_util::sync::CancellationToken::new();
    token.cancel();
    let error = read_archive(&path, "a.tar", place.path(), &token.into()).unwrap_err();
    assert!(matches!(error, ArchiveError::Cancelled { .. }), "{error}");
}
