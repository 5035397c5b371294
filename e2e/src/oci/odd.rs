//! Everything a layer can hold, and everything a layer can do to those below it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tar::EntryType::{Block, Char};

use super::layer::{Layer, mode};
use super::sample::Recipe;
use super::tools::run;

/// `cap_net_raw+ep` (Linux, `uapi/linux/capability.h`, revision 2).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// `u::rw-,u:1000:r--,g::r--,m::rw-,o::r--` (Linux, `uapi/linux/posix_acl_xattr.h`).
const ACL: [(u16, u16, u32); 5] =
    [(1, 6, NOBODY), (2, 4, 1000), (4, 4, NOBODY), (0x10, 6, NOBODY), (0x20, 4, NOBODY)];
/// The id of the parts of a list that are about no one by name.
const NOBODY: u32 = u32::MAX;

/// Names that programs stumble over.
const NAMES: [&[u8]; 14] = [
    b"with space",
    b"trailing ",
    b"new\nline",
    b"tab\tand \x01 control",
    b"'single' \"double\" `back`",
    b"back\\slash",
    b"-rf",
    b"*?[a]$HOME;&|<>",
    b"..dots..",
    b".wh",
    "käse-\u{1f9c0}".as_bytes(),
    b"latin1-k\xe4se",
    b"\xff\xfe\xfd",
    b"bad-\xc3(-sequence",
];

pub(super) fn recipe(work: &Path) -> Recipe {
    let mut layers = vec![one(work), two(work), three(work)];
    layers.extend(sparse(work));
    Recipe::new(layers, &[("cmd", "/bin/sh")])
}

fn acl() -> Vec<u8> {
    let part = |(tag, allowed, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &allowed.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec(), ACL.into_iter().flat_map(part).collect()].concat()
}

fn one(work: &Path) -> PathBuf {
    let mut layer = Layer::lowest(work, "one");
    layer.directory("bin", &mode(0o755));
    super::small::add_busybox(&mut layer, &["sh", "ls", "cat"]);
    attributes(&mut layer);
    names(&mut layer);
    special_files(&mut layer);
    sizes(&mut layer);
    to_be_changed(&mut layer);
    layer.finish()
}

fn attributes(layer: &mut Layer) {
    layer.directory("modes", &mode(0o755));
    for bits in [0o000, 0o111, 0o600, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777] {
        layer.file(format!("modes/file-{bits:o}"), &mode(bits), b"x");
        layer.directory(format!("modes/dir-{bits:o}"), &mode(bits));
    }
    layer.directory("owners", &mode(0o755).owner(1, 2));
    for id in [1000, 65_534, 100_000, 2_097_152, 4_000_000_000] {
        layer.file(format!("owners/{id}"), &mode(0o4755).owner(id, id + 1), b"x");
        layer.symlink(format!("owners/link-{id}"), &mode(0o777).owner(id, id + 1), "x");
    }
    layer.directory("times", &mode(0o755).modified(1_000_000_000, 999_999_999));
    layer.file("times/nanoseconds", &mode(0o644).modified(1_234_567_890, 123_456_789), b"");
    layer.file("times/one-nanosecond", &mode(0o644).modified(0, 1), b"");
    layer.file("times/after-2038", &mode(0o644).modified(5_000_000_000, 5), b"");
    layer.symlink("times/link", &mode(0o777).modified(1_111_111_111, 111_111_111), "nanoseconds");
    layer.fifo("times/fifo", &mode(0o644).modified(1_222_222_222, 222_222_222));
    layer.file("times/before-1970", &mode(0o644).record("mtime", b"-1.5"), b"");

    layer.directory("xattrs", &mode(0o755).xattr("user.on-directory", b"yes"));
    let several = mode(0o644)
        .xattr("user.text", b"a \"quoted\" = text")
        .xattr("user.empty", b"")
        .xattr("user.binary", b"\0\n\xff=\n7 x=y\n")
        .xattr("user.long", &[b'l'; 300])
        .xattr("trusted.only-root", b"sees this");
    layer.file("xattrs/several", &several, b"x");
    layer.file("xattrs/block", &mode(0o644).xattr("user.block", &[7; 3000]), b"x");
    layer.file("xattrs/ping", &mode(0o755).xattr("security.capability", &CAPABILITY), b"x");
    layer.symlink("xattrs/link", &mode(0o777).xattr("trusted.link", b"l"), "several");
    let access = mode(0o664).xattr("system.posix_acl_access", &acl());
    layer.file("xattrs/shared", &access, b"x");
    let default = mode(0o755).xattr("system.posix_acl_default", &acl());
    layer.directory("xattrs/shared-dir", &default);
}

