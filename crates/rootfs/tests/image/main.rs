//! Images made of archives, judged by other programs: `e2fsck` for the file system, `debugfs`
//! for what is in it. Both are in e2fsprogs.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, also outside of its function"
)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use banger_rootfs::blank::write_blank;
use banger_rootfs::ext4::Identity;
use banger_rootfs::layers::{Built, ImageError, Layer, write_image};
use banger_rootfs::tree::Limits;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// An archive under construction.
struct Archive {
    builder: Builder<Vec<u8>>,
}

impl Archive {
    fn new() -> Self {
        Self { builder: Builder::new(Vec::new()) }
    }

    fn header(kind: EntryType, mode: u32) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(100);
        header.set_mtime(1_700_000_000);
        header.set_size(0);
        header
    }

    fn file(mut self, name: &str, mode: u32, contents: &[u8]) -> Self {
        let mut header = Self::header(EntryType::Regular, mode);
        header.set_size(contents.len() as u64);
        self.builder.append_data(&mut header, name, contents).unwrap();
        self
    }

    fn directory(mut self, name: &str, mode: u32) -> Self {
        let mut header = Self::header(EntryType::Directory, mode);
        self.builder.append_data(&mut header, name, std::io::empty()).unwrap();
        self
    }

    fn link(mut self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(kind, 0o777);
        self.builder.append_link(&mut header, name, target).unwrap();
        self
    }

    fn device(mut self, kind: EntryType, name: &str, major: u32, minor: u32) -> Self {
        let mut header = Self::header(kind, 0o620);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.builder.append_data(&mut header, name, std::io::empty()).unwrap();
        self
    }

    fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.builder.append_pax_extensions([(key, value)]).unwrap();
        self
    }

    /// An entry whose name is written as it is, whatever it is.
    fn raw_name(mut self, name: &str) -> Self {
        let mut header = Self::header(EntryType::Regular, 0o644);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        self.builder.append(&header, std::io::empty()).unwrap();
        self
    }

    fn image(self) -> Image {
        self.try_image(Limits::default()).unwrap()
    }

    fn try_image(self, limits: Limits) -> Result<Image, ImageError> {
        let place = tempfile::tempdir().unwrap();
        let tar = place.path().join("root.tar");
        std::fs::write(&tar, self.builder.into_inner().unwrap()).unwrap();
        let path = place.path().join("image.ext4");
        let file = std::fs::File::create_new(&path).unwrap();
        drop(file);
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let built = write_image(&[Layer::of_file(&tar)], &file, limits, &|_| {
            std::ops::ControlFlow::Continue(())
        })?;
        check(&path);
        Ok(Image { _place: place, path, built })
    }
}

struct Image {
    _place: TempDir,
    path: PathBuf,
    built: Built,
}

impl Image {
    fn debugfs(&self, request: &str) -> Vec<u8> {
        let output = Command::new("debugfs")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .args(["-R", request])
            .arg(&self.path)
            .output()
            .expect("debugfs of e2fsprogs is needed by this test");
        assert!(output.status.success(), "{request}");
        output.stdout
    }

    fn cat(&self, path: &str) -> Vec<u8> {
        self.debugfs(&format!("cat {path}"))
    }

    fn stat(&self, path: &str) -> String {
        String::from_utf8_lossy(&self.debugfs(&format!("stat {path}"))).into_owned()
    }

    fn inode(&self, path: &str) -> String {
        self.stat(path).split_whitespace().nth(1).unwrap().to_owned()
    }
}

