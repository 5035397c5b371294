//! Bundles that are what they should be, and all the ways in which they are not.

use std::os::unix::fs::MetadataExt;

use super::*;

const MEMBERS: [Member; 3] = [
    Member { name: "manifest.json", limit: 100, needed: true },
    Member { name: "rootfs.ext4", limit: 64 << 20, needed: true },
    Member { name: "modules.cpio", limit: 100, needed: false },
];

/// A directory with a manifest, and a file of which all but its first and last block are zeros.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("manifest.json"), "{}").unwrap();
        let mut rootfs = fs_err::File::create(dir.path().join("rootfs.ext4")).unwrap();
        rootfs.write_all(b"superblock").unwrap();
        rootfs.seek(SeekFrom::Start(32 << 20)).unwrap();
        rootfs.write_all(b"end, in the middle of a block").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pack(&self) -> (Vec<u8>, Written) {
        let (manifest, rootfs) = (self.path("manifest.json"), self.path("rootfs.ext4"));
        let members = [("manifest.json", &*manifest), ("rootfs.ext4", &*rootfs)];
        let mut bundle = Vec::new();
        let written = write_bundle(&members, &mut bundle).unwrap();
        (bundle, written)
    }

    /// Unpacks `bundle` into `out`.
    fn unpack(&self, bundle: &[u8]) -> Result<(), BundleError> {
        fs_err::write(self.path("b.tar.zst"), bundle).unwrap();
        let watch = &mut |_| ControlFlow::Continue(());
        unpack_bundle(&self.path("b.tar.zst"), &MEMBERS, &self.path("out"), watch)
    }

    /// Why a bundle of these tar entries is refused; nothing of it is left.
    fn refused(&self, tar: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> String {
        let mut archive = tar::Builder::new(Vec::new());
        tar(&mut archive);
        self.refused_tar(&archive.into_inner().unwrap())
    }

    fn refused_tar(&self, tar: &[u8]) -> String {
        self.refused_bundle(&zstd::encode_all(tar, 1).unwrap())
    }

    fn refused_bundle(&self, bundle: &[u8]) -> String {
        let error = self.unpack(bundle).unwrap_err();
        assert!(!self.path("out").exists(), "something is left after: {error}");
        error.to_string().replace(&self.path("").display().to_string(), "")
    }
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, kind: EntryType, contents: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(contents.len() as u64);
    // Written as it is: the library would refuse the names that are of interest.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    archive.append(&header, contents).unwrap();
}

fn good(archive: &mut tar::Builder<Vec<u8>>) {
    add(archive, "manifest.json", EntryType::Regular, b"{}");
    add(archive, "rootfs.ext4", EntryType::Regular, b"root");
}

#[test]
fn what_was_packed_comes_out_with_its_holes() {
    let place = Place::new();
    let (bundle, written) = place.pack();
    assert_eq!(written.size, bundle.len() as u64);
    assert_eq!(written.sha256, crate::digest::sha256(&mut &bundle[..]).unwrap());
    assert!(bundle.len() < 100_000, "zeros compress");
    place.unpack(&bundle).unwrap();
    for name in ["manifest.json", "rootfs.ext4"] {
        let (before, after) = (place.path(name), place.path("out").join(name));
        assert!(fs_err::read(before).unwrap() == fs_err::read(after).unwrap(), "{name}");
    }
    let unpacked = fs_err::metadata(place.path("out").join("rootfs.ext4")).unwrap();
    assert!(unpacked.blocks() * 512 < 1 << 20, "{} blocks are allocated", unpacked.blocks());
}

#[test]
fn a_file_that_ends_in_zeros_keeps_its_length() {
    let place = Place::new();
    let rootfs = fs_err::File::create(place.path("rootfs.ext4")).unwrap();
    rootfs.set_len((3 << 20) + 5).unwrap();
    place.unpack(&place.pack().0).unwrap();
    let unpacked = fs_err::metadata(place.path("out").join("rootfs.ext4")).unwrap();
    assert_eq!((unpacked.len(), unpacked.blocks()), ((3 << 20) + 5, 0));
}

#[test]
fn the_same_files_give_the_same_bundle() {
    let (one, other) = (Place::new(), Place::new());
    assert!(one.pack() == other.pack());
}

