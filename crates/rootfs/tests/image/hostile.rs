//! Archives that mean harm. None of them can write outside of the image, since nothing is ever
//! unpacked; here is that they are refused by name, or mean what they mean inside of it.

use banger_rootfs::tree::Limits;
use tar::EntryType;

use super::image::{image, refusal, refusal_within, try_image};
use super::tar::{Tar, header};

fn why(tar: Tar) -> String {
    let why = refusal([Tar::new().file("fine", ""), tar]);
    why.strip_prefix("cannot use layer `2`: ").expect(&why).to_owned()
}

#[test]
fn dots_in_names_are_refused() {
    for name in ["../../etc/passwd", "a/../../b", "a/..", "..", "/.."] {
        assert_eq!(
            why(Tar::new().file(name, "")),
            format!("`{name}` is no usable name: it contains `..`")
        );
        assert_eq!(
            why(Tar::new().directory(name, 0o755)),
            format!("`{name}` is no usable name: it contains `..`")
        );
        assert_eq!(
            why(Tar::new().file("a", "").hard_link("shadow", name)),
            format!("`{name}` is no usable name: it contains `..`")
        );
    }
    assert_eq!(why(Tar::new().whiteout("../a")), "`../a` is no usable name: it contains `..`");
    assert_eq!(
        why(Tar::new().file("a/.wh...", "").opaque("../x")),
        "`../x/.wh..wh..opq` is no usable name: it contains `..`"
    );
}

#[test]
fn absolute_names_and_links_stay_inside() {
    let image = image([
        Tar::new()
            .file("/absolute", "")
            .symlink("escape", "/../../..")
            .symlink("up", "../../../etc")
            .file("escape/inside", "x"),
        Tar::new()
            .file("up/passwd", "y")
            .hard_link("copy", "/up/passwd")
            .device(EntryType::Char, "up/null", 1, 3)
            .device(EntryType::Fifo, "escape/fifo", 0, 0)
            .whiteout("escape/absolute"),
    ]);
    assert_eq!(
        image.names(),
        ["copy", "escape", "etc", "etc/null", "etc/passwd", "fifo", "inside", "up"]
    );
    assert_eq!(image.get("etc/passwd").inode, image.get("copy").inode);
}

#[test]
fn parents_that_are_no_directories_are_refused() {
    assert_eq!(
        why(Tar::new().file("a", "").file("a/b", "")),
        "`a/b` has a parent that is not a directory"
    );
    assert_eq!(
        why(Tar::new().device(EntryType::Char, "null", 1, 3).file("null/b", "")),
        "`null/b` has a parent that is not a directory"
    );
    let circle = Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "");
    assert!(why(circle).starts_with("`a/x` goes through too many symbolic links"));
}

#[test]
fn symlinks_that_multiply_end_soon() {
    // Each goes through the one before twice, and back to the root in between.
    let mut tar = Tar::new().symlink("l0", "d/".repeat(1000));
    for number in 1..30 {
        let before = format!("l{}", number - 1);
        tar = tar.symlink(format!("l{number}"), format!("{before}/{}{before}", "../".repeat(1000)));
    }
    let why = why(tar.file("l29/x", ""));
    assert!(why.starts_with("`l29/x` goes through too many"), "{why}");
}

#[test]
fn names_that_no_file_can_have_are_refused() {
    assert_eq!(
        why(Tar::new().pax("path", "a\0b").file("x", "")),
        "`a\\u{0}b` is no usable name: it contains a NUL"
    );
    let long = "n".repeat(256);
    assert!(why(Tar::new().file(&long, "")).ends_with("a component is longer than 255 bytes"));
    let long = "n/".repeat(2100);
    assert!(why(Tar::new().file(&long, "")).ends_with("it is longer than 4096 bytes"));
    assert_eq!(
        why(Tar::new().file("lost+found", "")),
        "`lost+found` is a name that ext4 keeps for a directory of its own"
    );
    let own = Tar::new().directory("lost+found", 0o711).file("lost+found/x", "");
    assert_eq!(image([own]).built.entries, 3);
    assert_eq!(
        why(Tar::new().entry(header(EntryType::Regular, 0o644), b".", b"", b"")),
        "`.` is no usable name: it is the root and not a directory"
    );
}

#[test]
fn devices_and_links_that_ext4_cannot_hold_are_refused() {
    assert_eq!(
        why(Tar::new().device(EntryType::Char, "dev/big", 9999, 0)),
        "`dev/big` has no usable device number"
    );
    assert_eq!(
        why(Tar::new().symlink("long", "x".repeat(4096))),
        "`long` has no usable link target of at most 4095 bytes"
    );
    assert_eq!(why(Tar::new().symlink("none", "")), "`none` has no usable link target");
    let link = |tar: Tar, number: u32| tar.hard_link(format!("l{number}"), "a");
    let links = (0..65_000).fold(Tar::new().file("a", ""), link);
    assert_eq!(why(links), "`l64999` is one more than the 65000 names that a file may have");
}

