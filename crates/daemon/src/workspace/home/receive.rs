//! Reading what a guest says has changed. Every word of it is the guest's: paths are checked here
//! and once more by git, contents are named here, and there is an end to how much is taken.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};

use banger_tree::changes::{Change, GONE};

use super::interrupted::is_holding;
use super::objects::Objects;
use super::record::{Conversion, Entry, Version, has_dos_line_ends, without_carriage_returns};
use crate::workspace::index::is_possible;

/// Most paths that are taken: some times more than the largest repositories have.
const MAX_PATHS: usize = 8 << 20;
/// Most bytes of their names, which are all in memory: as long as a list that the agent takes.
const MAX_NAMES: usize = 1 << 30;
/// Longest file whose line ends are converted, in bytes.
const MAX_CONVERTED: u64 = 64 << 20;

/// A path that is not in the guest as it was brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    /// As it is in the guest; absent for what is gone.
    pub(crate) raw: Option<Version>,
    /// As git stores it.
    pub(crate) clean: Option<Version>,
}

/// What is different in a guest, by path.
pub(crate) type Changes = BTreeMap<Vec<u8>, Changed>;

/// Reads a survey's stream to its end.
///
/// # Errors
/// When the stream is broken off (`UnexpectedEof`), says what cannot be (`InvalidData`), has more
/// than `limit` bytes of contents, or the contents cannot be kept.
pub(crate) fn receive(
    stream: &mut impl Read,
    known: &HashMap<&[u8], &Entry>,
    objects: &Objects,
    limit: u64,
) -> io::Result<Changes> {
    let mut changes = Changes::new();
    let (mut left, mut names) = (limit, 0);
    while let Some(change) = Change::read(stream)? {
        let named = || format!("`{}`", String::from_utf8_lossy(&change.path));
        if !is_possible(&change.path) || is_holding(&change.path) {
            return Err(invalid(format!("{} is no path of a working tree", named())));
        }
        left = left
            .checked_sub(change.size)
            .ok_or_else(|| invalid(format!("there is more to take than {limit} bytes")))?;
        names += change.path.len();
        if changes.len() == MAX_PATHS || names > MAX_NAMES {
            return Err(invalid(format!("there are more than {MAX_PATHS} paths, or longer ones")));
        }
        let entry = known.get(change.path.as_slice()).copied();
        let changed = receive_one(stream, &change, entry, objects)?;
        if changes.insert(change.path.clone(), changed).is_some() {
            return Err(invalid(format!("{} is there twice", named())));
        }
    }
    Ok(changes)
}

fn receive_one(
    stream: &mut impl Read,
    change: &Change,
    entry: Option<&Entry>,
    objects: &Objects,
) -> io::Result<Changed> {
    let (mode, size) = (change.mode, change.size);
    if mode == GONE {
        return Ok(Changed { raw: None, clean: None });
    }
    let converts = entry.is_some_and(|entry| entry.conversion == Conversion::LineEnds);
    let (id, clean) = if converts && size <= MAX_CONVERTED {
        let mut contents = vec![0; usize::try_from(size).unwrap_or_default()];
        stream.read_exact(&mut contents)?;
        let id = objects.write_blob(size, &mut contents.as_slice())?;
        let clean = match has_dos_line_ends(&contents) {
            true => {
                let contents = without_carriage_returns(&contents);
                objects.write_blob(contents.len() as u64, &mut contents.as_slice())?
            }
            false => id.clone(),
        };
        (id, clean)
    } else {
        let id = objects.write_blob(size, stream)?;
        (id.clone(), id)
    };
    let raw = Version { mode, id };
    // Where only the mode changed, or only the contents, the rest is as git had it.
    let before = entry.and_then(|entry| Some((entry.raw.as_ref()?, &entry.clean)));
    let clean = match before {
        Some((before, clean)) if before.id == raw.id => Version { mode, id: clean.id.clone() },
        Some((before, had)) if before.mode == mode => Version { mode: had.mode, id: clean },
        _ => Version { mode, id: clean },
    };
    Ok(Changed { raw: Some(raw), clean: Some(clean) })
}

/// Reads a survey's stream without contents to its end, and counts what is different.
///
/// # Errors
/// As [`receive`].
pub(crate) fn count(stream: &mut impl Read) -> io::Result<u64> {
    let mut count = 0;
    while let Some(change) = Change::read(stream)? {
        if change.size != 0 || !is_possible(&change.path) || count == MAX_PATHS as u64 {
            return Err(invalid("what the guest says makes no sense".to_owned()));
        }
        count += 1;
    }
    Ok(count)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use banger_tree::blob::{ObjectFormat, name_blob};
    use banger_tree::changes::FILE;

    use super::*;

    fn received(changes: &[(&[u8], u32, u64, &[u8])]) -> Result<Changes, String> {
        let mut bytes = Vec::new();
        for (path, mode, size, contents) in changes {
            let change = Change { path: path.to_vec(), mode: *mode, size: *size };
            change.write(&mut bytes).unwrap();
            bytes.extend_from_slice(contents);
        }
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::new(directory.path().to_owned(), ObjectFormat::Sha1);
        receive(&mut bytes.as_slice(), &HashMap::new(), &objects, 1000)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn hostile_streams_are_refused() {
        for path in [
            &b"../x"[..],
            b"/etc/passwd",
            b"a/../b",
            b".git/config",
            b"a/.GIT/x",
            b"a//b",
            b".banger-apply-x/plan",
        ] {
            let error = received(&[(path, FILE, 1, b"x")]).unwrap_err();
            assert!(error.ends_with("is no path of a working tree"), "{error}");
        }
        let twice = received(&[(b"a", FILE, 1, b"x"), (b"a", GONE, 0, b"")]).unwrap_err();
        assert_eq!(twice, "`a` is there twice");
        let many = received(&[(b"a", FILE, 600, &[0; 600]), (b"b", FILE, 600, b"")]).unwrap_err();
        assert_eq!(many, "there is more to take than 1000 bytes");
        assert!(received(&[(b"a", FILE, 9, b"short")]).is_err());
        let good = received(&[(b"a", FILE, 2, b"ab"), (b"b", GONE, 0, b"")]).unwrap();
        let id = name_blob(ObjectFormat::Sha1, b"ab");
        assert_eq!(good[&b"a"[..]].raw, Some(Version { mode: FILE, id }));
        assert_eq!(good[&b"b"[..]].raw, None);
    }
}