fn names(layer: &mut Layer) {
    layer.directory("names", &mode(0o755));
    for name in NAMES {
        layer.file([b"names/", name].concat(), &mode(0o644), name);
        layer.directory([b"names/dir-", name].concat(), &mode(0o755));
        layer.file([b"names/dir-", name, b"/", name].concat(), &mode(0o644), b"inside");
        layer.symlink([b"names/to-", name].concat(), &mode(0o777), name);
    }
    layer.file(format!("names/{}", "n".repeat(255)), &mode(0o644), b"as long as it gets");
    let deep = ["deep-directory-of-25-bytes"; 40];
    layer.directory("names/deep", &mode(0o755));
    for depth in 1..=deep.len() {
        layer.directory(format!("names/deep/{}", deep[..depth].join("/")), &mode(0o755));
    }
    layer.file(format!("names/deep/{}/file", deep.join("/")), &mode(0o644), b"deep");
    let path = format!("names/{}é", "in-an-extended-header-".repeat(8));
    layer.file("names/short", &mode(0o644).record("path", path.as_bytes()), b"long");
    // Up to 59 bytes stand in the inode, up to 100 in a tar's header.
    for length in [1, 58, 59, 60, 61, 99, 100, 101, 255, 1024, 4000] {
        layer.symlink(format!("names/target-{length}"), &mode(0o777), "t".repeat(length));
    }
    layer.directory("crowd", &mode(0o755));
    for number in 0..3000 {
        layer.file(format!("crowd/one-of-many-{number}"), &mode(0o644), b"");
    }
}

fn special_files(layer: &mut Layer) {
    layer.directory("special", &mode(0o755));
    layer.device("special/null", &mode(0o666), Char, (1, 3));
    layer.device("special/disk", &mode(0o660).owner(0, 6), Block, (8, 1));
    layer.device("special/large", &mode(0o600), Char, (300, 70_000));
    layer.device("special/largest", &mode(0o600), Block, (4095, 1_048_575));
    layer.fifo("special/fifo", &mode(0o622).owner(5, 6));

    layer.directory("links", &mode(0o755));
    layer.file("links/a", &mode(0o4755).owner(7, 8).xattr("user.x", b"y"), b"two names");
    layer.hard_link("links/b", "links/a", &mode(0o4755).owner(7, 8));
    layer.hard_link("modes/c", "links/b", &mode(0o4755).owner(7, 8));
    layer.symlink("links/symlink", &mode(0o777), "a");
    layer.hard_link("links/symlink-too", "links/symlink", &mode(0o777));
    layer.hard_link("links/fifo", "special/fifo", &mode(0o622).owner(5, 6));
    layer.hard_link("links/null", "special/null", &mode(0o666));
    layer.file("links/lower", &mode(0o644), b"a higher layer adds a name");
    layer.file("links/kept", &mode(0o644), b"a higher layer takes one name");
    layer.hard_link("links/taken", "links/kept", &mode(0o644));
    layer.file("links/old", &mode(0o644), b"a higher layer replaces one name");
    layer.hard_link("links/old-too", "links/old", &mode(0o644));
}

fn sizes(layer: &mut Layer) {
    layer.directory("sizes", &mode(0o755));
    for size in [0, 1, 59, 60, 61, 511, 512, 513, 4095, 4096, 4097, 1 << 20, (5 << 20) + 3] {
        let contents: Vec<u8> = (0..size).map(|at: u32| (at * 7 + at / 251) as u8).collect();
        layer.file(format!("sizes/{size}"), &mode(0o644), &contents);
    }
    // Written out in the tar, yet nothing but zeros.
    layer.file("sizes/zeros", &mode(0o644), &[0; 300_000]);
}

/// What the second and third layers change.
fn to_be_changed(layer: &mut Layer) {
    for dir in ["changes", "changes/opaque", "changes/opaque/below", "changes/whole"] {
        layer.directory(dir, &mode(0o755));
    }
    layer.directory("changes/same-dir", &mode(0o700));
    layer.file("changes/same-dir/kept", &mode(0o644), b"kept");
    for name in ["opaque/gone", "opaque/again", "opaque/below/gone", "whole/gone", "gone"] {
        layer.file(format!("changes/{name}"), &mode(0o644), b"of the first layer");
    }
    layer.symlink("changes/gone-link", &mode(0o777), "kept");
    layer.file("changes/back", &mode(0o644), b"removed, then there again");
    for kind in ["dir", "file", "link"] {
        for other in ["dir", "file", "link"] {
            add(layer, kind, &format!("changes/{kind}-to-{other}"), "1");
        }
    }
    layer.directory("changes/real", &mode(0o755));
    layer.symlink("changes/alias", &mode(0o777), "real");
    layer.symlink("changes/absolute", &mode(0o777), "/changes/real");
}

