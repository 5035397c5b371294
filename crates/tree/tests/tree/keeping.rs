//! What a copy keeps: trees of every kind there and back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use banger_tree::{PackError, Source, Top, pack};
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::rig::{Place, open, packed};

/// Something in a tree.
#[derive(Debug, Clone)]
enum Node {
    File { data: Vec<u8>, mode: u32 },
    Link(OsString),
    Directory { inside: BTreeMap<OsString, (Node, i64, i64)>, mode: u32 },
}

fn name() -> impl Strategy<Value = OsString> {
    let any = proptest::collection::vec(
        any::<u8>().prop_map(|b| if matches!(b, 0 | b'/') { b'\n' } else { b }),
        1..30,
    );
    let long = (100usize..255).prop_map(|length| vec![b'l'; length]);
    prop_oneof![3 => any, 1 => long, 1 => Just(b"with space".to_vec())]
        .prop_filter("no name", |name| !matches!(&name[..], b"." | b".."))
        .prop_map(OsString::from_vec)
}

fn node() -> impl Strategy<Value = Node> {
    let file = (proptest::collection::vec(any::<u8>(), 0..2000), 0o400u32..0o1000)
        .prop_map(|(data, mode)| Node::File { data, mode: mode | 0o400 });
    let holes = (0usize..300_000).prop_map(|zeros| {
        let mut data = vec![0; zeros];
        data.push(1);
        data.extend(vec![0; zeros / 2]);
        Node::File { data, mode: 0o644 }
    });
    let link = proptest::collection::vec(1u8..=255, 1..300)
        .prop_map(|target| Node::Link(OsString::from_vec(target)));
    let leaf = prop_oneof![3 => file, 1 => holes, 1 => link];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let times = (inner, -10_000_000_000i64..10_000_000_000, 0i64..1_000_000_000);
        (proptest::collection::btree_map(name(), times, 0..6), 0o700u32..0o1000)
            .prop_map(|(inside, mode)| Node::Directory { inside, mode: mode | 0o500 })
    })
}

fn make(path: &Path, node: &Node, seconds: i64, nanos: i64) {
    let mode = match node {
        Node::File { data, mode } => {
            std::fs::write(path, data).unwrap();
            Some(*mode)
        }
        Node::Link(target) => {
            symlink(target, path).unwrap();
            None
        }
        Node::Directory { inside, mode } => {
            std::fs::create_dir(path).unwrap();
            for (name, (node, seconds, nanos)) in inside {
                make(&path.join(name), node, *seconds, *nanos);
            }
            Some(*mode)
        }
    };
    if let Some(mode) = mode {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

type Seen = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

/// All that a copy keeps of a tree.
fn look(top: &Path) -> Seen {
    fn walk(top: &Path, path: &Path, seen: &mut Seen) {
        let stat = path.symlink_metadata().unwrap();
        let contents = if stat.is_file() {
            std::fs::read(path).unwrap()
        } else if stat.is_symlink() {
            std::fs::read_link(path).unwrap().into_os_string().into_vec()
        } else {
            for entry in std::fs::read_dir(path).unwrap() {
                walk(top, &entry.unwrap().path(), seen);
            }
            Vec::new()
        };
        let short = path.strip_prefix(top).unwrap().to_owned();
        seen.insert(short, (stat.mode(), stat.mtime(), stat.mtime_nsec(), contents));
    }
    let mut seen = Seen::new();
    walk(top, top, &mut seen);
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_the_same_at_the_other_end(node in node(), seconds in -5i64..2_000_000_000) {
        let (from, to) = (Place::new(), Place::new());
        make(&from.at("top"), &node, seconds, 1);
        let tar = packed(&from.at("top"));
        to.land(&tar, "new", &Top::OfArchive).unwrap();
        prop_assert_eq!(look(&from.at("top")), look(&to.at("new")));
        to.names();
    }
}

#[test]
fn what_is_no_file_is_left_out_and_told() {
    let place = Place::new();
    std::fs::create_dir(place.at("top")).unwrap();
    rustix::fs::mknodat(CWD, place.at("top/pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.at("top/socket")).unwrap();
    std::fs::write(place.at("top/file"), "file").unwrap();
    std::fs::hard_link(place.at("top/file"), place.at("top/same")).unwrap();
    let mut tar = Vec::new();
    let copied = pack(&Source::find(&place.at("top"), open).unwrap(), &mut tar).unwrap();
    assert_eq!((copied.entries, copied.bytes), (3, 8));
    assert_eq!(
        copied.notes,
        [
            "`top/pipe`: it is a pipe, which is not copied",
            "`top/socket`: it is a socket, which is not copied"
        ]
    );
    let to = Place::new();
    to.land(&tar, "", &Top::OfArchive).unwrap();
    assert_eq!(to.names(), ["top/", "top/file", "top/same"]);
}

#[test]
fn notes_have_an_end() {
    let place = Place::new();
    std::fs::create_dir(place.at("top")).unwrap();
    for number in 0..50 {
        let path = place.at(&format!("top/{number}-{}", "n".repeat(240)));
        rustix::fs::mknodat(CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }
    let source = Source::find(&place.at("top"), open).unwrap();
    let copied = pack(&source, std::io::sink()).unwrap();
    assert_eq!((copied.notes.len(), &*copied.notes[20]), (21, "and 30 more"));
    assert!(copied.notes.iter().all(|note| note.len() < 300), "{:?}", copied.notes);
}

#[test]
fn zeros_become_holes() {
    let (from, to) = (Place::new(), Place::new());
    let file = std::fs::File::create(from.at("file")).unwrap();
    file.set_len(20 << 20).unwrap();
    to.land(&packed(&from.at("file")), "", &Top::OfArchive).unwrap();
    let stat = to.at("file").metadata().unwrap();
    assert_eq!(stat.len(), 20 << 20);
    assert!(stat.blocks() < 100, "{} blocks", stat.blocks());
}

#[test]
fn a_stream_that_could_not_be_read_to_the_end_has_none() {
    let place = Place::new();
    std::fs::create_dir(place.at("top")).unwrap();
    std::fs::write(place.at("top/a"), "a").unwrap();
    let source = Source::find(&place.at("top"), open).unwrap();
    std::fs::rename(place.at("top"), place.at("moved")).unwrap();
    let mut tar = Vec::new();
    let error = pack(&source, &mut tar).unwrap_err();
    assert!(matches!(&error, PackError::Read { name, .. } if name == "top"), "{error:?}");
    assert!(tar.is_empty(), "an end would make it a whole archive of nothing");
}

#[test]
fn a_file_is_as_long_as_it_says_and_what_is_more_is_told() {
    let source = Source::find(Path::new("/proc/self/status"), open).unwrap();
    let copied = pack(&source, std::io::sink()).unwrap();
    assert_eq!((copied.entries, copied.bytes), (1, 0));
    assert!(copied.notes[0].starts_with("`status`: it was longer"), "{:?}", copied.notes);
}
