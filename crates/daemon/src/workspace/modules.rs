//! The submodules of a repository: which are checked out, and where.
//!
//! In the guest each is a repository of its own with its `.git` in its place, so that nothing has to
//! be made of the names in `.gitmodules`, which may be anything.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::error::WorkspaceError;
use super::git::Git;
use super::index::{self, Tracked};

/// Submodules inside of submodules, at most.
const MAX_DEPTH: usize = 16;

/// A submodule that is checked out.
#[derive(Debug, Clone)]
pub(super) struct Module {
    /// Its path from the top of the outermost repository.
    pub(super) path: Vec<u8>,
    /// Its repository.
    pub(super) git: Git,
}

/// The submodules of `git`, whose index has `tracked`, that are checked out, with those inside of
/// them, the outer ones first.
///
/// # Errors
/// When git cannot be asked about one, or there is no end to them.
pub(super) async fn discover(git: &Git, tracked: &Tracked) -> Result<Vec<Module>, WorkspaceError> {
    let mut found: Vec<Module> = Vec::new();
    let listed = |path: &[u8]| (git.clone(), path.to_vec(), Vec::new(), 1);
    let mut pending: Vec<_> = tracked.submodules.iter().rev().map(|path| listed(path)).collect();
    while let Some((parent, path, below, depth)) = pending.pop() {
        if depth > MAX_DEPTH {
            return Err(WorkspaceError::TooDeep(git.top_level.clone()));
        }
        let Some(inner) = open(&parent, &path).await? else { continue };
        let whole = [below.as_slice(), &path].concat();
        let tracked = index::load_tracked(&inner, None).await?;
        let inside = [whole.as_slice(), b"/"].concat();
        pending.extend(
            tracked
                .submodules
                .into_iter()
                .rev()
                .map(|path| (inner.clone(), path, inside.clone(), depth + 1)),
        );
        found.push(Module { path: whole, git: inner });
    }
    Ok(found)
}

/// The repository of the submodule at `path`; none when it is not checked out.
async fn open(parent: &Git, path: &[u8]) -> Result<Option<Git>, WorkspaceError> {
    let place = parent.top_level.join(OsStr::from_bytes(path));
    // A link in its place would lead elsewhere.
    let is_there = fs_err::symlink_metadata(&place).is_ok_and(|metadata| metadata.is_dir())
        && fs_err::symlink_metadata(place.join(".git")).is_ok();
    if !is_there {
        return Ok(None);
    }
    let git = Git::discover(&parent.env, &place).await?;
    let same = |place| fs_err::canonicalize(place).ok();
    Ok((same(git.top_level.clone()) == same(place)).then_some(git))
}
