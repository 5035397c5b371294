//! What the guest begins with: the host's head, or a branch of its own.
//!
//! A branch that begins at another commit comes with that commit's files, checked out on the host
//! into a temporary directory: the host's edits are edits of something else.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use banger_proto::api::GuestBranch;

use super::error::WorkspaceError;
use super::git::{Git, LIST_LIMIT, quiet_git};
use super::index::{is_possible, records};
use super::source::{Head, Options, WorkspaceFile};

/// The two heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// The guest's.
    pub(super) head: Head,
    /// The host's commit, where that is another one.
    pub(super) host_head: Option<String>,
}

/// Asks git for the heads.
///
/// # Errors
/// When the branch or the commit that is asked for cannot be, or git fails.
pub(super) async fn load(git: &Git, options: &Options) -> Result<Start, WorkspaceError> {
    let host = Head::load(git).await?;
    let Some(GuestBranch { name, from }) = &options.branch else {
        return Ok(Start { head: host, host_head: None });
    };
    let reference = parse_branch(git, name).await?;
    let Some(from) = from else {
        return Ok(Start { head: Head { reference: Some(reference), ..host }, host_head: None });
    };
    let commit = load_commit(git, from).await?;
    let host_head = host.commit.filter(|host| *host != commit);
    Ok(Start { head: Head { commit: Some(commit), reference: Some(reference) }, host_head })
}

/// The branch of this name in full.
async fn parse_branch(git: &Git, name: &str) -> Result<Vec<u8>, WorkspaceError> {
    let refused =
        || WorkspaceError::BranchName { path: git.top_level.clone(), name: name.to_owned() };
    let reference = format!("refs/heads/{name}");
    // `git branch` takes neither, though both could be written down.
    if name.starts_with('-') || name == "HEAD" || name.contains('\0') {
        return Err(refused());
    }
    let known = git.line("check-ref-format", &[&reference]).await?;
    known.map(|_| reference.into_bytes()).ok_or_else(refused)
}

/// The commit that `from` names.
async fn load_commit(git: &Git, from: &str) -> Result<String, WorkspaceError> {
    let missing =
        || WorkspaceError::NoCommit { path: git.top_level.clone(), from: from.to_owned() };
    if from.contains('\0') {
        return Err(missing());
    }
    let commit = format!("{from}^{{commit}}");
    let args = ["--quiet", "--verify", "--end-of-options", &commit];
    let id = git.line("rev-parse", &args).await?.ok_or_else(missing)?;
    String::from_utf8(id).map_err(|_| git.nonsense("rev-parse"))
}

/// The files of the commit at `head`, or those of them that are at or below `paths`.
pub(super) async fn files(
    git: &Git,
    head: &Head,
    paths: &[&str],
) -> Result<Vec<WorkspaceFile>, WorkspaceError> {
    let commit = head.commit.as_deref().unwrap_or_default();
    let command = git.command("ls-tree").args(["-r", "-z", "--long", "--full-tree", commit]);
    let command = command.args(paths);
    let list = command.output(LIST_LIMIT).await.map_err(|source| git.failure(source))?;
    let parsed = records(&list).map(parse_tree_entry).collect::<Option<Vec<_>>>();
    parsed.ok_or_else(|| git.nonsense("ls-tree"))
}

/// Parses `git ls-tree -z --long`: `<mode> <type> <object> <size>\t<path>`, the size padded.
fn parse_tree_entry(record: &[u8]) -> Option<WorkspaceFile> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let mut fields = str::from_utf8(&record[..tab]).ok()?.split_ascii_whitespace();
    let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
    let size = fields.nth(2)?.parse().unwrap_or_default();
    let path = &record[tab + 1..];
    let path = is_possible(path).then(|| PathBuf::from(OsString::from_vec(path.to_vec())))?;
    Some(WorkspaceFile { path, mode, size })
}

/// Checks the commit of the guest's repository `at` out into `tree`, and makes its index of that.
///
/// Only the guest's own settings count: with the user's filters, files would come to the guest in
/// a form that it has no programs for.
pub(super) async fn check_out(
    git: &Git,
    at: &Path,
    tree: &Path,
    commit: &str,
) -> Result<(), WorkspaceError> {
    let command = quiet_git(&git.env, "read-tree")
        .current_dir(tree)
        .env("GIT_DIR", at)
        .env("GIT_WORK_TREE", tree)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "index.version=2"])
        .args(["read-tree", "--reset", "-u", commit])
        .without_deadline();
    command.run().await.map_err(|source| git.failure(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_parsed() {
        let id = "e".repeat(40);
        let file = parse_tree_entry(format!("100755 blob {id}      12\ta b").as_bytes()).unwrap();
        assert_eq!(file, WorkspaceFile { path: "a b".into(), mode: 0o100_755, size: 12 });
        for bad in ["", "100644 blob\ta", "100644 blob e 1\t../a", "x blob e 1\ta"] {
            assert_eq!(parse_tree_entry(bad.as_bytes()), None, "{bad}");
        }
    }
}
