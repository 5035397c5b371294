//! What git tells about its index: parsing `git ls-files`.

use std::path::Path;

use super::error::WorkspaceError;
use super::git::{Git, LIST_LIMIT};
use crate::exec::ExecError;

/// Mode of an index entry that is a commit of another repository: a submodule.
const GITLINK: u32 = 0o160_000;
/// Mode of an index entry that stands for a whole directory outside a sparse checkout.
const SPARSE_DIRECTORY: u32 = 0o040_000;
/// Exit code of git for an option it does not know.
const USAGE: i32 = 129;

/// A path of the index; a path in conflict has several entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// Mode: 100644, 100755, 120000 or 160000 (octal).
    pub(super) mode: u32,
    /// Path from the top level, as bytes.
    pub(super) path: Vec<u8>,
}

impl IndexEntry {
    pub(super) fn is_submodule(&self) -> bool {
        self.mode == GITLINK
    }
}

/// Parses `git ls-files -z --stage`: `<mode> <object> <stage>\t<path>\0`. `None` when it is
/// something else.
pub(super) fn parse_stage_list(list: &[u8]) -> Option<Vec<IndexEntry>> {
    let parse = |record: &[u8]| {
        let tab = record.iter().position(|byte| *byte == b'\t')?;
        let mode = str::from_utf8(record.get(..tab)?.split(|byte| *byte == b' ').next()?).ok()?;
        Some(IndexEntry {
            mode: u32::from_str_radix(mode, 8).ok()?,
            path: record.get(tab + 1..)?.to_vec(),
        })
    };
    records(list).map(parse).collect()
}

/// The parts of a list in which each ends with a NUL.
pub(super) fn records(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let list = list.strip_suffix(b"\0").unwrap_or(list);
    list.split(|byte| *byte == 0).filter(|record| !record.is_empty())
}

/// Whether a path could be in a working tree. Git sees to that for all that it fetches and adds;
/// an index made by other means must not put words into the guest's `.git`.
pub(super) fn is_possible(path: &[u8]) -> bool {
    let impossible = |part: &[u8]| {
        part.is_empty() || part == b"." || part == b".." || part.eq_ignore_ascii_case(b".git")
    };
    !path.split(|byte| *byte == b'/').any(impossible)
}

/// What an index has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tracked {
    /// Paths of files and links.
    pub(super) files: Vec<Vec<u8>>,
    /// Paths of submodules.
    pub(super) submodules: Vec<Vec<u8>>,
}

/// Paths of the index at `index_file` (the repository's own when absent), without the further
/// entries of one in conflict.
///
/// # Errors
/// When there are impossible names among them, or git fails.
pub(super) async fn load_tracked(
    git: &Git,
    index_file: Option<&Path>,
) -> Result<Tracked, WorkspaceError> {
    let list = ls_files(git, index_file, &["--stage"]).await?;
    let mut entries = parse_stage_list(&list).ok_or_else(|| git.nonsense("ls-files"))?;
    entries.retain(|entry| entry.mode != SPARSE_DIRECTORY);
    entries.dedup_by(|a, b| a.path == b.path);
    let mut tracked = Tracked::default();
    for entry in entries {
        let paths = if entry.is_submodule() { &mut tracked.submodules } else { &mut tracked.files };
        paths.push(possible(git, entry.path)?);
    }
    Ok(tracked)
}

/// Files that are neither tracked nor ignored. Repositories inside this one are left out: git
/// names them as directories and knows nothing of what is in them.
pub(super) async fn load_untracked(git: &Git) -> Result<Vec<Vec<u8>>, WorkspaceError> {
    let list = ls_files(git, None, &["--others", "--exclude-standard"]).await?;
    let files = records(&list).filter(|path| !path.ends_with(b"/"));
    files.map(|path| possible(git, path.to_vec())).collect()
}

/// Whether the attribute `filter` names a filter for one of `paths`.
pub(super) async fn load_is_filtered(git: &Git, paths: &[Vec<u8>]) -> Result<bool, WorkspaceError> {
    let input = paths.iter().flat_map(|path| [path.as_slice(), b"\0"]).collect::<Vec<_>>().concat();
    let command = git.command("check-attr").args(["-z", "--stdin", "filter"]).stdin_bytes(input);
    let list = command.output(LIST_LIMIT).await.map_err(|source| git.failure(source))?;
    Ok(parse_any_filter(&list))
}

/// Parses `git check-attr -z`: `<path>\0<attribute>\0<value>\0`.
fn parse_any_filter(list: &[u8]) -> bool {
    let values = list.split(|byte| *byte == 0).skip(2).step_by(3);
    values.into_iter().any(|value| !matches!(value, b"unspecified" | b"unset" | b"set" | b""))
}

/// Runs `git ls-files` so that it leaves a sparse index as it is: spreading it out would write
/// trees into the host's repository. Git learnt that in 2.35; one that is older is asked without.
async fn ls_files(
    git: &Git,
    index_file: Option<&Path>,
    args: &[&str],
) -> Result<Vec<u8>, WorkspaceError> {
    let ask = async |sparse: &[&str]| {
        let mut command = git.command("ls-files").args(["-z"]).args(sparse).args(args);
        if let Some(file) = index_file {
            command = command.env("GIT_INDEX_FILE", file);
        }
        command.output(LIST_LIMIT).await
    };
    let list = match ask(&["--sparse"]).await {
        Err(ExecError::Failed { status, .. }) if status.code() == Some(USAGE) => ask(&[]).await,
        list => list,
    };
    list.map_err(|source| git.failure(source))
}

fn possible(git: &Git, path: Vec<u8>) -> Result<Vec<u8>, WorkspaceError> {
    if is_possible(&path) {
        return Ok(path);
    }
    let name = String::from_utf8_lossy(&path).into_owned();
    Err(WorkspaceError::Name { path: git.top_level.clone(), name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_as_bytes() {
        let list = b"100644 e69de29 0\ta\tb\n\xff\x00120000 0cfbf08 2\tc d\0";
        let entries = parse_stage_list(list).unwrap();
        assert_eq!(entries[0], IndexEntry { mode: 0o100_644, path: b"a\tb\n\xff".to_vec() });
        assert_eq!(entries[1], IndexEntry { mode: 0o120_000, path: b"c d".to_vec() });
        assert_eq!(parse_stage_list(b""), Some(vec![]));
        assert_eq!(parse_stage_list(b"100644 e69de29 0 a\0"), None);
        assert_eq!(parse_stage_list(b"x e69de29 0\ta\0"), None);
    }

    #[test]
    fn finds_filters() {
        assert!(!parse_any_filter(b""));
        assert!(!parse_any_filter(b"lfs\0filter\0unspecified\0a\0filter\0unset\0"));
        assert!(parse_any_filter(b"a\0filter\0unspecified\0b\0filter\0lfs\0"));
    }

    #[test]
    fn knows_impossible_names() {
        for good in [&b"a"[..], b"a/b", b".gitignore", b"a/...", b"\xff", b".git-x/y"] {
            assert!(is_possible(good), "{good:?}");
        }
        for bad in [&b""[..], b"/a", b"a//b", b"../a", b"a/..", b".git/config", b"a/.GIT/x", b"a/"]
        {
            assert!(!is_possible(bad), "{bad:?}");
        }
    }
}
