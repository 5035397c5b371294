//! What can be told of a repository without starting git: whether a path is in one with a work
//! tree, before a VM is made for it, and which commit is checked out. The daemon reads the
//! repository itself, and answers before it makes anything, too.

use std::path::{Path, PathBuf};

use crate::errors::CliError;

/// The way out of every path that is no repository.
const WITHOUT: &str = "leave the path out for a VM without a workspace";

/// Checks the path a user gave and gives it absolute, without symlinks.
///
/// # Errors
/// When it does not exist, is no directory, is not in a repository or in a bare one, or cannot
/// be written in JSON.
pub(crate) fn check(given: &Path, cwd: &Path) -> Result<String, CliError> {
    let shown = given.display();
    let path = std::fs::canonicalize(cwd.join(given)).map_err(|error| {
        CliError::failure(format!("cannot use `{shown}` as workspace"))
            .because(&error)
            .hint(WITHOUT)
    })?;
    if !path.is_dir() {
        return Err(CliError::failure(format!("`{shown}` is not a directory"))
            .hint("name a directory of a git repository"));
    }
    match find_repository(&path) {
        Found::WorkTree => {}
        Found::Bare(top) => {
            return Err(CliError::failure(format!(
                "`{shown}` is in a bare repository, which has no files to work on"
            ))
            .hint(format!("clone it: `git clone {} DIRECTORY`", top.display())));
        }
        Found::Nothing => {
            return Err(CliError::failure(format!("`{shown}` is not in a git repository"))
                .hint(format!("make it one with `git init {shown}`"))
                .hint(WITHOUT));
        }
    }
    path.into_os_string().into_string().map_err(|path| {
        CliError::failure(format!("`{}` is not UTF-8", path.display()))
            .hint("rename the directory, or reach it through a symbolic link's target that is")
    })
}

/// The commit that is checked out in the repository at `top`; none when that cannot be told
/// (gitrepository-layout(5)).
pub(crate) fn load_head(top: &Path) -> Option<String> {
    let git = find_git_directory(top)?;
    let shared = match read(&git.join("commondir")) {
        Some(path) => git.join(path.trim_end_matches('\n')),
        None => git.clone(),
    };
    let head = read(&git.join("HEAD"))?;
    let Some(name) = head.strip_prefix("ref:") else { return parse_id(&head) };
    let name = name.trim();
    if let Some(id) = read(&git.join(name)).or_else(|| read(&shared.join(name))) {
        return parse_id(&id);
    }
    let packed = read(&shared.join("packed-refs"))?;
    let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(_, other)| *other == name).and_then(|(id, _)| parse_id(id))
}

/// The beginning of a commit's id, for people.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// `.git` is the directory, or a file that says where it is.
fn find_git_directory(top: &Path) -> Option<PathBuf> {
    let git = top.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = read(&git)?;
    Some(top.join(text.strip_prefix("gitdir:")?.trim()))
}

fn parse_id(text: &str) -> Option<String> {
    let id = text.trim();
    let is_id = matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

enum Found {
    WorkTree,
    Bare(PathBuf),
    Nothing,
}

/// Looks upwards as git does: `.git` is a directory, or a file in linked work trees and
/// submodules; a bare repository is known by what a git directory holds (gitrepository-layout(5)).
fn find_repository(path: &Path) -> Found {
    for dir in path.ancestors() {
        if dir.join(".git").exists() {
            return Found::WorkTree;
        }
        if dir.join("HEAD").is_file() && dir.join("objects").is_dir() && dir.join("refs").is_dir() {
            return Found::Bare(dir.to_owned());
        }
    }
    Found::Nothing
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(dir: &Path, args: &[&str]) {
        assert!(Command::new("git").current_dir(dir).args(args).status().unwrap().success());
    }

    #[test]
    fn tells_the_commit_that_is_checked_out() {
        let base = tempfile::tempdir().unwrap();
        let ask = |dir: &Path| {
            let asked = Command::new("git").current_dir(dir).args(["rev-parse", "HEAD"]).output();
            String::from_utf8(asked.unwrap().stdout).unwrap().trim().to_owned()
        };
        let repo = base.path().join("repo");
        let as_git_says = |dir: &Path| assert_eq!(load_head(dir), Some(ask(dir)));
        git(base.path(), &["init", "-q", "-b", "main", "repo"]);
        assert_eq!(load_head(&repo), None);
        git(&repo, &["config", "user.name", "A"]);
        git(&repo, &["config", "user.email", "a@example.org"]);
        git(&repo, &["commit", "-q", "--allow-empty", "-m", "one"]);
        as_git_says(&repo);
        git(&repo, &["worktree", "add", "-q", "-b", "side", "../linked"]);
        as_git_says(&base.path().join("linked"));
        git(&repo, &["pack-refs", "--all"]);
        as_git_says(&repo);
        as_git_says(&base.path().join("linked"));
        git(&repo, &["checkout", "-q", "--detach"]);
        as_git_says(&repo);
        assert_eq!(load_head(base.path()), None);
    }

    #[test]
    fn tells_repositories_from_other_directories() {
        let base = tempfile::tempdir().unwrap();
        git(base.path(), &["init", "-q", "repo"]);
        git(base.path(), &["init", "-q", "--bare", "bare.git"]);
        std::fs::create_dir_all(base.path().join("repo/deep/er")).unwrap();
        std::fs::write(base.path().join("file"), "").unwrap();

        let said = |path: &str| check(Path::new(path), base.path()).map_err(|e| format!("{e:?}"));
        assert!(said("repo/deep/er").unwrap().ends_with("/repo/deep/er"));
        assert!(said("bare.git").unwrap_err().contains("`bare.git` is in a bare repository"));
        assert!(said(".").unwrap_err().contains("`.` is not in a git repository"));
        assert!(said("file").unwrap_err().contains("`file` is not a directory"));
        assert!(said("none").unwrap_err().contains("cannot use `none` as workspace"));
    }
}
