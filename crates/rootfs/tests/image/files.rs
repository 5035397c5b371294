//! Every kind of file, with everything that it has.

use std::os::unix::fs::MetadataExt;

use tar::EntryType;

use super::image::{Listed, image, refusal};
use super::tar::{Tar, header};

#[test]
fn owners_modes_times_and_kinds_survive() {
    let mut owned = header(EntryType::Regular, 0o600);
    owned.set_uid(u64::from(u32::MAX) - 1);
    owned.set_gid(70_000);
    let image = image([Tar::new()
        .directory("etc/", 0o750)
        .pax("mtime", "1700000000.123456789")
        .file_with("etc/motd", 0o640, "hello\n")
        .file_with("usr/bin/sudo", 0o4755, "\x7fELF")
        .file_with("usr/bin/write", 0o2755, "\x7fELF")
        .directory("tmp", 0o1777)
        .directory("empty", 0o755)
        .file_with("nothing", 0o600, "")
        .entry(owned, b"owned", b"", b"x")
        .pax("mtime", "-1.5")
        .file("old", "")
        .device(EntryType::Char, "dev/tty", 5, 0)
        .device(EntryType::Block, "dev/loop300", 7, 300)
        .device(EntryType::Fifo, "run/initctl", 0, 0)
        .symlink("bin", "usr/bin")
        .symlink("long", "x/".repeat(40))
        .symlink("longest", "x".repeat(4095))]);
    let motd = image.get("etc/motd");
    assert_eq!(motd.contents, b"hello\n");
    let expected = Listed {
        kind: '-',
        mode: 0o640,
        owner: (1000, 100),
        mtime: (1_700_000_000, 123_456_789),
        links: 1,
        ..motd.clone()
    };
    assert_eq!(motd, expected);
    let mode = |path: &str| (image.get(path).kind, image.get(path).mode);
    assert_eq!(mode("etc"), ('d', 0o750));
    assert_eq!(mode("usr/bin/sudo"), ('-', 0o4755));
    assert_eq!(mode("usr/bin/write"), ('-', 0o2755));
    assert_eq!(mode("tmp"), ('d', 0o1777));
    assert_eq!(mode("run/initctl"), ('p', 0o620));
    assert_eq!(image.get("empty").links, 2);
    assert_eq!(image.cat("nothing"), b"");
    assert_eq!(image.get("owned").owner, (u32::MAX - 1, 70_000));
    assert_eq!(image.get("old").mtime, (-2, 500_000_000));
    let device = |path: &str| (image.get(path).kind, image.get(path).device);
    assert_eq!(device("dev/tty"), ('c', Some((5, 0))));
    assert_eq!(device("dev/loop300"), ('b', Some((7, 300))));
    assert_eq!(image.get("bin").kind, 'l');
    assert_eq!(image.cat("bin"), b"usr/bin");
    assert_eq!(image.cat("long"), "x/".repeat(40).as_bytes());
    assert_eq!(image.cat("longest"), "x".repeat(4095).as_bytes());
    // A parent that the archive never names belongs to root.
    let implied = image.get("usr");
    assert_eq!((implied.mode, implied.owner), (0o755, (0, 0)));
    // Another program's opinion.
    let stat = String::from_utf8(image.debugfs("stat /etc/motd")).unwrap();
    for part in ["Mode:  0640", "User:  1000", "Group:   100", "mtime: 0x6553f100:1d6f3454"] {
        assert!(stat.contains(part), "`{part}` is not in:\n{stat}");
    }
}

#[test]
fn hard_links_are_one_inode() {
    let image = image([Tar::new()
        .file("perl", "one")
        .hard_link("usr/bin/perl5", "./perl")
        .file("perl", "two")
        .hard_link("perl6", "perl")
        .symlink("link", "perl")
        .hard_link("link2", "link")]);
    assert_eq!(image.get("perl").links, 2);
    assert_eq!(image.get("perl").inode, image.get("perl6").inode);
    assert_eq!(image.cat("usr/bin/perl5"), b"one");
    assert_eq!(image.cat("perl6"), b"two");
    assert_eq!(image.get("link").inode, image.get("link2").inode);
    assert_eq!(image.cat("link2"), b"perl");
}

