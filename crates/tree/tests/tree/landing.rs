//! Where copies go, and what becomes of what is there.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use banger_tree::{Links, Source, Top};

use crate::rig::{DIRECTORY, FILE, LINK, Place, SYMLINK, archive, open, packed};

fn tree() -> Vec<u8> {
    archive(&[(DIRECTORY, "site", "", b""), (FILE, "site/page", "", b"page")])
}

fn file() -> Vec<u8> {
    archive(&[(FILE, "page", "", b"page")])
}

#[test]
fn a_copy_goes_into_a_directory_or_takes_its_name() {
    let named = || Top::Named("mine".into());
    let cases: [(&str, Vec<u8>, Top, &[&str]); 9] = [
        ("", tree(), Top::OfArchive, &["old/", "site/", "site/page"]),
        ("old", tree(), Top::OfArchive, &["old/", "old/site/", "old/site/page"]),
        ("old", tree(), named(), &["old/", "old/mine/", "old/mine/page"]),
        ("old/", tree(), Top::Contents, &["old/", "old/page"]),
        ("old/.", tree(), Top::OfArchive, &["old/", "old/site/", "old/site/page"]),
        ("new", tree(), named(), &["new/", "new/page", "old/"]),
        ("new/", tree(), Top::Contents, &["new/", "new/page", "old/"]),
        ("new", file(), named(), &["new", "old/"]),
        ("old", file(), Top::OfArchive, &["old/", "old/page"]),
    ];
    for (path, tar, top, expected) in cases {
        let place = Place::new();
        std::fs::create_dir(place.at("old")).unwrap();
        place.land(&tar, path, &top).unwrap();
        assert_eq!(place.names(), expected, "{path:?} {top:?}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let cases: [(&str, Vec<u8>, Top); 7] = [
        ("missing/new", tree(), Top::OfArchive),
        ("missing/new", file(), Top::OfArchive),
        ("new/", file(), Top::OfArchive),
        // A file has no contents that could be merged.
        ("old", file(), Top::Contents),
        ("file/x", file(), Top::OfArchive),
        ("file", tree(), Top::OfArchive),
        ("full", file(), Top::OfArchive),
    ];
    for (path, tar, top) in cases {
        let place = Place::new();
        std::fs::create_dir(place.at("old")).unwrap();
        std::fs::create_dir_all(place.at("full/page/inner")).unwrap();
        std::fs::write(place.at("file"), "file").unwrap();
        let before = place.names();
        place.land(&tar, path, &top).unwrap_err();
        assert_eq!(place.names(), before, "{path}");
    }
}

#[test]
fn directories_are_merged_and_files_replaced_at_once() {
    let place = Place::new();
    std::fs::create_dir(place.at("site")).unwrap();
    std::fs::set_permissions(place.at("site"), PermissionsExt::from_mode(0o750)).unwrap();
    std::fs::write(place.at("site/page"), "old").unwrap();
    std::fs::write(place.at("site/other"), "other").unwrap();
    symlink("nowhere", place.at("site/link")).unwrap();
    let mut old = std::fs::File::open(place.at("site/page")).unwrap();

    let tar = archive(&[
        (DIRECTORY, "site", "", b""),
        (FILE, "site/page", "", b"new"),
        (FILE, "site/link", "", b"a file now"),
        (SYMLINK, "site/made", "page", b""),
        (LINK, "site/same", "site/page", b""),
        // A second time: both names are of one file already.
        (LINK, "site/same", "site/page", b""),
    ]);
    place.land(&tar, "", &Top::OfArchive).unwrap();
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old", "whoever reads the old file goes on reading it");
    assert_eq!(std::fs::read_to_string(place.at("site/page")).unwrap(), "new");
    assert_eq!(std::fs::read_to_string(place.at("site/link")).unwrap(), "a file now");
    let stat = |name: &str| place.at(name).symlink_metadata().unwrap();
    assert_eq!(stat("site").mode() & 0o7777, 0o750, "it was there, and is as it was");
    // Set-id bits are not among those that are kept here.
    assert_eq!(stat("site/page").mode() & 0o7777, 0o755);
    assert_eq!((stat("site/page").mtime(), stat("site/page").nlink()), (1_000_000_000, 2));
    assert_eq!(
        place.names(),
        ["site/", "site/link", "site/made", "site/other", "site/page", "site/same"]
    );
}

#[test]
fn a_link_as_the_destination_has_to_be_meant() {
    let place = Place::new();
    std::fs::create_dir(place.at("real")).unwrap();
    symlink("real", place.at("link")).unwrap();
    place.land(&tree(), "link", &Top::OfArchive).unwrap_err();
    assert_eq!(place.names(), ["link", "real/"]);
    place.land(&tree(), "link/", &Top::OfArchive).unwrap();
    place.land_with(&file(), "link", &Top::OfArchive, Links::Followed).unwrap();
    assert_eq!(place.names(), ["link", "real/", "real/page", "real/site/", "real/site/page"]);

    // A link to anything else is replaced.
    symlink("../victim", place.at("out")).unwrap();
    symlink("nowhere", place.at("dangling")).unwrap();
    for name in ["out", "dangling"] {
        place.land(&file(), name, &Top::OfArchive).unwrap();
        assert!(place.at(name).symlink_metadata().unwrap().is_file());
    }
    place.names();
}

#[test]
fn a_source_is_named_as_it_was_written() {
    let place = Place::new();
    std::fs::create_dir(place.at("dir")).unwrap();
    std::fs::write(place.at("dir/file"), "").unwrap();
    symlink("dir", place.at("link")).unwrap();
    let names = |path: &str| {
        let tar = packed(&place.at("").join(path));
        let mut archive = tar::Archive::new(&*tar);
        let entries = archive.entries().unwrap();
        let name = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            entry.unwrap().path().unwrap().to_str().unwrap().to_owned()
        };
        entries.map(name).collect::<Vec<_>>()
    };
    assert_eq!(names("dir"), ["dir", "dir/file"]);
    assert_eq!(names("dir/"), ["dir", "dir/file"]);
    assert_eq!(names("dir/."), ["./", "file"]);
    assert_eq!(names("dir/file"), ["file"]);
    assert_eq!(names("link"), ["link"]);
    assert_eq!(names("link/"), ["link", "link/file"]);
    for missing in ["none", "none/", "dir/file/", "none/x"] {
        Source::find(&place.at("").join(missing), open).unwrap_err();
    }
}
