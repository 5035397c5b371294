//! What must hold for any stream whatever. The tests try random ones, the fuzz targets in `fuzz/`
//! include this file and look for better ones.

use std::io::Read;

use banger_tree::Top;
use banger_tree::blob::ObjectFormat;
use banger_tree::changes::{Change, Known};
use tar::{Builder, EntryType, Header};

use super::rig::Place;

/// Parts of names: honest ones, and what leads elsewhere.
const PARTS: &[&str] = &[
    "top",
    "top/a",
    "top/b",
    "top/a/b",
    "..",
    "top/../..",
    "/",
    ".",
    "top/a/../b",
    "victim",
    "../victim",
    "/proc/self/cwd",
    "top/out",
    "top/out/victim",
    "",
    "top/",
];
const KINDS: &[EntryType] = &[
    EntryType::Regular,
    EntryType::Directory,
    EntryType::Symlink,
    EntryType::Link,
    EntryType::Fifo,
    EntryType::Char,
    EntryType::GNUSparse,
    EntryType::Continuous,
];

/// Any bytes as an archive.
pub(crate) fn landed(bytes: &[u8]) {
    for top in [Top::OfArchive, Top::Named("mine".into()), Top::Contents] {
        let place = Place::new();
        // Whether it was taken or not; an archive may well be one.
        let _ = place.land(bytes, "", &top);
        unharmed(&place);
    }
}

/// An archive of entries that `script` chooses, three bytes each, into a place that may have a
/// link that leads out of it already.
pub(crate) fn scripted(script: &[u8]) {
    let mut tar = Builder::new(Vec::new());
    let part = |byte: u8| PARTS[usize::from(byte) % PARTS.len()];
    for entry in script.as_chunks::<3>().0 {
        let [kind, name, link] = *entry;
        let mut header = Header::new_gnu();
        header.set_entry_type(KINDS[usize::from(kind) % KINDS.len()]);
        header.set_mode(u32::from(kind) << 4 | 0o600);
        // Some say another size than they have.
        let data = vec![kind; usize::from(name >> 4)];
        header.set_size(data.len() as u64 + u64::from(kind >> 7));
        let old = header.as_old_mut();
        old.name[..part(name).len()].copy_from_slice(part(name).as_bytes());
        old.linkname[..part(link).len()].copy_from_slice(part(link).as_bytes());
        header.set_cksum();
        if tar.append(&header, &*data).is_err() {
            return;
        }
    }
    let Ok(tar) = tar.into_inner() else { return };
    for top in [Top::OfArchive, Top::Contents] {
        let place = Place::new();
        if script.first().is_some_and(|byte| byte & 0x10 != 0) {
            assert!(std::os::unix::fs::symlink("..", place.at("top")).is_ok());
        }
        assert!(std::fs::create_dir(place.at("mine")).is_ok());
        let _ = place.land(&tar, "", &top);
        let _ = place.land(&tar, "mine", &top);
        unharmed(&place);
    }
}

fn unharmed(place: &Place) {
    // This looks at the neighbours, too.
    let names = place.names();
    assert!(!names.iter().any(|name| name.contains("partial")), "{names:?}");
}

/// Any bytes as a stream of changes: what is read of it, written again, is what was there.
pub(crate) fn changes(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let before = rest;
        let Ok(Some(change)) = Change::read(&mut rest) else { break };
        let mut again = Vec::new();
        assert!(change.write(&mut again).is_ok() && before.starts_with(&again));
        let skipped = std::io::copy(&mut (&mut rest).take(change.size), &mut std::io::sink());
        if skipped.ok() != Some(change.size) {
            break;
        }
    }
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        if let Some(known) = Known::parse_list(format, bytes) {
            let mut again = Vec::new();
            known.iter().for_each(|known| known.render(&mut again));
            assert_eq!(again, bytes);
        }
    }
}
