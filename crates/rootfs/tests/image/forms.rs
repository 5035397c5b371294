//! The forms that archives come in, where they can be had made by GNU tar.

use std::path::Path;
use std::process::Command;

use banger_rootfs::layers::Layer;
use banger_rootfs::tree::Limits;
use tar::EntryType;

use super::image::{Image, image, image_of, refusal};
use super::tar::{Tar, header};

/// An image of the archive that GNU tar makes of `directory`.
fn packed(directory: &Path, options: &[&str]) -> Image {
    let place = tempfile::tempdir().unwrap();
    let archive = place.path().join("made.tar");
    let status = Command::new("tar")
        .args(options)
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(directory)
        .arg(".")
        .status()
        .expect("GNU tar is needed by this test");
    assert!(status.success());
    image_of(place, &[Layer::of_file(archive)], Limits::default()).unwrap()
}

#[test]
fn sparse_files_in_all_forms_keep_their_holes() {
    use std::os::unix::fs::FileExt;
    let place = tempfile::tempdir().unwrap();
    let size = 5 << 20;
    let many = std::fs::File::create(place.path().join("many")).unwrap();
    many.set_len(size).unwrap();
    // More pieces than fit into one header block, and than fit into an inode.
    for piece in 0..60 {
        many.write_all_at(&[b'a' + u8::try_from(piece % 20).unwrap(); 5000], piece * 80_000)
            .unwrap();
    }
    let hole = std::fs::File::create(place.path().join("hole")).unwrap();
    hole.set_len(size + 123).unwrap();
    let end = std::fs::File::create(place.path().join("end")).unwrap();
    end.write_all_at(b"end", size).unwrap();
    std::fs::write(place.path().join("full"), [7; 9000]).unwrap();
    for options in [
        &["--format=gnu", "--sparse"][..],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
    ] {
        let image = packed(place.path(), options);
        for name in ["many", "hole", "end", "full"] {
            let expected = std::fs::read(place.path().join(name)).unwrap();
            assert!(image.cat(name) == expected, "{name}, {options:?}");
        }
        // Blocks of 512 bytes that the file system keeps for it: nothing but what was written.
        let stat = String::from_utf8(image.debugfs("stat /many")).unwrap();
        let blocks: u64 = stat
            .split("Blockcount: ")
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(blocks < 60 * 5 * 8, "{blocks}, {options:?}");
        let stat = String::from_utf8(image.debugfs("stat /hole")).unwrap();
        assert!(stat.contains("Blockcount: 0"), "{stat}");
    }
}

#[test]
fn names_and_attributes_in_the_forms_of_gnu_tar() {
    let place = tempfile::tempdir().unwrap();
    let deep = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    std::fs::create_dir(place.path().join("d".repeat(120))).unwrap();
    std::fs::write(place.path().join(&deep), "deep").unwrap();
    std::fs::hard_link(place.path().join(&deep), place.path().join("again")).unwrap();
    std::os::unix::fs::symlink(&deep, place.path().join("link")).unwrap();
    for format in ["gnu", "pax", "oldgnu"] {
        let image = packed(place.path(), &[&format!("--format={format}"), "--owner=:5000000"]);
        assert_eq!(image.cat(&deep), b"deep", "{format}");
        assert_eq!(image.get("again").inode, image.get(&deep).inode, "{format}");
        assert_eq!(image.cat("link"), deep.as_bytes(), "{format}");
        assert_eq!(image.get("again").owner.0, 5_000_000, "{format}");
    }
    std::fs::remove_dir_all(place.path().join("d".repeat(120))).unwrap();
    std::fs::write(place.path().join("in-prefix"), "x").unwrap();
    let long = format!("{}/{}", "p".repeat(90), "n".repeat(90));
    std::fs::create_dir(place.path().join("p".repeat(90))).unwrap();
    std::fs::write(place.path().join(&long), "ustar").unwrap();
    std::fs::remove_file(place.path().join("link")).unwrap();
    std::fs::remove_file(place.path().join("again")).unwrap();
    assert_eq!(packed(place.path(), &["--format=ustar"]).cat(&long), b"ustar");
    std::fs::remove_dir_all(place.path().join("p".repeat(90))).unwrap();
    assert_eq!(packed(place.path(), &["--format=v7"]).cat("in-prefix"), b"x");
}

#[test]
fn pax_headers_come_before_what_they_are_about() {
    let mut wrong_size = header(EntryType::Regular, 0o644);
    wrong_size.set_size(0);
    wrong_size.set_cksum();
    let mut name = wrong_size.clone();
    name.as_old_mut().name[..5].copy_from_slice(b"sized");
    name.set_cksum();
    let mut padded = b"contents".to_vec();
    padded.resize(512, 0);
    let image = image([Tar::new()
        // What is said about all that follow, which each may say otherwise.
        .entry(
            header(EntryType::XGlobalHeader, 0),
            b"global",
            b"",
            b"14 mtime=7.25\n15 path=global\n12 uid=4000\n",
        )
        .file("one", "1")
        .pax_all(&[("mtime", b"9"), ("uid", b"5")])
        .file("two", "2")
        // A size that does not fit into the header.
        .pax("size", "8")
        .raw(name.as_bytes())
        .raw(&padded)
        // A long name between the header and its entry, and an empty value, which says nothing.
        .pax_all(&[("path", b""), ("gid", b"6")])
        .file("x".repeat(150), "3")]);
    let list = image.list();
    let of = |name: &str| (list[name.as_bytes()].mtime, list[name.as_bytes()].owner);
    assert_eq!(of("one"), ((7, 250_000_000), (4000, 100)));
    assert_eq!(of("two"), ((9, 0), (5, 100)));
    assert_eq!(list[&b"sized"[..]].contents, b"contents");
    assert_eq!(of(&"x".repeat(150)).1, (4000, 6));
}

#[test]
fn old_archives_and_odd_entries() {
    let mut sized_directory = header(EntryType::Directory, 0o755);
    sized_directory.set_size(4096);
    let mut sized_link = header(EntryType::Link, 0o644);
    sized_link.set_size(1);
    let mut old = header(EntryType::Regular, 0o755);
    old.as_old_mut().linkflag = [0];
    let socket = header(EntryType::Regular, 0o140_755);
    let typed = header(EntryType::Regular, 0o100_640);
    let contiguous = header(EntryType::Continuous, 0o644);
    let label = header(EntryType::new(b'V'), 0o644);
    let image = image([Tar::new()
        .entry(label, b"label", b"", b"")
        // A directory by its name only.
        .entry(old, b"directory/", b"", b"")
        // Sizes without contents, as some programs write them.
        .entry(sized_directory, b"sized", b"", b"")
        .file("target", "x")
        .entry(sized_link, b"link", b"target", b"")
        .entry(socket, b"socket", b"", b"")
        .entry(typed, b"typed", b"", b"t")
        .entry(contiguous, b"contiguous", b"", b"c")]);
    assert_eq!(image.names(), ["contiguous", "directory", "link", "sized", "target", "typed"]);
    assert_eq!((image.get("directory").kind, image.get("typed").mode), ('d', 0o640));
    assert_eq!((image.cat("contiguous"), image.get("link").links), (b"c".to_vec(), 2));

    let unknown = Tar::new().entry(header(EntryType::new(b'Z'), 0o644), b"odd", b"", b"");
    assert_eq!(
        refusal([unknown]),
        "cannot use layer `1`: `odd` is of a kind that is not supported: type `Z`"
    );
}
