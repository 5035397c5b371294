//! Why a repository cannot be brought into a guest.

use std::path::PathBuf;

use banger_proto::{Code, Problem};

use crate::exec::ExecError;

/// Why a repository cannot be brought into a guest.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The path cannot be looked at.
    #[error("cannot read `{}`", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The path is a file.
    #[error("`{}` is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// The path is in no repository.
    #[error("`{}` is not in a git repository", .0.display())]
    NoRepository(PathBuf),
    /// The path is in a repository without a working tree.
    #[error("`{}` is a bare git repository: it has no files to bring in", .0.display())]
    Bare(PathBuf),
    /// Git does not want to work there.
    #[error("git refuses to work in `{}`: {message}", path.display())]
    Refused {
        /// The path.
        path: PathBuf,
        /// What git says.
        message: String,
    },
    /// The repository has submodules.
    #[error("`{}` has submodules (`{first}`{more}), which cannot be brought in", path.display(), more = if *.count > 1 { " and others" } else { "" })]
    Submodules {
        /// Top of the repository.
        path: PathBuf,
        /// Path of one of them.
        first: String,
        /// Number of them.
        count: usize,
    },
    /// No branch can be called so, or not there.
    #[error("no branch of `{}` can be called `{name}`", path.display())]
    BranchName {
        /// Top of the repository.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// There is no such commit.
    #[error("`{}` has no commit `{from}`", path.display())]
    NoCommit {
        /// Top of the repository.
        path: PathBuf,
        /// How it was asked for.
        from: String,
    },
    /// Submodules inside of submodules, and no end.
    #[error("the submodules of `{}` lie too deep in each other", .0.display())]
    TooDeep(PathBuf),
    /// Git could not be asked.
    #[error("cannot ask git about `{}`", path.display())]
    Git {
        /// Top of the repository, or the path it was looked for at.
        path: PathBuf,
        /// Why.
        #[source]
        source: ExecError,
    },
    /// Git said something this program does not understand.
    #[error("cannot understand what `git {verb}` says about `{}`", path.display())]
    Answer {
        /// The command.
        verb: &'static str,
        /// Top of the repository, or the path it was looked for at.
        path: PathBuf,
    },
    /// The index has a name that no working tree can have.
    #[error("the git index of `{}` has an impossible name, `{name}`", path.display())]
    Name {
        /// Top of the repository.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file became shorter while it was read.
    #[error("`{}` changed while it was read", .0.display())]
    Changed(PathBuf),
    /// The guest's `.git` cannot be built.
    #[error("cannot prepare the guest's copy of `{}`", path.display())]
    Prepare {
        /// Top of the repository.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What travels cannot be written down.
    #[error("cannot write down that `{}` travels", path.display())]
    Record {
        /// The file, or top of the repository.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The task that packs ended before its stream did.
    #[error("packing `{}` was interrupted", .0.display())]
    Interrupted(PathBuf),
}

impl WorkspaceError {
    /// The failure as a client gets it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::Path { .. }
            | Self::NotDirectory(_)
            | Self::NoRepository(_)
            | Self::Bare(_)
            | Self::Refused { .. }
            | Self::Submodules { .. }
            | Self::BranchName { .. }
            | Self::NoCommit { .. }
            | Self::TooDeep(_) => Code::BadRequest,
            _ => Code::OperationFailed,
        };
        let problem = Problem::from_error(code, self);
        match self {
            Self::NoRepository(path) => problem.hint(format!(
                "Make it one: `git init {0} && git -C {0} add .`",
                path.display()
            )),
            Self::Bare(_) => problem.hint("Give the path of a clone or of a worktree."),
            Self::Submodules { path, first, .. } => problem
                .hint(format!(
                    "A full workspace has its submodules, too; make a VM without one, then: \
                     banger vm workspace prepare --mode full VM {}",
                    path.display()
                ))
                .hint(format!(
                    "A submodule is a repository of its own: `banger vm run {}` brings that one in.",
                    path.join(first).display()
                )),
            Self::BranchName { .. } => problem.hint("What can be: git check-ref-format --help"),
            Self::NoCommit { path, .. } => problem
                .hint(format!("What there is: git -C {} log --oneline --all", path.display())),
            Self::Git { source: ExecError::NotFound { .. }, .. } => {
                problem.hint("Install git; workspaces are made with it.")
            }
            Self::NotDirectory(_) => problem.hint("Give a directory of a git repository."),
            Self::Refused { path, .. } => problem
                .hint(format!("Try until it works there: git -C {} status", path.display())),
            Self::Changed(_) => problem.hint("Try again when nothing writes to the working tree."),
            _ => problem,
        }
    }
}
