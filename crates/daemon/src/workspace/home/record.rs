//! What was brought into a guest, kept beside the VM's disk: from it one can tell later what the
//! guest changed, and what was there before.
//!
//! ```text
//!  <VM's directory>/workspace/current/
//!  ├── base.json   which repository, which commit
//!  ├── entries     every path, once: what is in the guest's tree and what git makes of it
//!  ├── modules/N/   the same for each submodule that came along
//!  └── objects/    contents that the host's repository does not have: uncommitted edits, and
//!                  files that are not on disk as git stores them
//! ```
//!
//! A path has two versions. *Raw* is what was on the host's disk and is in the guest. *Clean* is
//! what git stores for it: the same, but for files with converted line ends and files that go
//! through a filter. Nothing is cleaned here; a clean version is one that git already had.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Seek, Write as _};
use std::path::{Path, PathBuf};

use banger_tree::blob::{ObjectFormat, ObjectId, name_blob, name_blob_of};
use banger_tree::changes::{FILE, LINK, PROGRAM};
use serde::{Deserialize, Serialize};

use super::objects::Objects;
use crate::workspace::error::WorkspaceError;
use crate::workspace::git::{Git, LIST_LIMIT};
use crate::workspace::index::records;

const BASE: &str = "base.json";
const ENTRIES: &str = "entries";
const OBJECTS: &str = "objects";
/// Git's mode of a submodule.
const SUBMODULE: u32 = 0o160_000;

/// Which repository was brought in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    /// What the guest's tree is known by; absent for submodules, and for what an older daemon
    /// brought in.
    #[serde(default)]
    pub(crate) id: Option<String>,
    /// Path of a submodule in the guest's tree; empty for the outermost repository.
    #[serde(default)]
    pub(crate) below: String,
    /// Path that it was found by.
    pub(crate) path: PathBuf,
    /// Commit, in hexadecimal; absent for a repository without commits.
    pub(crate) commit: Option<String>,
    /// Short name of the branch; absent when none was checked out.
    pub(crate) branch: Option<String>,
    /// `sha1` or `sha256`.
    pub(crate) object_format: String,
    /// Names of the packs that the guest got.
    pub(crate) packs: Vec<String>,
}

/// A version of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// Git's mode.
    pub(crate) mode: u32,
    /// Name of the contents.
    pub(crate) id: ObjectId,
}

/// How the raw version became what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// It is the clean one.
    None,
    /// Its lines end in CR and LF.
    LineEnds,
    /// Something else: a filter, an encoding.
    Filter,
}

/// A path that was brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// From the top.
    pub(crate) path: Vec<u8>,
    /// In the guest; absent for what is outside a sparse checkout, and for a submodule.
    pub(crate) raw: Option<Version>,
    /// As git stores it.
    pub(crate) clean: Version,
    /// What lies between the two.
    pub(crate) conversion: Conversion,
}

/// What was brought in.
#[derive(Debug)]
pub(crate) struct Record {
    /// Which repository.
    pub(crate) base: Base,
    /// How objects are named.
    pub(crate) format: ObjectFormat,
    /// Every path.
    pub(crate) entries: Vec<Entry>,
    /// Contents that the host's repository does not have.
    pub(crate) objects: PathBuf,
}

