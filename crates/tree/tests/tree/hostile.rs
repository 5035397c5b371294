//! What a stream from somebody else cannot do.

use std::io::Write;

use banger_tree::{Destination, Room, Top, UnpackError, land};
use tar::EntryType;

use crate::rig::{DIRECTORY, FILE, LINK, Place, SYMLINK, archive};

type Entry = (EntryType, &'static str, &'static str, &'static [u8]);

const TOP: Entry = (DIRECTORY, "top", "", b"");

#[test]
fn nothing_gets_out_of_the_destination() {
    let cases: &[&[Entry]] = &[
        &[(FILE, "../victim", "", b"x")],
        &[(FILE, "/etc/passwd-of-nobody", "", b"x")],
        &[(FILE, "..", "", b"x")],
        &[(DIRECTORY, "../up", "", b"")],
        &[TOP, (FILE, "top/../../victim", "", b"x")],
        // Beside the top is outside, too.
        &[TOP, (FILE, "beside", "", b"x")],
        &[(FILE, "deep/file", "", b"x")],
        // Through links: its own, and over its top.
        &[TOP, (SYMLINK, "top/out", "../..", b""), (FILE, "top/out/victim", "", b"x")],
        &[TOP, (SYMLINK, "top/out", "../..", b""), (DIRECTORY, "top/out", "", b"")],
        &[TOP, (SYMLINK, "top/out", "/tmp", b""), (DIRECTORY, "top/out/new", "", b"")],
        &[(SYMLINK, "top", "..", b""), (FILE, "top/victim", "", b"x")],
        &[(SYMLINK, "top", "..", b""), (DIRECTORY, "top", "", b"")],
        // Hard links to what is no part of it.
        &[TOP, (LINK, "top/same", "../victim", b"")],
        &[TOP, (LINK, "top/same", "top/../../victim", b"")],
        &[TOP, (LINK, "top/same", "victim", b"")],
        &[TOP, (SYMLINK, "top/out", "../..", b""), (LINK, "top/same", "top/out/victim", b"")],
        // What a copy has not.
        &[TOP, (EntryType::Char, "top/null", "", b"")],
        &[TOP, (EntryType::Block, "top/disk", "", b"")],
        &[TOP, (EntryType::Fifo, "top/pipe", "", b"")],
        &[TOP, (EntryType::GNUSparse, "top/sparse", "", b"")],
        &[TOP, (SYMLINK, "top/empty", "", b"")],
        &[],
    ];
    for entries in cases {
        for top in [Top::OfArchive, Top::Named("mine".into()), Top::Contents] {
            let place = Place::new();
            place.land(&archive(entries), "", &top).unwrap_err();
            let names = place.names();
            assert!(!names.iter().any(|name| name.contains("partial")), "{names:?}");
            assert!(!names.iter().any(|name| name.contains("same")), "{entries:?} {names:?}");
        }
    }
}

#[test]
fn links_that_were_there_are_not_followed() {
    let place = Place::new();
    std::fs::create_dir(place.at("top")).unwrap();
    std::os::unix::fs::symlink("../..", place.at("top/out")).unwrap();
    let tar = archive(&[TOP, (FILE, "top/out/victim", "", b"x")]);
    let error = place.land(&tar, "", &Top::OfArchive).unwrap_err();
    assert!(matches!(&error, UnpackError::Entry { name, .. } if name == "top/out/victim"));
    place.names();
}

#[test]
fn an_archive_that_was_cut_is_an_error_wherever_that_was() {
    let whole =
        archive(&[TOP, (FILE, "top/file", "", &[7; 3000]), (FILE, "top/last", "", b"last")]);
    // Its end is two blocks of zeros, the second of which says nothing more.
    for length in (0..whole.len() - 1024).step_by(100).chain([whole.len() - 1024]) {
        let place = Place::new();
        let error = place.land(&whole[..length], "", &Top::OfArchive).unwrap_err();
        for name in place.names() {
            let path = place.at(&name);
            match &*name {
                "top/" => {}
                "top/file" => assert_eq!(std::fs::read(path).unwrap(), [7; 3000], "{error:?}"),
                "top/last" => assert_eq!(std::fs::read(path).unwrap(), b"last", "{error:?}"),
                other => panic!("`{other}` at {length}: {error:?}"),
            }
        }
    }
}

#[test]
fn a_description_without_end_is_not_stored() {
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut header = tar::Header::new_gnu();
        header.set_path("x").unwrap();
        header.set_entry_type(kind);
        header.set_size(1 << 40);
        header.set_cksum();
        let endless = std::io::Read::chain(&header.as_bytes()[..], std::io::repeat(b'a'));
        let place = Place::new();
        let destination = Destination::Directory(crate::rig::open(&place.here()).unwrap());
        let error = land(endless, destination, &Top::OfArchive, 0o777, Room::all()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("too great a length"), "{source}");
        assert!(place.names().is_empty());
    }
}

