//! What is checked out: the texts of `HEAD` and of the branch it names.

use std::io::Read;

use banger_tree::{Node, Tree};

/// Longest file of references that is read, in bytes.
const LIMIT: u64 = 64 << 20;

/// What `HEAD` says. Both absent where it cannot be read or says something else.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Commit, in hexadecimal.
    pub(super) commit: Option<String>,
    /// Full name of the branch.
    pub(super) reference: Option<String>,
}

impl Head {
    /// Reads it in the repository whose working tree is `top`.
    pub(super) fn load(top: &mut Tree) -> Self {
        let Some(head) = read(top, b".git/HEAD") else { return Self::default() };
        let Some(reference) = head.strip_prefix(b"ref: ") else {
            return Self { commit: parse_commit(&head), reference: None };
        };
        let loose = read(top, &[b".git/", reference].concat());
        let commit = loose.as_deref().and_then(parse_commit).or_else(|| {
            let packed = read(top, b".git/packed-refs")?;
            let mut lines = packed.split(|byte| *byte == b'\n');
            let line = lines.find(|line| {
                line.strip_suffix(reference).is_some_and(|before| before.ends_with(b" "))
            })?;
            parse_commit(line.split(|byte| *byte == b' ').next()?)
        });
        Self { commit, reference: String::from_utf8(reference.to_vec()).ok() }
    }
}

fn parse_commit(text: &[u8]) -> Option<String> {
    let hex = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    hex.then(|| String::from_utf8_lossy(text).into_owned())
}

/// The text of a small file, without the line break at its end.
fn read(top: &mut Tree, path: &[u8]) -> Option<Vec<u8>> {
    let Ok(Some(Node::File(file, _))) = top.read(path) else { return None };
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text).ok()?;
    Some(text.trim_ascii_end().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_found_loose_and_packed() {
        let top = tempfile::tempdir().unwrap();
        let git = top.path().join(".git");
        std::fs::create_dir_all(git.join("refs/heads")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(git.join(name), text).unwrap();
        let load = || Head::load(&mut Tree::open(top.path()).unwrap());
        assert_eq!(load(), Head::default());
        write("HEAD", "ref: refs/heads/main\n");
        let reference = || Some("refs/heads/main".to_owned());
        assert_eq!(load(), Head { commit: None, reference: reference() });
        write(
            "packed-refs",
            "# pack-refs\nbb refs/heads/not/refs/heads/main\naa refs/heads/main\n",
        );
        assert_eq!(load(), Head { commit: Some("aa".into()), reference: reference() });
        write("refs/heads/main", "cc\n");
        assert_eq!(load(), Head { commit: Some("cc".into()), reference: reference() });
        write("HEAD", "dd\n");
        assert_eq!(load(), Head { commit: Some("dd".into()), reference: None });
        write("HEAD", "not an id\n");
        assert_eq!(load(), Head::default());
    }
}