impl Record {
    /// Reads the record in `directory`; none where nothing was recorded.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn load(directory: &Path) -> io::Result<Option<Self>> {
        let base = match fs_err::read(directory.join(BASE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            base => base?,
        };
        let damaged = || {
            let text = format!("the record in `{}` is damaged", directory.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let base: Base = serde_json::from_slice(&base).map_err(|_| damaged())?;
        let format = ObjectFormat::parse(&base.object_format).ok_or_else(damaged)?;
        let entries = fs_err::read(directory.join(ENTRIES))?;
        let entries = records(&entries).map(|record| Entry::parse(format, record));
        let entries = entries.collect::<Option<_>>().ok_or_else(damaged)?;
        Ok(Some(Self { base, format, entries, objects: directory.join(OBJECTS) }))
    }
}

impl Entry {
    /// `<raw mode> <raw id> <clean mode> <clean id> <conversion>\t<path>\0`.
    fn render(&self, out: &mut Vec<u8>) {
        let raw = match &self.raw {
            Some(raw) => format!("{:o} {}", raw.mode, raw.id),
            None => "0 -".to_owned(),
        };
        let conversion = match self.conversion {
            Conversion::None => '-',
            Conversion::LineEnds => 'l',
            Conversion::Filter => 'f',
        };
        let Version { mode, id } = &self.clean;
        out.extend_from_slice(format!("{raw} {mode:o} {id} {conversion}\t").as_bytes());
        out.extend_from_slice(&self.path);
        out.push(0);
    }

    fn parse(format: ObjectFormat, record: &[u8]) -> Option<Self> {
        let tab = record.iter().position(|byte| *byte == b'\t')?;
        let mut words = str::from_utf8(&record[..tab]).ok()?.split(' ');
        let mut version = || {
            let mode = u32::from_str_radix(words.next()?, 8).ok()?;
            let id = words.next()?;
            Some(
                (mode != 0)
                    .then(|| ObjectId::parse(format, id.as_bytes()).map(|id| Version { mode, id })),
            )
        };
        // The outer is whether it could be read, the inner whether there is one.
        let raw = match version()? {
            Some(raw) => Some(raw?),
            None => None,
        };
        let clean = version()??;
        let conversion = match words.next()? {
            "-" => Conversion::None,
            "l" => Conversion::LineEnds,
            "f" => Conversion::Filter,
            _ => return None,
        };
        Some(Self { path: record[tab + 1..].to_vec(), raw, clean: clean?, conversion })
    }
}

/// Writes a record while the tree is read.
#[derive(Debug)]
pub(crate) struct Recorder {
    directory: PathBuf,
    base: Base,
    objects: Objects,
    staged: HashMap<Vec<u8>, Staged>,
    /// Paths that git does not take for what is staged without having looked at them.
    dirty: HashSet<Vec<u8>>,
    entries: Vec<u8>,
}

#[derive(Debug)]
struct Staged {
    version: Version,
    /// Not a file of this repository's working tree: outside a sparse checkout, or said to be, or
    /// a submodule.
    skipped: bool,
}

impl Recorder {
    /// Begins a record in `directory`, which is empty, of a repository with this index. `on_disk`
    /// says that its files are the host's own, which may differ from what is staged.
    ///
    /// # Errors
    /// When git fails or the directory cannot be written.
    pub(crate) async fn begin(
        git: &Git,
        index: &Path,
        on_disk: bool,
        directory: &Path,
        base: Base,
    ) -> Result<Self, WorkspaceError> {
        let format =
            ObjectFormat::parse(&git.object_format).ok_or_else(|| git.nonsense("rev-parse"))?;
        let ask = async |verb, args: &[&str]| {
            let asked = git.command(verb).args(args).env("GIT_INDEX_FILE", index);
            asked.without_deadline().output(LIST_LIMIT).await.map_err(|source| git.failure(source))
        };
        let changed = async {
            if !on_disk {
                return Ok(Vec::new());
            }
            let args = ["-z", "--name-only", "--ignore-submodules=all"];
            ask("diff-files", &args).await
        };
        let (staged, dirty) = tokio::try_join!(ask("ls-files", &["-z", "-t", "--stage"]), changed)?;
        let staged = parse_staged(format, &staged).ok_or_else(|| git.nonsense("ls-files"))?;
        let dirty = records(&dirty).map(<[u8]>::to_vec).collect();
        let objects = directory.join(OBJECTS);
        fs_err::create_dir(&objects)
            .map_err(|source| WorkspaceError::Prepare { path: git.top_level.clone(), source })?;
        let objects = Objects::new(objects, format);
        let directory = directory.to_owned();
        Ok(Self { directory, base, objects, staged, dirty, entries: Vec::new() })
    }

    /// Notes a file that is read whole.
    ///
    /// # Errors
    /// When its contents cannot be kept.
    pub(crate) fn file(&mut self, path: &[u8], mode: u32, contents: &[u8]) -> io::Result<()> {
        let id = name_blob(self.objects.format(), contents);
        let staged = self.take(path);
        let keep = staged.as_ref().is_none_or(|staged| staged.version.id != id);
        if keep {
            self.objects.write_blob(contents.len() as u64, &mut &*contents)?;
        }
        let line_ends = keep && has_dos_line_ends(contents);
        let converted = line_ends
            .then(|| name_blob(self.objects.format(), &without_carriage_returns(contents)));
        self.push(path, Version { mode: mode_of(mode), id }, staged, converted.as_ref());
        Ok(())
    }

    /// Notes a file that is too large for that, and reads it from its beginning; afterwards it is
    /// there again.
    ///
    /// # Errors
    /// When it cannot be read or its contents cannot be kept.
    pub(crate) fn large_file(
        &mut self,
        path: &[u8],
        mode: u32,
        size: u64,
        file: &mut File,
    ) -> io::Result<()> {
        let id = name_blob_of(self.objects.format(), size, file)?;
        file.rewind()?;
        let staged = self.take(path);
        if staged.as_ref().is_none_or(|staged| staged.version.id != id) {
            self.objects.write_blob(size, file)?;
            file.rewind()?;
        }
        self.push(path, Version { mode: mode_of(mode), id }, staged, None);
        Ok(())
    }

    /// Notes a link.
    ///
    /// # Errors
    /// When its text cannot be kept.
    pub(crate) fn link(&mut self, path: &[u8], text: &[u8]) -> io::Result<()> {
        let id = self.objects.write_blob(text.len() as u64, &mut &*text)?;
        let staged = self.take(path);
        self.push(path, Version { mode: LINK, id }, staged, None);
        Ok(())
    }

    /// Writes the record down.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        for (path, staged) in std::mem::take(&mut self.staged) {
            // Anything else that was not seen is deleted.
            if staged.skipped {
                let (clean, conversion) = (staged.version, Conversion::None);
                Entry { path, raw: None, clean, conversion }.render(&mut self.entries);
            }
        }
        write_durably(&self.directory.join(ENTRIES), &self.entries)?;
        let base = serde_json::to_vec(&self.base).map_err(io::Error::other)?;
        write_durably(&self.directory.join(BASE), &base)
    }