#[test]
fn what_does_not_belong_is_refused() {
    let place = Place::new();
    for (name, kind, why) in [
        ("x", EntryType::Regular, "holds `x`, which does not belong into it"),
        ("../manifest.json", EntryType::Regular, "holds `../manifest.json`, which does"),
        ("/etc/passwd", EntryType::Regular, "holds `/etc/passwd`, which does"),
        ("./modules.cpio", EntryType::Regular, "holds `./modules.cpio`, which does"),
        ("a/../modules.cpio", EntryType::Regular, "holds `a/../modules.cpio`, which does"),
        ("x\ny", EntryType::Regular, "holds `x\\ny`, which does"),
        ("modules.cpio", EntryType::Symlink, "`modules.cpio` in the bundle `b.tar.zst` is no"),
        ("modules.cpio", EntryType::Link, "is no regular file"),
        ("modules.cpio", EntryType::Directory, "is no regular file"),
        ("modules.cpio", EntryType::Char, "is no regular file"),
        ("modules.cpio", EntryType::Fifo, "is no regular file"),
        ("modules.cpio", EntryType::GNUSparse, "is no regular file"),
        ("modules.cpio", EntryType::XHeader, "is no regular file"),
        ("././@LongLink", EntryType::GNULongName, "which does not belong into it"),
        ("manifest.json", EntryType::Regular, "holds `manifest.json` twice"),
    ] {
        let refusal = place.refused(|archive| {
            good(archive);
            add(archive, name, kind, b"");
        });
        assert!(refusal.contains(why), "{name} {kind:?}: {refusal}");
    }
    let large = place.refused(|archive| {
        add(archive, "manifest.json", EntryType::Regular, &[b' '; 101]);
    });
    assert!(large.ends_with("has 101 bytes, more than the 100 it may have"), "{large}");
    let lacking = place.refused(|archive| add(archive, "manifest.json", EntryType::Regular, b"{}"));
    assert_eq!(lacking, "the bundle `b.tar.zst` lacks `rootfs.ext4`");
}

#[test]
fn what_is_torn_or_goes_on_is_refused() {
    let place = Place::new();
    let mut archive = tar::Builder::new(Vec::new());
    good(&mut archive);
    let tar = archive.into_inner().unwrap();
    let cut = &tar[..tar.len() - 1024 - 512];
    for torn in [&tar[..700], &cut[..cut.len() - 1]] {
        assert_eq!(place.refused_tar(torn), "cannot read the bundle `b.tar.zst`");
    }
    let more = [&tar[..], &[0; 4096], b"more"].concat();
    assert_eq!(place.refused_tar(&more), "the bundle `b.tar.zst` goes on after its end");
    let bomb = [&tar[..], &vec![0; 1 << 20]].concat();
    assert_eq!(place.refused_tar(&bomb), "the bundle `b.tar.zst` goes on after its end");

    let bundle = place.pack().0;
    for torn in [&bundle[..bundle.len() / 2], &bundle[..bundle.len() - 1], b"", b"no bundle"] {
        assert_eq!(place.refused_bundle(torn), "cannot read the bundle `b.tar.zst`");
    }
    place.unpack(&bundle).unwrap();
}

#[test]
fn a_window_that_needs_much_memory_is_refused() {
    let place = Place::new();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(WINDOW_LOG_MAX + 1).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    good(&mut archive);
    encoder.write_all(&archive.into_inner().unwrap()).unwrap();
    let refusal = place.refused_bundle(&encoder.finish().unwrap());
    assert_eq!(refusal, "cannot read the bundle `b.tar.zst`");
}

#[test]
fn who_watches_can_stop() {
    let place = Place::new();
    let (bundle, _) = place.pack();
    fs_err::write(place.path("b"), bundle).unwrap();
    let mut seen = Vec::new();
    let watch = &mut |done| {
        seen.push(done);
        if done > 5 << 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let stopped = unpack_bundle(&place.path("b"), &MEMBERS, &place.path("out"), watch);
    assert!(matches!(stopped, Err(BundleError::Stopped { .. })), "{stopped:?}");
    assert!(seen.is_sorted() && seen.len() > 4, "{seen:?}");
    assert!(!place.path("out").exists());
}

#[test]
fn a_directory_that_is_there_stays_as_it_is() {
    let place = Place::new();
    fs_err::create_dir(place.path("out")).unwrap();
    fs_err::write(place.path("out").join("manifest.json"), "mine").unwrap();
    assert!(matches!(place.unpack(&place.pack().0), Err(BundleError::File(_))));
    assert_eq!(fs_err::read(place.path("out").join("manifest.json")).unwrap(), b"mine");
}
