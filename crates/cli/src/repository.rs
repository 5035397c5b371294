//! What a path must be before a VM is made for it: a directory in a git repository with a work
//! tree. Only what can be told without starting git; the daemon reads the repository itself,
//! and answers before it makes anything, too.

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