/// Asserts that nothing whatever is wrong with the file system.
fn check(path: &Path) {
    let output = Command::new("e2fsck")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .arg("-fn")
        .arg(path)
        .output()
        .expect("e2fsck of e2fsprogs is needed by this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// An error with all its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    error.source().map_or(text.clone(), |cause| format!("{text}: {}", describe(cause)))
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn owners_modes_times_and_kinds_survive() {
    let image = Archive::new()
        .directory("etc/", 0o750)
        .pax("mtime", b"1700000000.123456789")
        .file("etc/motd", 0o640, b"hello\n")
        .file("usr/bin/sudo", 0o4755, b"\x7fELF")
        .directory("tmp", 0o1777)
        .directory("empty", 0o755)
        .file("nothing", 0o600, b"")
        .device(EntryType::Char, "dev/tty", 5, 0)
        .device(EntryType::Block, "dev/loop300", 7, 300)
        .device(EntryType::Fifo, "run/initctl", 0, 0)
        .link(EntryType::Symlink, "bin", "usr/bin")
        .link(EntryType::Symlink, "long", &"x/".repeat(40))
        .image();
    assert_eq!(image.cat("/etc/motd"), b"hello\n");
    assert_eq!(image.cat("/nothing"), b"");
    contains(
        &image.stat("/etc/motd"),
        &["Mode:  0640", "User:  1000", "Group:   100", "mtime: 0x6553f100:1d6f3454"],
    );
    contains(&image.stat("/etc"), &["Type: directory", "Mode:  0750"]);
    contains(&image.stat("/usr/bin/sudo"), &["Mode:  04755"]);
    contains(&image.stat("/tmp"), &["Mode:  01777"]);
    contains(&image.stat("/empty"), &["Type: directory", "Links: 2"]);
    contains(&image.stat("/dev/tty"), &["character special", "05:00"]);
    contains(&image.stat("/dev/loop300"), &["block special", "07:300"]);
    contains(&image.stat("/run/initctl"), &["Type: FIFO"]);
    contains(&image.stat("/bin"), &["Type: symlink", "Fast link dest: \"usr/bin\""]);
    assert_eq!(image.cat("/long"), "x/".repeat(40).as_bytes());
    // A parent that the archive never names belongs to root.
    contains(&image.stat("/usr"), &["Mode:  0755", "User:     0"]);
}

#[test]
fn hard_links_are_one_inode() {
    let image = Archive::new()
        .file("perl", 0o755, b"one")
        .link(EntryType::Link, "usr/bin/perl5", "./perl")
        .file("perl", 0o755, b"two")
        .link(EntryType::Link, "perl6", "perl")
        .image();
    contains(&image.stat("/perl"), &["Links: 2"]);
    assert_eq!(image.inode("/perl"), image.inode("/perl6"));
    assert_eq!(image.cat("/usr/bin/perl5"), b"one");
    assert_eq!(image.cat("/perl6"), b"two");
}

#[test]
fn extended_attributes_survive() {
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let acl = [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255];
    let image = Archive::new()
        .pax("SCHILY.xattr.security.capability", &capability)
        .file("ping", 0o755, b"x")
        .pax("SCHILY.xattr.system.posix_acl_access", &acl)
        .directory("journal", 0o2755)
        .pax("SCHILY.xattr.user.long", &[b'v'; 3000])
        .file("long", 0o644, b"x")
        .image();
    contains(&image.stat("/ping"), &["security.capability (20) = 01 00 00 02 00 20"]);
    // As the disk has it: version 1, and no ids for owner and group.
    contains(
        &image.stat("/journal"),
        &["system.posix_acl_access (12) = 01 00 00 00 01 00 07 00 04 00 05 00"],
    );
    contains(&image.stat("/long"), &["user.long (3000)"]);

    let broken = Archive::new()
        .pax("SCHILY.xattr.system.posix_acl_access", b"?")
        .directory("d", 0o755)
        .try_image(Limits::default());
    assert_eq!(
        describe(&broken.err().unwrap()),
        "cannot use layer `root.tar`: \
         `d` has extended attributes that ext4 cannot hold: \
         broken access control list in `system.posix_acl_access`"
    );
}

#[test]
fn long_names_and_large_directories_are_found_again() {
    let long = "n".repeat(255);
    let deep = format!("{}{long}", "d/".repeat(100));
    let mut archive = Archive::new().file(&long, 0o644, b"long").file(&deep, 0o644, b"deep");
    for number in 0..10_000 {
        archive = archive.file(&format!("many/file-{number}"), 0o644, b"");
    }
    let image = archive.file("many/last", 0o644, b"last").image();
    assert_eq!(image.cat(&format!("/{long}")), b"long");
    assert_eq!(image.cat(&format!("/{deep}")), b"deep");
    assert_eq!(image.cat("/many/last"), b"last");
    contains(&image.stat("/many/file-9999"), &["Size: 0"]);
    // With 101 directories that are only implied, the root and `lost+found`.
    assert_eq!(image.built.entries, 10_106);
}

#[test]
fn zeros_take_no_room() {
    let mut contents = vec![0; 32 << 20];
    contents[20 << 20] = 7;
    let image = Archive::new().file("sparse", 0o644, &contents).image();
    assert!(image.cat("/sparse") == contents);
    let file = std::fs::metadata(&image.path).unwrap();
    assert!(file.len() > 32 << 20);
    assert!(file.blocks() * 512 < 1 << 20, "{} blocks", file.blocks());
}

#[test]
fn the_same_archive_is_the_same_image() {
    let archive = || {
        Archive::new()
            .file("a", 0o644, &[7; 100_000])
            .link(EntryType::Link, "b", "a")
            .pax("SCHILY.xattr.user.x", b"1")
            .directory("c", 0o755)
    };
    let (one, two) = (archive().image(), archive().image());
    assert_eq!(one.built, two.built);
    assert!(std::fs::read(&one.path).unwrap() == std::fs::read(&two.path).unwrap());
    let other = archive().file("d", 0o644, b"").image();
    assert_ne!(one.built.digest, other.built.digest);
}

#[test]
fn hostile_archives_are_refused_and_harmless_ones_are_not() {
    let why = |archive: Archive| {
        let why = describe(&archive.try_image(Limits::default()).err().unwrap());
        why.strip_prefix("cannot use layer `root.tar`: ").unwrap().to_owned()
    };
    assert_eq!(
        why(Archive::new().raw_name("../../etc/passwd")),
        "`../../etc/passwd` is no usable name: it contains `..`"
    );
    assert_eq!(
        why(Archive::new().link(EntryType::Link, "shadow", "../etc/shadow")),
        "`../etc/shadow` is no usable name: it contains `..`"
    );
    assert_eq!(
        why(Archive::new().file("a", 0o644, b"").file("a/b", 0o644, b"")),
        "`a/b` has a parent that is not a directory"
    );
    assert_eq!(
        why(Archive::new().file("lost+found", 0o644, b"")),
        "`lost+found` is a name that ext4 keeps for a directory of its own"
    );
    assert_eq!(
        why(Archive::new().device(EntryType::Char, "dev/big", 9999, 0)),
        "`dev/big` has no usable device number"
    );
    let image = Archive::new()
        .directory("lost+found", 0o700)
        .raw_name("/absolute")
        .link(EntryType::Symlink, "escape", "/../../..")
        .file("escape/inside", 0o644, b"x")
        .image();
    contains(&image.stat("/absolute"), &["Type: regular"]);
    assert_eq!(image.cat("/inside"), b"x");

    let bomb = Archive::new().file("a", 0o644, &[0; 2000]);
    let limits = Limits { entries: 10, bytes: 1000, ..Limits::default() };
    let error = describe(&bomb.try_image(limits).err().unwrap());
    assert_eq!(
        error,
        "cannot use layer `root.tar`: `a` takes the contents past the limit of 1000 B"
    );
}

#[test]
fn a_torn_archive_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let tar = place.path().join("torn.tar");
    let whole = Archive::new().file("a", 0o644, &[7; 5000]).builder.into_inner().unwrap();
    std::fs::write(&tar, &whole[..3000]).unwrap();
    let image = tempfile::tempfile().unwrap();
    let error = write_image(&[Layer::of_file(&tar)], &image, Limits::default(), &|_| {
        std::ops::ControlFlow::Continue(())
    })
    .unwrap_err();
    assert!(matches!(error, ImageError::Layer { .. }), "{error:?}");
}

#[test]
fn many_small_files_find_room_for_their_inodes() {
    // More inodes than the contents alone would have room for.
    let mut archive = Archive::new();
    for number in 0..30_000 {
        archive = archive.link(EntryType::Symlink, &format!("{}/{number}", number % 100), "x");
    }
    let image = archive.image();
    contains(&image.stat("/7/29907"), &["Fast link dest: \"x\""]);
}

#[test]
fn blank_disks_are_clean_and_take_little_room() {
    let place = tempfile::tempdir().unwrap();
    for gib in [1, 8, 100] {
        let path = place.path().join(format!("{gib}.ext4"));
        let file = std::fs::File::create(&path).unwrap();
        let identity = Identity { uuid: [7; 16], label: "writable".into(), epoch: 1_700_000_000 };
        write_blank(&file, gib << 30, &identity).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), gib << 30);
        assert!(metadata.blocks() * 512 < 2_000_000, "{gib} GiB: {}", metadata.blocks());
        check(&path);
    }
    // One that is no file system at all would pass for clean above if `e2fsck` were not run.
    let no_ext4 = place.path().join("zeros");
    std::fs::write(&no_ext4, vec![0; 1 << 20]).unwrap();
    assert!(std::panic::catch_unwind(|| check(&no_ext4)).is_err());
}
