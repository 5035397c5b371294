//! The paths in the guest's index, so that a file that was added in spite of a rule is not taken
//! for an ignored one. Of the rest of the index nothing is believed or needed.
//!
//! The format is that of gitformat-index(5), versions 2 to 4.

use std::io::Read;

use banger_tree::blob::ObjectFormat;
use banger_tree::{Node, Tree};

use super::split::Link;

/// Longest index that is read, in bytes: some million paths.
const LIMIT: u64 = 1 << 30;
/// Bytes of an entry before its object's name: times, device, inode, mode, owner, size.
const BEFORE_ID: usize = 40;
/// The bit of an entry's flags that says that there are two more bytes of them.
const EXTENDED: u16 = 0x4000;

/// The paths; none where there is no index, or none that can be read. A path in conflict is there
/// several times.
pub(crate) fn load_paths(top: &mut Tree, format: ObjectFormat) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    let index = read(top, b".git/index");
    // What was read before it makes no sense any more is right all the same.
    let extensions = parse(&index, format, &mut paths).unwrap_or_default();
    if let Some(link) = Link::find(extensions, format) {
        let mut shared = Vec::new();
        let _ = parse(&read(top, &link.path()), format, &mut shared);
        link.remove_deleted(&mut shared);
        paths.append(&mut shared);
        // An entry that replaces a shared one has no name.
        paths.retain(|path| !path.is_empty());
    }
    paths
}

/// The contents of an index; nothing where there is none.
fn read(top: &mut Tree, path: &[u8]) -> Vec<u8> {
    let mut index = Vec::new();
    if let Ok(Some(Node::File(file, _))) = top.read(path)
        && file.take(LIMIT).read_to_end(&mut index).is_err()
    {
        index.clear();
    }
    index
}

/// Adds the path of every entry to `paths`. What follows the entries.
fn parse<'a>(index: &'a [u8], format: ObjectFormat, paths: &mut Vec<Vec<u8>>) -> Option<&'a [u8]> {
    let (signature, rest) = index.split_at_checked(4)?;
    let (version, rest) = take_u32(rest)?;
    let (count, mut rest) = take_u32(rest)?;
    if signature != b"DIRC" || !(2..=4).contains(&version) {
        return None;
    }
    let mut last = Vec::new();
    for _ in 0..count {
        let entry = rest;
        let (flags, after) = entry.get(BEFORE_ID + format.id_len()..)?.split_at_checked(2)?;
        let extended = u16::from_be_bytes([flags[0], flags[1]]) & EXTENDED != 0;
        let mut name = after.get(if extended { 2 } else { 0 }..)?;
        if version == 4 {
            let (strip, suffix) = take_varint(name)?;
            last.truncate(last.len().checked_sub(strip)?);
            name = suffix;
        } else {
            last.clear();
        }
        let end = name.iter().position(|byte| *byte == 0)?;
        last.extend_from_slice(&name[..end]);
        let length = entry.len() - name.len() + end;
        // One to eight NULs, to a multiple of eight bytes; in version 4 one.
        let padded = if version == 4 { length + 1 } else { (length + 8) & !7 };
        rest = entry.get(padded..)?;
        paths.push(last.clone());
    }
    Some(rest)
}

pub(super) fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

/// A number as packs have it in offsets (gitformat-pack(5), "offset encoding").
fn take_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (at, byte) in bytes.iter().enumerate() {
        value = value.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
        value = value.checked_add(1)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(top: &std::path::Path, args: &[&str]) {
        let done = Command::new("git").current_dir(top).args(args).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    #[test]
    fn paths_are_those_that_git_added() {
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            let top = tempfile::tempdir().unwrap();
            git(top.path(), &["init", "-q", &format!("--object-format={}", format.name())]);
            let names = ["a", "dir/b c", "dir/longer-name-\n", "dir/sub/x", "eight-ch", "z"];
            for name in names {
                let path = top.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, name).unwrap();
            }
            git(top.path(), &["add", "-A"]);
            // An entry with flags that older versions have no room for.
            std::fs::write(top.path().join("intended"), "").unwrap();
            git(top.path(), &["add", "-N", "intended"]);
            for version in ["2", "3", "4"] {
                git(top.path(), &["update-index", "--index-version", version]);
                let mut tree = Tree::open(top.path()).unwrap();
                let paths = load_paths(&mut tree, format);
                let mut expected: Vec<_> = names
                    .into_iter()
                    .chain(["intended"])
                    .map(|name| name.as_bytes().to_vec())
                    .collect();
                expected.sort();
                assert_eq!(paths, expected, "version {version}");
            }
        }
    }

    #[test]
    fn shared_paths_are_found_unless_they_were_removed() {
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            let top = tempfile::tempdir().unwrap();
            git(top.path(), &["init", "-q", &format!("--object-format={}", format.name())]);
            let names: Vec<_> = (0..200).map(|number| format!("file-{number:03}")).collect();
            names.iter().for_each(|name| std::fs::write(top.path().join(name), name).unwrap());
            git(top.path(), &["add", "-A"]);
            // So that a few changes do not make it write a new one.
            git(top.path(), &["config", "splitIndex.maxPercentChange", "100"]);
            git(top.path(), &["update-index", "--split-index"]);
            git(top.path(), &["rm", "-q", "--cached", "file-000", "file-070", "file-199"]);
            std::fs::write(top.path().join("file-100"), "replaced").unwrap();
            std::fs::write(top.path().join("new"), "new").unwrap();
            git(top.path(), &["add", "file-100", "new"]);
            let mut paths = load_paths(&mut Tree::open(top.path()).unwrap(), format);
            paths.sort();
            let removed = ["file-000", "file-070", "file-199"];
            let there = names.iter().map(String::as_str).filter(|name| !removed.contains(name));
            let there: Vec<_> = there.chain(["new"]).map(|name| name.as_bytes().to_vec()).collect();
            assert_eq!(paths, there);
            let index = std::fs::read(top.path().join(".git/index")).unwrap();
            assert!(index.windows(4).any(|window| window == b"link"));
        }
    }

    #[test]
    fn nonsense_ends_the_list() {
        let mut bytes = b"DIRC\0\0\0\x04\xff\xff\xff\xff".to_vec();
        bytes.extend([0; 62]);
        bytes.extend([0xff; 64]);
        let mut paths = Vec::new();
        assert_eq!(parse(&bytes, ObjectFormat::Sha1, &mut paths), None);
    }
}