    fn take(&mut self, path: &[u8]) -> Option<Staged> {
        self.staged.remove(path)
    }

    /// `converted` is the name of the contents with other line ends.
    fn push(
        &mut self,
        path: &[u8],
        raw: Version,
        staged: Option<Staged>,
        converted: Option<&ObjectId>,
    ) {
        let (mut clean, conversion) = match staged {
            Some(staged) if staged.version.id == raw.id => (staged.version, Conversion::None),
            Some(staged) if converted == Some(&staged.version.id) => {
                (staged.version, Conversion::LineEnds)
            }
            Some(staged) if !self.dirty.contains(path) => (staged.version, Conversion::Filter),
            _ => (raw.clone(), Conversion::None),
        };
        // What is not dirty may have another mode where git does not watch modes.
        if self.dirty.contains(path) {
            clean.mode = raw.mode;
        }
        Entry { path: path.to_vec(), raw: Some(raw), clean, conversion }.render(&mut self.entries);
    }
}

/// Writes a file that is whole after a crash, too, if it is there at all: half a record would make
/// changes of what nobody changed.
fn write_durably(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = fs_err::File::create(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// Git's mode of a file with this one.
fn mode_of(mode: u32) -> u32 {
    if mode & 0o100 == 0 { FILE } else { PROGRAM }
}

/// Parses `git ls-files -z -t --stage`: `<tag> <mode> <object> <stage>\t<path>\0`. A path in
/// conflict has no staged version.
fn parse_staged(format: ObjectFormat, list: &[u8]) -> Option<HashMap<Vec<u8>, Staged>> {
    let mut staged = HashMap::new();
    for record in records(list) {
        let tab = record.iter().position(|byte| *byte == b'\t')?;
        let mut words = str::from_utf8(&record[..tab]).ok()?.split(' ');
        let (tag, mode, id, stage) = (words.next()?, words.next()?, words.next()?, words.next()?);
        if stage == "0" {
            let mode = u32::from_str_radix(mode, 8).ok()?;
            let version = Version { mode, id: ObjectId::parse(format, id.as_bytes())? };
            let skipped = tag.eq_ignore_ascii_case("S") || mode == SUBMODULE;
            staged.insert(record[tab + 1..].to_vec(), Staged { version, skipped });
        }
    }
    Some(staged)
}

/// Whether each line ends in CR and LF.
pub(crate) fn has_dos_line_ends(contents: &[u8]) -> bool {
    let mut last = 0;
    let mut found = false;
    for &byte in contents {
        match byte {
            0 => return false,
            b'\n' if last != b'\r' => return false,
            b'\n' => found = true,
            _ => {}
        }
        last = byte;
    }
    found
}

/// The same lines, ended as git stores them.
pub(crate) fn without_carriage_returns(contents: &[u8]) -> Vec<u8> {
    let next = contents.iter().skip(1).map(Some).chain([None]);
    let kept = contents
        .iter()
        .zip(next)
        .filter(|(byte, next)| !(**byte == b'\r' && next.is_some_and(|next| *next == b'\n')));
    kept.map(|(byte, _)| *byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip() {
        let version = |mode, text: &[u8]| Version { mode, id: name_blob(ObjectFormat::Sha1, text) };
        let path = b"a\tb\n\xff".to_vec();
        for (raw, conversion) in [
            (Some(version(FILE, b"a\r\n")), Conversion::LineEnds),
            (Some(version(LINK, b"a")), Conversion::Filter),
            (None, Conversion::None),
        ] {
            let clean = version(PROGRAM, b"a\n");
            let entry = Entry { path: path.clone(), raw, clean, conversion };
            let mut text = Vec::new();
            entry.render(&mut text);
            let record = records(&text).next().unwrap();
            assert_eq!(Entry::parse(ObjectFormat::Sha1, record), Some(entry));
            for end in 0..record.len() - path.len() {
                assert_eq!(Entry::parse(ObjectFormat::Sha1, &record[..end]), None, "{end}");
            }
        }
    }

    #[test]
    fn line_ends_are_known() {
        for text in [&b"a\r\nb\r\n"[..], b"\r\n", b"a\r\nb"] {
            assert!(has_dos_line_ends(text), "{text:?}");
        }
        for text in [&b""[..], b"a", b"a\r\nb\n", b"a\r\n\0", b"a\r"] {
            assert!(!has_dos_line_ends(text), "{text:?}");
        }
        assert_eq!(without_carriage_returns(b"a\r\n\rb\r\r\n\r"), b"a\n\rb\r\n\r");
    }
}
