//! Repositories of every kind that people have, with the same files in them.

use super::*;

/// A kind of repository, or a way in which files lie in it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Plain,
    /// A clone that has the last commit only.
    Shallow,
    /// A working tree without some of the directories.
    SparseCone,
    /// One without some of the files, chosen by patterns.
    SparsePatterns,
    /// A working tree whose repository is elsewhere.
    Worktree,
    SplitIndex,
    /// A user who has line ends converted.
    AutoCrlf,
    /// A repository that has them converted.
    Attributes,
}

impl Kind {
    /// Makes a repository at `top`.
    pub(super) fn make(self, top: &Path) {
        let beside = |name: &str| top.with_file_name(name);
        let clone = |origin: &Path, options: &[&str]| {
            let url = format!("file://{}", origin.display());
            let place = top.to_str().unwrap();
            git(origin, &[&["clone", "-q"], options, &[&url, place]].concat());
        };
        match self {
            Self::Plain => fill(top, ""),
            Self::Shallow => {
                fill(&beside("origin"), "");
                clone(&beside("origin"), &["--depth=1"]);
            }
            Self::SparseCone => {
                fill(top, "");
                git(top, &["sparse-checkout", "set", "--cone", "sub"]);
            }
            Self::SparsePatterns => {
                fill(top, "");
                git(top, &["sparse-checkout", "set", "--no-cone", "/*", "!/far/", "!/old"]);
            }
            Self::Worktree => {
                fill(&beside("main"), "");
                git(
                    &beside("main"),
                    &["worktree", "add", "-q", "-b", "side", top.to_str().unwrap()],
                );
            }
            Self::SplitIndex => {
                fill(top, "");
                git(top, &["config", "core.splitIndex", "true"]);
                git(top, &["update-index", "--split-index"]);
            }
            Self::AutoCrlf => {
                fill(&beside("origin"), "");
                clone(&beside("origin"), &["--config=core.autocrlf=true"]);
            }
            Self::Attributes => {
                fill(&beside("origin"), "*.txt text eol=crlf\nraw.bin -text\n");
                clone(&beside("origin"), &[]);
            }
        }
        install_hooks(top);
    }

    /// Whether a file may lie in a working tree with other line ends than git stores.
    pub(super) fn converts(self) -> bool {
        matches!(self, Self::AutoCrlf | Self::Attributes)
    }
}

fn fill(top: &Path, attributes: &str) {
    repository(top);
    write(top, ".gitattributes", attributes);
    write(top, "windows.txt", "one\ntwo\nthree\n");
    write(top, "raw.bin", "one\r\ntwo\n\0");
    write(top, "far/x", "far\n");
    write(top, "far/deep/y", "away\n");
    write(top, "empty", "");
    write(top, "large", b"0123456789abcdef".repeat(80_000));
    commit_all(top);
}

/// Commits everything, also what a sparse checkout would leave out.
pub(super) fn commit_all(top: &Path) {
    git(top, &["add", "-A", "--sparse"]);
    git(top, &["commit", "-q", "--allow-empty", "-m", "c"]);
}

/// Directory of git's that all worktrees share.
pub(super) fn common_dir(top: &Path) -> PathBuf {
    top.join(git(top, &["rev-parse", "--git-common-dir"]))
}

/// Where hooks that were run leave their names.
fn witness(top: &Path) -> PathBuf {
    top.with_file_name("hooks that ran")
}

const HOOKS: &[&str] = &[
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-commit",
    "post-commit",
    "post-checkout",
    "post-merge",
    "post-index-change",
    "reference-transaction",
    "fsmonitor-watchman",
];

fn install_hooks(top: &Path) {
    let hooks = common_dir(top).join("hooks");
    for name in HOOKS {
        let text = format!("#!/bin/sh\necho {name} >> '{}'\n", witness(top).display());
        write(&hooks, name, text);
        set_mode(&hooks, name, 0o755);
    }
}

/// Forgets the hooks that were run until now.
pub(super) fn forget_hooks(top: &Path) {
    let _ = fs_err::remove_file(witness(top));
}

/// The hooks that were run since.
pub(super) fn hooks_run(top: &Path) -> String {
    fs_err::read_to_string(witness(top)).unwrap_or_default()
}
