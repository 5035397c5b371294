//! Why a workspace does not come home.

use std::io;
use std::path::PathBuf;

use banger_proto::{Code, Problem};

use crate::exec::ExecError;
use crate::guest::GuestError;
use crate::workspace::error::WorkspaceError;

/// Why a workspace does not come home.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// What was brought in cannot be looked up.
    #[error("cannot read what was brought in")]
    Record(#[source] io::Error),
    /// Nothing was brought in, or by a banger that did not keep what is needed now.
    #[error("VM `{0}` has no workspace whose changes are known")]
    NoRecord(String),
    /// A bringing-in was broken off, and the guest's tree is neither the older nor the newer one.
    #[error("what is in the workspace of VM `{0}` is not what was brought in")]
    Unsettled(String),
    /// Something would be lost.
    #[error("{}", render_lost(.files, .commits, *.unclear))]
    Lost {
        /// Files, for people.
        files: String,
        /// Commits, for people.
        commits: String,
        /// Whether there may be more commits.
        unclear: bool,
    },
    /// The repository on the host.
    #[error(transparent)]
    Host(#[from] WorkspaceError),
    /// The repository on the host has other names for its objects than the one brought in.
    #[error("`{}` is not the repository that was brought in", .0.display())]
    OtherRepository(PathBuf),
    /// The commit is no more in the repository on the host.
    #[error("commit {commit} is no more in `{}`", path.display())]
    NoBase {
        /// The commit that was brought in.
        commit: String,
        /// The repository.
        path: PathBuf,
    },
    /// The agent.
    #[error(transparent)]
    Guest(GuestError),
    /// What the guest says cannot be, or cannot be kept.
    #[error("cannot take what the guest says of its files")]
    Changes(#[source] io::Error),
    /// The paths of the guest make no tree.
    #[error("the guest's files make no tree that git takes")]
    Tree(#[source] ExecError),
    /// A path of the guest means something else somewhere, or cannot be beside another.
    #[error("`{0}` in the guest is no path that git takes")]
    Odd(String),
    /// Git failed at something else.
    #[error("cannot look at the guest's files with git")]
    Git(#[source] ExecError),
    /// The scratch repository cannot be written.
    #[error("cannot make room for the guest's files")]
    Scratch(#[source] io::Error),
    /// Files were changed on both sides.
    #[error("{} changed here and in the guest: {}", if *.count == 1 { "a file was".to_owned() } else { format!("{} files were", .count) }, render_names(.files, *.count))]
    Conflicts {
        /// The first of them.
        files: Vec<String>,
        /// All of them.
        count: usize,
    },
    /// A file of the host cannot be written.
    #[error("cannot write `{path}`; nothing was changed")]
    Place {
        /// From the top of the working tree.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the host cannot be written, nor can what was written be taken back.
    #[error("cannot bring `{path}` back as it was; it lies in `{}`", kept.display())]
    HalfPlaced {
        /// From the top of the working tree.
        path: String,
        /// Where the files are that were replaced.
        kept: PathBuf,
    },
    /// A directory with a list of moves that banger never makes.
    #[error("`{}` is named like a directory of banger's, and is none", .0.display())]
    ForeignHolding(PathBuf),
    /// No branch is called like that.
    #[error("`{0}` is no name for a branch")]
    BranchName(String),
    /// There is such a branch.
    #[error("branch `{0}` exists already")]
    BranchExists(String),
    /// Nothing was committed in the guest.
    #[error("the guest has no commits beyond the one that was brought in")]
    NoCommits,
    /// The guest's objects are not what git takes.
    #[error("git does not take the guest's commits")]
    Objects(#[source] ExecError),
    /// A thread ended badly.
    #[error("looking at the guest's files was interrupted")]
    Interrupted,
}

impl From<GuestError> for HomeError {
    fn from(error: GuestError) -> Self {
        Self::Guest(error)
    }
}

impl HomeError {
    /// The failure as a client gets it.
    pub(crate) fn problem(self, vm: &str) -> Problem {
        match self {
            Self::Host(error) => error.problem(),
            Self::Guest(GuestError::Refused(problem)) if problem.code == Code::UnknownMethod => {
                let message = format!("the agent of VM `{vm}` is too old to tell what changed");
                Problem::new(Code::Conflict, message)
                    .hint(format!("it gets a new one when it starts: banger vm restart {vm}"))
            }
            Self::Guest(GuestError::Refused(problem)) if problem.code == Code::NotFound => {
                let again = format!("banger vm workspace prepare {vm}");
                problem.hint(format!("to bring the repository in again: {again}"))
            }
            Self::Guest(GuestError::Refused(problem)) => problem,
            Self::Guest(error) => {
                let message = format!("lost VM `{vm}` while its workspace was read");
                Problem::new(Code::OperationFailed, message)
                    .because(&error)
                    .hint(format!("how it is: banger vm show {vm}"))
            }
            Self::NoRecord(_) => Problem::from_error(Code::Conflict, &self)
                .hint("a repository is brought in when a VM is made: banger vm run PATH")
                .hint(format!("files come out one by one all the same: banger vm cp {vm}:repo .")),
            Self::Unsettled(_) => Problem::from_error(Code::Conflict, &self)
                .hint(format!("files come out one by one all the same: banger vm cp {vm}:repo ."))
                .hint(format!("to give it up: banger vm workspace prepare --force {vm}")),
            Self::Lost { .. } => {
                let message = format!("work in the workspace of VM `{vm}` would be lost");
                let export = format!("banger vm workspace export {vm}");
                Problem::new(Code::Conflict, message)
                    .because(&self)
                    .hint(format!("to bring edits home first: {export} --apply"))
                    .hint(format!("to bring commits home first: {export} --branch NAME"))
                    .hint(format!("to give it up: banger vm workspace prepare --force {vm}"))
            }
            Self::NoBase { .. } => Problem::from_error(Code::Conflict, &self)
                .hint("git removes commits that no branch has; a clone or a backup may have it"),
            Self::OtherRepository(_) => Problem::from_error(Code::Conflict, &self)
                .hint(format!("which one that was: banger vm show {vm}"))
                .hint(format!("as a patch for any other: banger vm workspace export {vm}")),
            Self::Changes(ref source) if source.kind() == io::ErrorKind::StorageFull => {
                Problem::from_error(Code::OperationFailed, &self)
                    .hint("what the guest changed goes through banger's state directory")
                    .hint(format!("how large it is: banger vm exec {vm} -- du -sh /root/repo"))
            }
            Self::HalfPlaced { ref kept, .. } => Problem::from_error(Code::Conflict, &self).hint(
                format!("keep what you want of `{}`, then remove that directory", kept.display()),
            ),
            Self::ForeignHolding(ref path) => Problem::from_error(Code::Conflict, &self)
                .hint(format!("look at what it is, and remove or rename it: {}", path.display())),
            Self::Changes(_) | Self::Tree(_) | Self::Odd(_) => {
                Problem::from_error(Code::OperationFailed, &self).hint(format!(
                    "files come out one by one all the same: banger vm cp {vm}:repo ."
                ))
            }
            Self::Conflicts { .. } => Problem::from_error(Code::Conflict, &self)
                .hint("nothing was changed here")
                .hint(format!(
                    "to merge by hand: banger vm workspace export {vm} --output changes.patch, \
                     then git apply --3way changes.patch"
                ))
                .hint(format!("the commits alone: banger vm workspace export {vm} --branch NAME")),
            Self::BranchName(_) => Problem::from_error(Code::BadRequest, &self)
                .hint("what can be one: git check-ref-format --help"),
            Self::BranchExists(_) => {
                Problem::from_error(Code::AlreadyExists, &self).hint("give another name")
            }
            Self::NoCommits => Problem::from_error(Code::Conflict, &self).hint(format!(
                "edits that are not committed: banger vm workspace export {vm} --apply"
            )),
            error => Problem::from_error(Code::OperationFailed, &error),
        }
    }
}

fn render_lost(files: &str, commits: &str, unclear: bool) -> String {
    let files = (!files.is_empty()).then(|| format!("files that are only there: {files}"));
    let commits = (!commits.is_empty()).then(|| format!("commits that are only there: {commits}"));
    let unclear = unclear.then(|| "which commits are only there cannot be told".to_owned());
    files.into_iter().chain(commits).chain(unclear).collect::<Vec<_>>().join("; ")
}

fn render_names(files: &[String], count: usize) -> String {
    let named = files.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(", ");
    if count > files.len() { format!("{named} and more") } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_asked_wrongly_says_what_can_be_asked() {
        let hints = |error: HomeError| error.problem("web").hints.join("; ");
        let other = HomeError::OtherRepository("/r".into()).problem("web").message;
        assert_eq!(other, "`/r` is not the repository that was brought in");
        assert!(hints(HomeError::OtherRepository("/r".into())).contains("banger vm show web"));
        assert!(hints(HomeError::BranchName("a..b".into())).contains("check-ref-format"));
        assert!(hints(HomeError::BranchExists("a".into())).contains("another name"));
        assert!(hints(HomeError::NoCommits).contains("--apply"));
        assert!(hints(HomeError::NoRecord("web".into())).contains("banger vm run PATH"));
    }
}
