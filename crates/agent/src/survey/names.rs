//! The objects that a repository has names for (gitrepository-layout(5)): by `HEAD`, by
//! `packed-refs`, and by the files under `refs`, stashes and tags among them.

use std::collections::BTreeSet;
use std::io::{self, Read};

use banger_tree::{Node, Tree};
use rustix::fs::FileType;

/// Longest `packed-refs` that is read, in bytes: a million names.
const PACKED_LIMIT: u64 = 128 << 20;
/// Longest file that is one reference.
const LOOSE_LIMIT: u64 = 4 << 10;

/// The named objects of the repository whose working tree is `top`, in hexadecimal.
pub(super) fn load(top: &mut Tree) -> io::Result<BTreeSet<String>> {
    let mut objects = BTreeSet::new();
    objects.extend(parse_id(&read(top, b".git/HEAD", LOOSE_LIMIT)?));
    let packed = read(top, b".git/packed-refs", PACKED_LIMIT)?;
    // A line that begins with `^` is the commit of the tag above it, which leads to it.
    objects.extend(packed.split(|byte| *byte == b'\n').filter_map(parse_id));
    let mut pending = vec![b".git/refs".to_vec()];
    while let Some(directory) = pending.pop() {
        for name in top.list(&directory)?.unwrap_or_default() {
            let path = [directory.as_slice(), b"/", &name].concat();
            if top.kind(&path)? == Some(FileType::Directory) {
                pending.push(path);
            } else {
                objects.extend(parse_id(&read(top, &path, LOOSE_LIMIT)?));
            }
        }
    }
    Ok(objects)
}

/// The object id that `text` begins with; none for the name of another reference.
fn parse_id(text: &[u8]) -> Option<String> {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let id = str::from_utf8(&text[..end]).ok()?;
    let is_id = matches!(id.len(), 40 | 64)
        && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| id.to_owned())
}

/// What is in a file; nothing when there is none.
fn read(top: &mut Tree, path: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(Node::File(file, _)) = top.read(path)? {
        file.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_name_counts() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        let id = |digit: &str| digit.repeat(40);
        let load = || load(&mut Tree::open(top.path()).unwrap()).unwrap();
        assert!(load().is_empty());
        std::fs::create_dir_all(at(".git/refs/heads/deep")).unwrap();
        std::fs::write(at(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        std::fs::write(at(".git/refs/heads/deep/er"), format!("{}\n", id("a"))).unwrap();
        std::fs::write(at(".git/refs/stash"), format!("{}\n", id("b"))).unwrap();
        let packed = format!("# pack-refs with: sorted\n{} refs/tags/v1\n^{}\n", id("c"), id("d"));
        std::fs::write(at(".git/packed-refs"), packed).unwrap();
        std::fs::write(at("outside"), id("f")).unwrap();
        std::os::unix::fs::symlink("../../outside", at(".git/refs/link")).unwrap();
        assert_eq!(load(), [id("a"), id("b"), id("c")].into());
        std::fs::write(at(".git/HEAD"), id("e")).unwrap();
        assert!(load().contains(&id("e")));
    }
}