#[test]
fn extended_attributes_survive() {
    // A line feed in a value ends no record.
    let capability = [1, 0, 0, 2, 0, 0x20, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let acl = [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255];
    let image = image([Tar::new()
        .pax("SCHILY.xattr.security.capability", capability)
        .file_with("ping", 0o755, "x")
        .pax("SCHILY.xattr.system.posix_acl_access", acl)
        .directory("journal", 0o2755)
        .pax_all(&[
            ("SCHILY.xattr.user.long", &[b'v'; 3000]),
            ("SCHILY.xattr.user.a", b"1"),
            ("SCHILY.xattr.trusted.b", b"22"),
            // None: see `pax.rs`.
            ("SCHILY.xattr.user.none", b""),
        ])
        .file("many", "x")
        .pax("LIBARCHIVE.xattr.user.from%20bsd", "AAEC")
        .symlink("link", "x")
        .pax("SCHILY.xattr.trusted.overlay.opaque", "y")
        .directory("opaque", 0o755)]);
    assert_eq!(image.get("ping").xattrs["security.capability"], capability);
    // As the disk has it: version 1, and no ids for owner and group.
    assert_eq!(
        image.get("journal").xattrs["system.posix_acl_access"],
        [1, 0, 0, 0, 1, 0, 7, 0, 4, 0, 5, 0]
    );
    let many = image.get("many").xattrs;
    let names: Vec<_> = many.keys().map(String::as_str).collect();
    assert_eq!(names, ["trusted.b", "user.a", "user.long"]);
    assert_eq!((&many["user.long"][..], &many["trusted.b"][..]), (&[b'v'; 3000][..], &b"22"[..]));
    assert_eq!(image.get("link").xattrs["user.from bsd"], [0, 1, 2]);
    assert!(image.get("opaque").xattrs.is_empty(), "it would mean something to an overlay");
    let stat = String::from_utf8(image.debugfs("stat /ping")).unwrap();
    assert!(stat.contains("security.capability (20) = 01 00 00 02 00 20 0a"), "{stat}");

    let broken = Tar::new().pax("SCHILY.xattr.system.posix_acl_access", "?").directory("d", 0o755);
    assert_eq!(
        refusal([broken]),
        "cannot use layer `1`: `d` has extended attributes that ext4 cannot hold: \
         broken access control list in `system.posix_acl_access`"
    );
    let large = Tar::new().pax("SCHILY.xattr.user.large", [b'v'; 5000]).file("f", "");
    assert_eq!(
        refusal([large]),
        "cannot use layer `1`: `f` has extended attributes that ext4 cannot hold: \
         more extended attributes than fit into a block"
    );
}

#[test]
fn names_and_targets_are_any_bytes() {
    let names: [&[u8]; 5] =
        [b"caf\xe9", b"line\nfeed", b"\xff", "na\u{ef}ve \u{1f600}".as_bytes(), b"\x01 \\"];
    let mut tar = Tar::new();
    for name in names {
        tar = tar.file([b"d\xfe/", name].concat(), name).symlink([b"to ", name].concat(), name);
    }
    let long = [&b"\xe9".repeat(200)[..], b"/", &b"\xfe".repeat(255)].concat();
    let image = image([tar
        .file(&long, "gnu")
        .pax_all(&[("path", b"pax\n\xff"), ("linkpath", &b"\xfd/".repeat(50))])
        .symlink("short", "short")
        .hard_link(b"again\xff", b"d\xfe/caf\xe9")]);
    for name in names {
        assert_eq!(image.cat([b"d\xfe/", name].concat()), name);
        assert_eq!(image.cat([b"to ", name].concat()), name);
    }
    assert_eq!(image.cat(&long), b"gnu");
    assert_eq!(image.cat(b"pax\n\xff"), b"\xfd/".repeat(50));
    assert_eq!(image.get(b"again\xff").links, 2);
    // As another program reads them, hashes included: it lists what `e2fsck` found in order.
    let listed = image.debugfs("ls -p /");
    assert!(listed.windows(7).any(|part| part == b"again\xff/"), "{listed:?}");
}

#[test]
fn many_names_that_are_not_utf8_are_hashed_as_they_are() {
    // `e2fsck` complains where a name is not in the block that its hash belongs to.
    let names = |number: u32| [b"\xff", &number.to_be_bytes()[..], b"-\xe9"].concat();
    let usable = |name: &[u8]| !name.contains(&0) && !name.contains(&b'/');
    let names: Vec<_> = (0x0101_0101..0x0101_2000).map(names).filter(|name| usable(name)).collect();
    let tar =
        names.iter().fold(Tar::new(), |tar, name| tar.file([b"d/", &name[..]].concat(), name));
    let image = image([tar]);
    let list = image.list();
    assert_eq!(list.len(), names.len() + 1);
    for name in &names {
        assert_eq!(list[&[b"d/", &name[..]].concat()].contents, *name);
    }
}

#[test]
fn long_names_and_large_directories_are_found_again() {
    let long = "n".repeat(255);
    let deep = format!("{}{long}", "d/".repeat(100));
    let mut tar = Tar::new().file(&long, "long").file(&deep, "deep");
    for number in 0..10_000 {
        tar = tar.file(format!("many/file-{number}"), "");
    }
    let image = image([tar.file("many/last", "last")]);
    assert_eq!(image.cat(&long), b"long");
    assert_eq!(image.cat(&deep), b"deep");
    assert_eq!(image.cat("many/last"), b"last");
    // Found by its hash.
    let stat = String::from_utf8(image.debugfs("stat /many/file-9999")).unwrap();
    assert!(stat.contains("Type: regular"), "{stat}");
    // With 101 directories that are only implied, the root and `lost+found`.
    assert_eq!(image.built.entries, 10_106);
}

#[test]
fn zeros_take_no_room() {
    let mut contents = vec![0; 32 << 20];
    contents[20 << 20] = 7;
    let image = image([Tar::new().file("sparse", &contents)]);
    assert!(image.cat("sparse") == contents);
    let file = std::fs::metadata(image.path()).unwrap();
    assert!(file.len() > 32 << 20);
    assert!(file.blocks() * 512 < 1 << 20, "{} blocks", file.blocks());
}

#[test]
fn contents_of_every_length_end_where_they_should() {
    let lengths = [1, 511, 512, 513, 4095, 4096, 4097, 8192, 300_000, (1 << 20) - 1, (1 << 20) + 1];
    let contents = |length: usize| -> Vec<u8> {
        (0..length).map(|place| u8::try_from(place % 251).unwrap() | 1).collect()
    };
    let fill = |tar: Tar, length: &usize| tar.file(length.to_string(), contents(*length));
    let image = image([lengths.iter().fold(Tar::new(), fill)]);
    for length in lengths {
        assert!(image.cat(length.to_string()) == contents(length), "{length}");
    }
}

#[test]
fn the_same_layers_are_the_same_image() {
    let layers = || {
        let lower = Tar::new()
            .file("a", [7; 100_000])
            .hard_link("b", "a")
            .pax("SCHILY.xattr.user.x", "1")
            .directory("c", 0o755);
        let lower = (0..500).fold(lower, |tar, number| tar.file(format!("c/{number}"), "x"));
        [lower, Tar::new().file("c/\u{e9}", "y").whiteout("c/7")]
    };
    let (one, two) = (image(layers()), image(layers()));
    assert_eq!(one.built, two.built);
    assert!(std::fs::read(one.path()).unwrap() == std::fs::read(two.path()).unwrap());
    let [lower, upper] = layers();
    let other = image([lower, upper.file("d", "")]);
    assert_ne!(one.built.digest, other.built.digest);
}

#[test]
fn many_small_files_find_room_for_their_inodes() {
    // More inodes than the contents alone would have room for.
    let link = |tar: Tar, number: u32| tar.symlink(format!("{}/{number}", number % 100), "x");
    let image = image([(0..40_000).fold(Tar::new(), link)]);
    assert_eq!(image.cat("7/29907"), b"x");
    assert_eq!(image.built.entries, 40_102);
}

#[test]
fn a_directory_has_more_subdirectories_than_links() {
    let make = |tar: Tar, number: u32| tar.directory(format!("d/{number}"), 0o755);
    let image = image([(0..65_000).fold(Tar::new(), make)]);
    // One stands for more than can be counted.
    assert_eq!(image.get("d").links, 1);
    assert_eq!(image.get("d/64999").links, 2);
}
