//! What a repository's rules leave out (gitignore(5)): `.gitignore` of each directory, then
//! `.git/info/exclude`, into which the host has put the user's own rules.

use std::io::Read;

use banger_tree::{Node, Tree};
use gix_ignore::glob::Pattern;
use gix_ignore::glob::pattern::Case;
use gix_ignore::glob::wildmatch::Mode;

/// Longest file of rules that is read, in bytes; git's own limit (`PATTERN_MAX_FILE_SIZE`).
const LIMIT: u64 = 100 << 20;

/// The rules of one file.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Bytes of a path that belong to the directory they are for, its last slash included.
    below: usize,
    patterns: Vec<Pattern>,
}

impl Rules {
    /// Reads the rules in `file`, which are for what is in `directory`: the empty path or one that
    /// ends in a slash. None where there is no such file; a link is not followed, as in git.
    pub(crate) fn load(top: &mut Tree, file: &[u8], directory: &[u8]) -> Self {
        let mut text = Vec::new();
        if let Ok(Some(Node::File(file, _))) = top.read(file)
            && file.take(LIMIT).read_to_end(&mut text).is_err()
        {
            text.clear();
        }
        let patterns = gix_ignore::parse(&text, false).map(|(pattern, ..)| pattern).collect();
        Self { below: directory.len(), patterns }
    }

    /// What the last rule that fits says; none when none fits.
    fn verdict(&self, path: &[u8], is_directory: bool) -> Option<bool> {
        let path = path.get(self.below..)?;
        let name = path.iter().rposition(|byte| *byte == b'/').map(|slash| slash + 1);
        let fits = |pattern: &&Pattern| {
            let mode = Mode::NO_MATCH_SLASH_LITERAL;
            let case = Case::Sensitive;
            pattern.matches_repo_relative_path(path.into(), name, Some(is_directory), case, mode)
        };
        self.patterns.iter().rev().find(fits).map(|pattern| !pattern.is_negative())
    }
}

/// Whether `path` is ignored, by rules that come in the order of rising precedence. What is in a
/// directory that is ignored is ignored with it and need not be asked for.
pub(crate) fn is_ignored<'a>(
    rules: impl DoubleEndedIterator<Item = &'a Rules>,
    path: &[u8],
    is_directory: bool,
) -> bool {
    rules.rev().find_map(|rules| rules.verdict(path, is_directory)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str, directory: &str) -> Rules {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("rules"), text).unwrap();
        Rules::load(&mut Tree::open(top.path()).unwrap(), b"rules", directory.as_bytes())
    }

    #[test]
    fn the_nearest_and_last_rule_counts() {
        let all = [
            rules("*.log\n/only-top\nbuild/\na/**/z\n# comment\n\\#file\nspace \n", ""),
            rules("!keep.log\ninner\n/anchored\n", "sub/"),
        ];
        let ignored = |path: &str, dir| {
            let count = if path.starts_with("sub/") { 2 } else { 1 };
            is_ignored(all[..count].iter(), path.as_bytes(), dir)
        };
        for path in ["x.log", "sub/y.log", "only-top", "a/b/c/z", "a/z", "#file", "space"] {
            assert!(ignored(path, false), "{path}");
        }
        for path in ["sub/inner", "sub/deep/inner", "sub/anchored"] {
            assert!(ignored(path, false), "{path}");
        }
        for path in
            ["sub/keep.log", "x/only-top", "build", "sub/deep/anchored", "inner", "# comment"]
        {
            assert!(!ignored(path, false), "{path}");
        }
        assert!(ignored("build", true) && ignored("sub/build", true));
    }
}
