//! Asking the user's git without side effects: no hooks, no monitor, no locks that are not
//! needed, no prompts, no fetching of missing objects.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::WorkspaceError;
use crate::exec::{Captured, ExecError, HostEnv, Program};

/// Longest list of files that is taken from git, in bytes: a few million names.
pub(super) const LIST_LIMIT: usize = 1 << 30;
/// Longest answer that is one line or a few.
pub(super) const ANSWER_LIMIT: usize = 1 << 20;
/// How long a question may take that reads nothing but git's own files.
const PATIENCE: Duration = Duration::from_secs(60);

/// A repository with a working tree, found.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    pub(super) env: HostEnv,
    /// Top of the working tree.
    pub(crate) top_level: PathBuf,
    /// Directory with `HEAD` and `index`; of a linked worktree, its own.
    pub(super) git_dir: PathBuf,
    /// Directory with the objects.
    pub(super) objects: PathBuf,
    /// `sha1` or `sha256`.
    pub(super) object_format: String,
}

/// `git` with everything turned off that acts on its own.
pub(super) fn quiet_git(env: &HostEnv, verb: &'static str) -> Program {
    Program::new(env, "git")
        .called(format!("git {verb}"))
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(["-c", "core.untrackedCache=false"])
        .deadline(PATIENCE)
}

impl Git {
    /// Finds the repository that `path` is in.
    pub(super) async fn discover(env: &HostEnv, path: &Path) -> Result<Self, WorkspaceError> {
        let lines = ask_rev_parse(
            env,
            path,
            &[
                "--is-bare-repository",
                "--show-object-format",
                "--absolute-git-dir",
                "--git-path=objects",
                "--show-toplevel",
            ],
        )
        .await?;
        let [_, object_format, git_dir, objects, top_level] = match <[Vec<u8>; 5]>::try_from(lines)
        {
            Ok(lines) => lines,
            // A path with a line break: only asked one by one the answers can be told apart.
            Err(_) => discover_one_by_one(env, path).await?,
        };
        let path_of = |bytes: Vec<u8>| path.join(OsString::from_vec(bytes));
        Ok(Self {
            env: env.clone(),
            top_level: path_of(top_level),
            git_dir: path_of(git_dir),
            objects: path_of(objects),
            object_format: String::from_utf8_lossy(&object_format).into_owned(),
        })
    }

    /// Directory that all worktrees of the repository share.
    pub(super) fn common_dir(&self) -> &Path {
        self.objects.parent().unwrap_or(&self.git_dir)
    }

    /// A git command about this repository, to be run from its top level.
    pub(super) fn command(&self, verb: &'static str) -> Program {
        quiet_git(&self.env, verb)
            .current_dir(&self.top_level)
            .env("GIT_DIR", &self.git_dir)
            .env("GIT_WORK_TREE", &self.top_level)
            .arg(verb)
    }

    /// What a failure of git about this repository is called.
    pub(super) fn failure(&self, source: ExecError) -> WorkspaceError {
        WorkspaceError::Git { path: self.top_level.clone(), source }
    }

    /// An answer that makes no sense.
    pub(super) fn nonsense(&self, verb: &'static str) -> WorkspaceError {
        WorkspaceError::Answer { verb, path: self.top_level.clone() }
    }

    /// Runs a question whose answer is one line, or none when git ends with exit code 1.
    pub(super) async fn line(
        &self,
        verb: &'static str,
        args: &[&str],
    ) -> Result<Option<Vec<u8>>, WorkspaceError> {
        let command = self.command(verb).args(args);
        let Captured { status, mut stdout, stderr } =
            command.capture(ANSWER_LIMIT).await.map_err(|source| self.failure(source))?;
        match status.code() {
            Some(0) => {
                stdout.pop_if(|last| *last == b'\n');
                Ok(Some(stdout))
            }
            Some(1) => Ok(None),
            _ => {
                let program = format!("git {verb}");
                Err(self.failure(ExecError::Failed { program, status, stderr }))
            }
        }
    }
}

/// Asks all questions at once; the answer has one line each, unless a path has line breaks.
async fn ask_rev_parse(
    env: &HostEnv,
    path: &Path,
    questions: &[&str],
) -> Result<Vec<Vec<u8>>, WorkspaceError> {
    let program = quiet_git(env, "rev-parse").current_dir(path).arg("rev-parse");
    // `--git-path` takes its argument as a word of its own.
    let program = program.args(questions.iter().flat_map(|question| question.split('=')));
    let Captured { status, mut stdout, stderr } = program
        .capture(ANSWER_LIMIT)
        .await
        .map_err(|source| WorkspaceError::Git { path: path.to_owned(), source })?;
    if status.success() {
        stdout.pop_if(|last| *last == b'\n');
        return Ok(stdout.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect());
    }
    // What was answered before the question that failed is there all the same.
    if stdout.starts_with(b"true\n") {
        return Err(WorkspaceError::Bare(path.to_owned()));
    }
    let message = stderr.strip_prefix("fatal: ").unwrap_or(&stderr).to_owned();
    Err(if message.starts_with("not a git repository (or any") {
        WorkspaceError::NoRepository(path.to_owned())
    } else {
        WorkspaceError::Refused { path: path.to_owned(), message }
    })
}

async fn discover_one_by_one(env: &HostEnv, path: &Path) -> Result<[Vec<u8>; 5], WorkspaceError> {
    let ask = async |question| Ok(ask_rev_parse(env, path, &[question]).await?.join(&b'\n'));
    Ok([
        Vec::new(),
        ask("--show-object-format").await?,
        ask("--absolute-git-dir").await?,
        ask("--git-path=objects").await?,
        ask("--show-toplevel").await?,
    ])
}