#[test]
fn bombs_end_at_the_limits() {
    let limits = Limits { entries: 10, text: 4000, bytes: 1000, unpacked: 100_000 };
    let why = |tar: Tar| {
        let why = refusal_within([tar], limits);
        why.strip_prefix("cannot use layer `1`: ").expect(&why).to_owned()
    };
    assert_eq!(
        why(Tar::new().file("a", [0; 600]).file("b", [0; 600])),
        "`b` takes the contents past the limit of 1000 B"
    );
    assert_eq!(
        why((0..20).fold(Tar::new(), |tar, number| tar.file(number.to_string(), ""))),
        "`9` is one more than the 10 entries that an image may have"
    );
    // The same name again and again is no way around it.
    assert_eq!(
        why((0..20).fold(Tar::new(), |tar, _| tar.file("same", ""))),
        "`same` is one more than the 10 entries that an image may have"
    );
    assert_eq!(
        why(Tar::new().file("a/b/c/d/e/f/g/h/i/j/k", "")),
        "`a/b/c/d/e/f/g/h/i/j/k` is one more than the 10 entries that an image may have"
    );
    assert_eq!(
        why(Tar::new().symlink("a", "x".repeat(2500)).symlink("b", "x".repeat(2500))),
        "`b` takes names, link targets and extended attributes past the limit of 3.9 KiB"
    );
    let many = (0..10).fold(Tar::new(), |tar, number| {
        tar.pax("SCHILY.xattr.user.x", vec![b'0' + number; 900]).directory(".", 0o755)
    });
    assert_eq!(
        why(many),
        "`.` takes names, link targets and extended attributes past the limit of 3.9 KiB"
    );
    // Skipped entries, contents of nothing, what follows the end.
    let skipped = Tar::new().file(".wh..wh.x", vec![0; 200_000]);
    assert!(why(skipped).contains("it decompresses to more than"));
    let after = [Tar::new().bytes(), vec![0; 200_000]].concat();
    assert!(why(Tar::new().raw(&after)).contains("it decompresses to more than"));
    // Holes cost nothing but their map.
    let sparse = Tar::new()
        .pax_all(&[("GNU.sparse.map", b""), ("GNU.sparse.size", b"1000000000000")])
        .file("hole", "");
    let image = try_image([sparse], limits).unwrap();
    assert_eq!(image.size("hole"), 1_000_000_000_000);
}

#[test]
fn headers_are_not_kept_at_any_length() {
    let mut huge = header(EntryType::XHeader, 0o644);
    huge.set_size(8 << 30);
    huge.set_cksum();
    assert_eq!(
        why(Tar::new().raw(huge.as_bytes())),
        "the header at byte 0 is broken: it describes an entry with more than 1 MiB"
    );
    let mut huge = header(EntryType::GNULongName, 0o644);
    huge.set_size(2 << 20);
    huge.set_cksum();
    assert_eq!(
        why(Tar::new().file("a", "").raw(huge.as_bytes())),
        "the header at byte 512 is broken: it describes an entry with more than 1 MiB"
    );
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let map = |map: &str, size: &str, contents: &str| {
        let records = [("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", size.as_bytes())];
        why(Tar::new().pax_all(&records).file("s", contents))
    };
    let refused = "`s` has no usable map of a sparse file";
    assert_eq!(map("0,4,2,4", "100", "12345678"), refused, "overlapping");
    assert_eq!(map("8,4,0,4", "100", "12345678"), refused, "not ascending");
    assert_eq!(map("0,8", "4", "12345678"), refused, "past the end");
    assert_eq!(map("0,4", "100", "12345678"), refused, "less than there is");
    assert_eq!(map("0,9", "100", "12345678"), refused, "more than there is");
    assert_eq!(map("18446744073709551615,8", "100", "12345678"), refused, "overflowing");
    let broken = "the header at byte 0 is broken: map of a sparse file";
    assert!(map("1,x", "100", "").starts_with("the header at byte 0 is broken"), "{broken}");
    let endless = Tar::new()
        .pax_all(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"10")])
        .file("s", vec![b'1'; 3000]);
    assert_eq!(
        why(endless),
        "the header at byte 1024 is broken: it has no usable map of a sparse file"
    );
}

#[test]
fn what_is_no_archive_is_refused() {
    let text = Tar::new().raw(&b"this is not what you are looking for ".repeat(100));
    assert_eq!(
        why(text),
        "the header at byte 0 is broken: \
         its checksum is wrong, so this is no tar archive, or a damaged one"
    );
    let whole = Tar::new().file("a", [7; 5000]).bytes();
    assert_eq!(
        why(Tar::new().raw(&whole[..3000])).lines().next().unwrap(),
        "cannot read past byte 4024: unexpected end of file"
    );
}