fn add(layer: &mut Layer, kind: &str, path: &str, version: &str) {
    match kind {
        "dir" => {
            layer.directory(path, &mode(0o755));
            layer.file(format!("{path}/inside-{version}"), &mode(0o644), version.as_bytes());
        }
        "file" => layer.file(path, &mode(0o644), version.as_bytes()),
        _ => layer.symlink(path, &mode(0o777), format!("target-{version}")),
    }
}

fn two(work: &Path) -> PathBuf {
    let mut layer = Layer::create(work, "two");
    for kind in ["dir", "file", "link"] {
        for other in ["dir", "file", "link"] {
            add(&mut layer, other, &format!("changes/{kind}-to-{other}"), "2");
        }
    }
    // Before and after the mark: it is about lower layers alone.
    layer.directory("changes/opaque", &mode(0o711));
    layer.file("changes/opaque/again", &mode(0o600), b"of the second layer");
    layer.opaque("changes/opaque");
    layer.file("changes/opaque/new", &mode(0o644), b"of the second layer");
    layer.whiteout("changes", "whole");
    layer.whiteout("changes", "gone");
    layer.whiteout("changes", "gone-link");
    layer.whiteout("changes", "back");
    layer.whiteout("changes", "never-was");
    layer.directory("changes/same-dir", &mode(0o750).owner(3, 4).modified(1_500_000_000, 5));
    layer.file("changes/same-dir/added", &mode(0o644), b"added");
    // Parents that are links lead where they do inside of the image.
    layer.file("changes/alias/through", &mode(0o644), b"through a link");
    layer.file("changes/absolute/through-too", &mode(0o644), b"through an absolute link");
    layer.hard_link("links/upper", "links/lower", &mode(0o644));
    layer.whiteout("links", "taken");
    layer.finish()
}

fn three(work: &Path) -> PathBuf {
    let mut layer = Layer::create(work, "three");
    layer.file("changes/back", &mode(0o600), b"back");
    layer.file("links/old", &mode(0o644), b"new, and alone");
    layer.hard_link("links/third", "links/upper", &mode(0o644));
    layer.finish()
}

/// Files with holes in every form that GNU tar has for them, a layer each; but for its oldest,
/// which `umoci` does not know.
fn sparse(work: &Path) -> Vec<PathBuf> {
    const FORMS: [(&str, &[&str]); 3] = [
        ("pax-0.0", &["--format=posix", "--sparse-version=0.0"]),
        ("pax-0.1", &["--format=posix", "--sparse-version=0.1"]),
        ("pax-1.0", &["--format=posix", "--sparse-version=1.0"]),
    ];
    let pack = |(form, options): (&str, &[&str])| {
        let dir = work.join(form);
        let inside = dir.join("sparse").join(form);
        fs::create_dir_all(&inside).expect("directory");
        write_with_holes(&inside.join("many-holes"), 64 << 20, 40);
        write_with_holes(&inside.join("end-in-a-hole"), (8 << 20) + 5, 1);
        write_with_holes(&inside.join("nothing-but-a-hole"), 1 << 20, 0);
        let tar = work.join(format!("{form}.tar"));
        let fixed = ["--sparse", "--owner=1000:1000", "--group=100:100", "--mtime=@1500000000"];
        let options = [options, &fixed, &["-C"]].concat();
        run("tar", &options, [dir.as_ref(), "-cf".as_ref(), tar.as_ref(), "sparse".as_ref()]);
        tar
    };
    FORMS.into_iter().map(pack).collect()
}

/// Writes `pieces` short texts into a file of `size` bytes.
fn write_with_holes(path: &Path, size: u64, pieces: u64) {
    let file = File::create_new(path).expect("file");
    file.set_len(size).expect("size");
    for piece in 0..pieces {
        let text = format!("piece {piece}").repeat(100);
        file.write_all_at(text.as_bytes(), piece * size / pieces + piece).expect("piece");
    }
}
