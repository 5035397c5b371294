//! The difference between what is known of a tree and what is there.
//!
//! First every path that is known is looked at, then the tree is walked for others, and what the
//! rules ignore is not entered. So a known file is found whatever the rules say, and a directory
//! full of what was built costs nothing.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

use banger_proto::guest::{MAX_COMMITS, Surveyed, WORKSPACE_ID};
use banger_tree::blob::{ObjectFormat, ObjectId, name_blob, name_blob_of};
use banger_tree::changes::{Change, FILE, GONE, Known, LINK, PROGRAM};
use banger_tree::{Node, Tree};
use rustix::fs::{FileType, Stat};

use super::SurveyError;
use super::head::Head;
use super::ignored::{Rules, is_ignored};
use super::objects::copy_exactly;
use super::pulse::Out;
use super::{index, names};

/// A file up to this size, in bytes, is read once, named and sent.
const READ_WHOLE: u64 = 1 << 20;
/// Longest name of a bringing-in, in bytes.
const MAX_ID: u64 = 64;
/// Most notes that are made.
const MAX_NOTES: usize = 32;

struct Survey<'a> {
    top: Tree,
    format: ObjectFormat,
    contents: bool,
    out: &'a mut Out,
    notes: Vec<String>,
}

/// A directory on the way down.
struct Level {
    /// The empty path, or one that ends in a slash.
    path: Vec<u8>,
    /// What is still to be looked at, the next one last.
    names: Vec<Vec<u8>>,
    rules: Rules,
}

/// Writes what is different in `top` from what is `known`.
pub(super) fn survey(
    mut top: Tree,
    known: &[Known],
    format: ObjectFormat,
    contents: bool,
    out: &mut Out,
) -> Result<Surveyed, SurveyError> {
    let head = Head::load(&mut top);
    let named = names::load(&mut top).map_err(SurveyError::read(b".git"))?;
    let more_commits = named.len() > MAX_COMMITS;
    let commits = named.into_iter().take(MAX_COMMITS).collect();
    let workspace_id = load_workspace_id(&mut top);
    let added = index::load_paths(&mut top, format);
    let mut survey = Survey { top, format, contents, out, notes: Vec::new() };
    let mut seen: HashSet<&[u8]> = HashSet::with_capacity(known.len());
    for known in known {
        seen.insert(&known.path);
        survey.compare(&known.path, Some(known))?;
    }
    for path in &added {
        if is_outside_git(path) && seen.insert(path) {
            survey.compare(path, None)?;
        }
    }
    survey.walk(&seen)?;
    let notes = survey.notes;
    let Head { commit, reference } = head;
    Ok(Surveyed { commit, reference, workspace_id, commits, more_commits, notes })
}

/// What the host has called the bringing-in that the tree came by.
fn load_workspace_id(top: &mut Tree) -> Option<String> {
    let path = [b".git/", WORKSPACE_ID.as_bytes()].concat();
    let Ok(Some(Node::File(file, _))) = top.read(&path) else { return None };
    let mut id = String::new();
    file.take(MAX_ID).read_to_string(&mut id).ok()?;
    Some(id)
}

/// Whether a path is one that git would track.
fn is_outside_git(path: &[u8]) -> bool {
    !path.is_empty() && !path.split(|byte| *byte == b'/').any(is_odd)
}

/// Whether a name is none that git tracks.
fn is_odd(name: &[u8]) -> bool {
    matches!(name, b"" | b"." | b"..") || name.eq_ignore_ascii_case(b".git")
}

