//! Trees: what is kept, and what hostile or broken streams cannot do.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use banger_proto::guest::frame::{DATA_CHUNK, Kind};
use banger_proto::guest::{Replace, Service, UnpackRequest, Unpacked};
use banger_proto::{Code, Problem};
use tar::{Builder, EntryType, Header};

use crate::host::{Stream, configured, within};

/// A place with a neighbour that no archive may touch.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("victim"), "untouched").unwrap();
        Self { directory }
    }

    fn tree(&self) -> PathBuf {
        self.directory.path().join("tree")
    }

    /// What is there besides the victim, which must be as it was.
    fn names(&self) -> Vec<String> {
        let victim = self.directory.path().join("victim");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(victim.metadata().unwrap().nlink(), 1);
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "victim")
            .collect()
    }

    async fn open(&self) -> Stream {
        self.open_as(None).await
    }

    async fn open_as(&self, replace: Option<Replace>) -> Stream {
        let context = configured().await;
        let directory = self.tree().to_str().unwrap().to_owned();
        Stream::open(&context, &Service::Unpack(UnpackRequest { directory, replace })).await
    }

    async fn unpack(&self, tar: &[u8]) -> Result<Unpacked, Problem> {
        let mut stream = self.open().await;
        stream.accepted::<serde_json::Value>().await;
        for chunk in zstd::encode_all(tar, 1).unwrap().chunks(DATA_CHUNK) {
            if stream.writer.send_bytes(Kind::Data, chunk).await.is_err() {
                break;
            }
        }
        let _ = stream.writer.send_bytes(Kind::End, &[]).await;
        let last = stream.next().await.unwrap();
        assert_eq!(stream.next().await, None);
        match last.kind {
            Kind::Event => Ok(last.parse().unwrap()),
            Kind::Refused => Err(last.parse().unwrap()),
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// An entry whose name goes into the archive as it is, unlike with the library's own checks.
fn entry(tar: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str, data: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(data.len() as u64);
    header.set_mtime(1_000_000_000);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    tar.append(&header, data).unwrap();
}

#[tokio::test]
async fn a_tree_is_kept_as_it_was() {
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    std::fs::create_dir_all(at("closed/inner")).unwrap();
    std::fs::write(at("closed/inner/program"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(at("closed/inner/program"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(at("secret"), "s").unwrap();
    std::fs::set_permissions(at("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::hard_link(at("secret"), at("same")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("outward")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\nodd");
    std::fs::write(source.path().join(odd), "odd").unwrap();
    let long = "l".repeat(200);
    std::fs::write(at(&long), vec![7; 3_000_000]).unwrap();
    let times = std::fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567));
    std::fs::File::open(at("closed")).unwrap().set_times(times).unwrap();
    std::fs::set_permissions(at("closed"), PermissionsExt::from_mode(0o555)).unwrap();

    let mut tar = Builder::new(Vec::new());
    tar.follow_symlinks(false);
    tar.append_dir_all(".", source.path()).unwrap();
    entry(&mut tar, EntryType::Link, "same-again", "secret", b"");
    let place = Place::new();
    let unpacked = place.unpack(&tar.into_inner().unwrap()).await.unwrap();
    assert_eq!((unpacked.entries, unpacked.bytes), (10, 3_000_015));

    let tree = place.tree();
    let stat = |name: &str| tree.join(name).symlink_metadata().unwrap();
    assert_eq!(stat("closed").mode() & 0o7777, 0o555);
    assert_eq!(stat("closed").mtime(), 1_234_567);
    assert_eq!(stat("closed/inner/program").mode() & 0o7777, 0o755);
    assert_eq!(stat("secret").mode() & 0o7777, 0o600);
    assert_eq!(stat("secret").ino(), stat("same-again").ino());
    assert_eq!(stat("secret").uid(), rustix::process::geteuid().as_raw());
    assert_eq!(std::fs::read_link(tree.join("outward")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(std::fs::read(tree.join(odd)).unwrap(), b"odd");
    assert_eq!(stat(&long).len(), 3_000_000);
    assert_eq!(place.names(), ["tree"]);
}

#[tokio::test]
async fn hostile_entries_lead_nowhere_and_leave_nothing() {
    use EntryType::{Char, Directory, Fifo, Link, Regular, Symlink};
    let hostile: &[&[(EntryType, &str, &str)]] = &[
        &[(Regular, "../victim", "")],
        &[(Regular, "a/../../victim", "")],
        &[(Regular, "/tmp/victim", "")],
        &[(Directory, "..", "")],
        &[(Directory, "a/..", "")],
        &[(Symlink, "out", ".."), (Regular, "out/victim", "")],
        &[(Symlink, "out", "/"), (Directory, "out/tmp/made", "")],
        &[(Directory, "d", ""), (Symlink, "d/up", ".."), (Regular, "d/up/../../victim", "")],
        &[(Symlink, "out", ".."), (Directory, "out", "")],
        &[(Link, "mine", "../victim")],
        &[(Symlink, "out", ".."), (Link, "mine", "out/victim")],
        &[(Link, "mine", "/etc/passwd")],
        &[(Link, "mine", "")],
        &[(Fifo, "pipe", "")],
        &[(Char, "null", "")],
        &[(Regular, ".", "")],
    ];
    for entries in hostile {
        let mut tar = Builder::new(Vec::new());
        for (kind, name, link) in *entries {
            let data: &[u8] = if *kind == Regular { b"evil" } else { b"" };
            entry(&mut tar, *kind, name, link, data);
        }
        let place = Place::new();
        let result = place.unpack(&tar.into_inner().unwrap()).await;
        assert!(result.is_err(), "{entries:?}");
        assert!(place.names().is_empty(), "{entries:?} left {:?}", place.names());
    }
}

#[tokio::test]
async fn a_link_to_a_file_is_replaced_not_followed() {
    let mut tar = Builder::new(Vec::new());
    entry(&mut tar, EntryType::Symlink, "file", "../victim", b"");
    entry(&mut tar, EntryType::Regular, "file", "", b"mine");
    let place = Place::new();
    place.unpack(&tar.into_inner().unwrap()).await.unwrap();
    assert_eq!(std::fs::read(place.tree().join("file")).unwrap(), b"mine");
    assert_eq!(place.names(), ["tree"]);
}

#[tokio::test]
async fn directories_that_are_not_listed_are_made() {
    let mut tar = Builder::new(Vec::new());
    entry(&mut tar, EntryType::Regular, "a/b/c", "", b"deep");
    let place = Place::new();
    place.unpack(&tar.into_inner().unwrap()).await.unwrap();
    assert_eq!(std::fs::read(place.tree().join("a/b/c")).unwrap(), b"deep");
}

#[tokio::test]
async fn an_existing_directory_is_not_touched() {
    let place = Place::new();
    std::fs::create_dir(place.tree()).unwrap();
    assert_eq!(place.open().await.refused().await.code, Code::AlreadyExists);
    std::fs::remove_dir(place.tree()).unwrap();
    std::os::unix::fs::symlink("nowhere", place.tree()).unwrap();
    assert_eq!(place.open().await.refused().await.code, Code::AlreadyExists);
    assert_eq!(place.names(), ["tree"]);
}

#[tokio::test]
async fn directories_that_cannot_be_are_refused() {
    let context = configured().await;
    for (directory, code) in [
        ("relative", Code::BadRequest),
        ("/", Code::BadRequest),
        ("/no/such/parent", Code::NotFound),
        ("/etc/passwd/below", Code::NotFound),
    ] {
        let service = Service::Unpack(UnpackRequest { directory: directory.into(), replace: None });
        let problem = Stream::open(&context, &service).await.refused().await;
        assert_eq!(problem.code, code, "{directory}");
    }
}

/// Sends part of a good stream, then what `end` says: nothing more, or an `End` frame.
async fn broken(cut: usize, end: bool) -> (Place, Option<Problem>) {
    broken_at(Place::new(), None, cut, end).await
}

async fn broken_at(
    place: Place,
    replace: Option<Replace>,
    cut: usize,
    end: bool,
) -> (Place, Option<Problem>) {
    let mut tar = Builder::new(Vec::new());
    for n in 0..50 {
        // Not compressible, so that a cut falls between entries of the archive.
        let data: Vec<u8> =
            (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ n).collect();
        entry(&mut tar, EntryType::Regular, &format!("file{n}"), "", &data);
    }
    let whole = zstd::encode_all(&tar.into_inner().unwrap()[..], 1).unwrap();
    let mut stream = place.open_as(replace).await;
    stream.accepted::<serde_json::Value>().await;
    let cut = whole.len() * cut / 10;
    stream.writer.send_bytes(Kind::Data, &whole[..cut]).await.unwrap();
    if end {
        stream.writer.send_bytes(Kind::End, &[]).await.unwrap();
    } else {
        stream.writer.shutdown().await.unwrap();
    }
    let last = within(stream.reader.next()).await.unwrap();
    (place, last.map(|frame| frame.parse().unwrap()))
}

#[tokio::test]
async fn a_truncated_stream_leaves_nothing() {
    for cut in [0, 1, 5, 9] {
        for end in [true, false] {
            let (place, problem) = broken(cut, end).await;
            assert!(problem.is_some(), "cut at {cut}/10 was taken for whole");
            assert!(place.names().is_empty(), "{:?}", place.names());
        }
    }
    // Everything but the announcement of the end.
    let (place, problem) = broken(10, false).await;
    assert_eq!(problem.map(|problem| problem.code), Some(Code::BadRequest));
    assert!(place.names().is_empty());
}

#[tokio::test]
async fn a_truncated_stream_leaves_the_older_tree() {
    for cut in [0, 1, 5, 9, 10] {
        let place = Place::new();
        std::fs::create_dir_all(place.tree().join(".git")).unwrap();
        std::fs::write(place.tree().join("file0"), "old").unwrap();
        let replace = Some(Replace { object_format: "sha1".to_owned() });
        let (place, problem) = broken_at(place, replace, cut, false).await;
        assert!(problem.is_some(), "cut at {cut}/10 was taken for whole");
        assert_eq!(std::fs::read_to_string(place.tree().join("file0")).unwrap(), "old");
        assert_eq!(place.names().len(), 1, "{:?}", place.names());
    }
}

#[tokio::test]
async fn garbage_is_no_archive() {
    let place = Place::new();
    assert!(place.unpack(&[0xaa; 5000]).await.is_err());
    assert!(place.names().is_empty());
}