#[test]
fn an_endless_file_ends_before_the_disk_is_full() {
    let mut header = tar::Header::new_gnu();
    header.set_path("x").unwrap();
    header.set_size(1 << 60);
    header.set_mode(0o644);
    header.set_cksum();
    let place = Place::new();
    let stream = std::io::Read::chain(&header.as_bytes()[..], std::io::repeat(b'a'));
    let destination = Destination::Directory(crate::rig::open(&place.here()).unwrap());
    let error = land(stream, destination, &Top::OfArchive, 0o777, Room::none()).unwrap_err();
    assert!(error.is_full(), "{error:?}");
    assert!(place.names().is_empty(), "a part of it is still there");
}

#[test]
fn endless_entries_end_before_the_disk_is_full() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o755);
    header.set_entry_type(DIRECTORY);
    tar.append_data(&mut header, "top", &b""[..]).unwrap();
    header.set_entry_type(FILE);
    tar.append_data(&mut header, "top/same", &b""[..]).unwrap();
    let entries = tar.get_ref().clone();
    let (first, again) = entries.split_at(512);
    let stream = std::io::Read::chain(first, Again { bytes: again.to_vec(), at: 0 });
    let place = Place::new();
    let destination = Destination::Directory(crate::rig::open(&place.here()).unwrap());
    let error = land(stream, destination, &Top::OfArchive, 0o777, Room::none()).unwrap_err();
    assert!(error.is_full(), "{error:?}");
    assert_eq!(place.names(), ["top/", "top/same"]);
}

/// The same bytes for ever.
struct Again {
    bytes: Vec<u8>,
    at: usize,
}

impl std::io::Read for Again {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = (&self.bytes[self.at..]).read(buffer)?;
        self.at = (self.at + count) % self.bytes.len();
        Ok(count)
    }
}

#[test]
fn names_and_depths_that_no_system_has_are_errors() {
    let long = "x".repeat(300);
    let deep = format!("top/{}end", "d/".repeat(3000));
    for path in [format!("top/{long}"), deep, "top/d/".repeat(2000)] {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o755);
        header.set_entry_type(DIRECTORY);
        tar.append_data(&mut header, "top", &b""[..]).unwrap();
        header.set_entry_type(FILE);
        tar.append_data(&mut header, path, &b""[..]).unwrap();
        let place = Place::new();
        let error = place.land(&tar.into_inner().unwrap(), "", &Top::OfArchive).unwrap_err();
        assert!(matches!(error, UnpackError::Entry { .. }), "{error:?}");
        assert_eq!(place.names(), ["top/"]);
    }
}

#[test]
fn noise_is_no_archive() {
    let mut noise = Vec::new();
    for number in 0u32..4000 {
        noise.write_all(&number.wrapping_mul(2_654_435_761).to_le_bytes()).unwrap();
    }
    let place = Place::new();
    place.land(&noise, "", &Top::OfArchive).unwrap_err();
    assert!(place.names().is_empty());
}