impl Survey<'_> {
    fn walk(&mut self, seen: &HashSet<&[u8]>) -> Result<(), SurveyError> {
        let exclude = Rules::load(&mut self.top, b".git/info/exclude", b"");
        let mut levels = vec![self.enter(Vec::new())?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            let path = [level.path.as_slice(), &name].concat();
            self.out.beat();
            if is_odd(&name) {
                continue;
            }
            let kind = self.top.kind(&path).map_err(SurveyError::read(&path))?;
            let is_directory = kind == Some(FileType::Directory);
            // A directory may have taken the place of a file that is known.
            if !is_directory && seen.contains(path.as_slice()) {
                continue;
            }
            let rules = [&exclude].into_iter().chain(levels.iter().map(|level| &level.rules));
            if is_ignored(rules, &path, is_directory) {
                continue;
            }
            if !is_directory {
                self.compare(&path, None)?;
            } else if self.is_repository(&path)? {
                let path = String::from_utf8_lossy(&path).into_owned();
                self.note(format!("`{path}` is a repository of its own, which stays in the guest"));
            } else {
                levels.push(self.enter([path.as_slice(), b"/"].concat())?);
            }
        }
        Ok(())
    }

    /// Lists the directory `path`, which is empty or ends in a slash.
    fn enter(&mut self, path: Vec<u8>) -> Result<Level, SurveyError> {
        let listed = self.top.list(path.strip_suffix(b"/").unwrap_or(&path));
        let mut names = listed.map_err(SurveyError::read(&path))?.unwrap_or_default();
        let has_rules = names.binary_search_by(|name| name.as_slice().cmp(b".gitignore")).is_ok();
        names.reverse();
        let rules = match has_rules {
            true => Rules::load(&mut self.top, &[&path, &b".gitignore"[..]].concat(), &path),
            false => Rules::default(),
        };
        Ok(Level { path, names, rules })
    }

    fn is_repository(&mut self, path: &[u8]) -> Result<bool, SurveyError> {
        let found = self.top.kind(&[path, b"/.git"].concat());
        Ok(found.map_err(SurveyError::read(path))?.is_some())
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }

    /// Writes what is at `path` unless it is as known.
    fn compare(&mut self, path: &[u8], known: Option<&Known>) -> Result<(), SurveyError> {
        self.out.beat();
        match self.top.read(path).map_err(SurveyError::read(path))? {
            None if known.is_some() => self.write(path, GONE, b""),
            None => Ok(()),
            Some(Node::Link(text, _)) => {
                let same = is_same(known, LINK, &name_blob(self.format, &text));
                if same { Ok(()) } else { self.write(path, LINK, &text) }
            }
            Some(Node::File(file, stat)) => self.compare_file(path, file, &stat, known),
        }
    }

    fn compare_file(
        &mut self,
        path: &[u8],
        mut file: File,
        stat: &Stat,
        known: Option<&Known>,
    ) -> Result<(), SurveyError> {
        let mode = if stat.st_mode & 0o100 == 0 { FILE } else { PROGRAM };
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        if size <= READ_WHOLE {
            let mut contents = Vec::new();
            let read = (&mut file).take(READ_WHOLE).read_to_end(&mut contents);
            read.map_err(SurveyError::read(path))?;
            let same = is_same(known, mode, &name_blob(self.format, &contents));
            return if same { Ok(()) } else { self.write(path, mode, &contents) };
        }
        if let Some(known) = known {
            let id = name_blob_of(self.format, size, &mut self.out.beating(&mut file));
            let id = id.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    SurveyError::Changed(String::from_utf8_lossy(path).into_owned())
                }
                _ => SurveyError::read(path)(error),
            })?;
            if is_same(Some(known), mode, &id) {
                return Ok(());
            }
            file.rewind().map_err(SurveyError::read(path))?;
        }
        let size = if self.contents { size } else { 0 };
        self.header(path, mode, size)?;
        copy_exactly(&mut file, size, path, self.out)
    }

    fn write(&mut self, path: &[u8], mode: u32, contents: &[u8]) -> Result<(), SurveyError> {
        let contents = if self.contents { contents } else { b"" };
        self.header(path, mode, contents.len() as u64)?;
        self.out.write_all(contents).map_err(|_| SurveyError::Unheard)
    }

    fn header(&mut self, path: &[u8], mode: u32, size: u64) -> Result<(), SurveyError> {
        let change = Change { path: path.to_vec(), mode, size };
        change.write(self.out).map_err(|_| SurveyError::Unheard)
    }
}

fn is_same(known: Option<&Known>, mode: u32, id: &ObjectId) -> bool {
    known.is_some_and(|known| known.mode == mode && known.id == *id)
}
