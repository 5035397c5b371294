//! The branches and tags that travel, and where a history ends.

use fs_err::tokio as fs;

use super::error::WorkspaceError;
use super::git::{Git, LIST_LIMIT};
use super::source::Head;

/// What travels of a full repository: the user's branches and tags, and what `origin` had. Stashes,
/// notes and other remotes stay.
const TAKEN: [&str; 3] = ["refs/heads", "refs/tags", "refs/remotes/origin"];

/// What the guest's repository begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct History {
    /// Names in full, sorted, with their objects.
    pub(super) references: Vec<(Vec<u8>, String)>,
    /// Commits whose parents are not there.
    pub(super) edge: Vec<String>,
}

impl History {
    /// One commit and nothing before it.
    pub(super) fn shallow(head: &Head) -> Self {
        let references = match (&head.reference, &head.commit) {
            (Some(reference), Some(commit)) => vec![(reference.clone(), commit.clone())],
            _ => Vec::new(),
        };
        Self { references, edge: head.commit.iter().cloned().collect() }
    }

    /// Everything the host has.
    ///
    /// # Errors
    /// When git cannot be asked, or the guest's branch cannot be beside those of the host.
    pub(super) async fn load_full(git: &Git, head: &Head) -> Result<Self, WorkspaceError> {
        let format = "--format=%(objectname) %(refname)%00%(symref)";
        let command = git.command("for-each-ref").arg(format).args(TAKEN);
        let list = command.output(LIST_LIMIT).await.map_err(|source| git.failure(source))?;
        let mut references = parse_references(&list).ok_or_else(|| git.nonsense("for-each-ref"))?;
        let Self { references: own, .. } = Self::shallow(head);
        for (name, commit) in own {
            if let Some((other, _)) = references.iter().find(|(other, _)| are_nested(other, &name))
            {
                let other = String::from_utf8_lossy(other).into_owned();
                tracing::debug!(other, "no room for the guest's branch");
                let name = head.branch().unwrap_or_default();
                return Err(WorkspaceError::BranchName { path: git.top_level.clone(), name });
            }
            references.retain(|(other, _)| *other != name);
            references.push((name, commit));
        }
        references.sort();
        Ok(Self { references, edge: load_edge(git).await })
    }

    /// Everything that is to be packed, for `git pack-objects --revs`.
    pub(super) fn render_revisions(&self, head: &Head) -> String {
        let edge = self.edge.iter().map(|commit| format!("--shallow {commit}\n"));
        let named = self.references.iter().map(|(_, object)| object);
        edge.chain(named.chain(&head.commit).map(|object| format!("{object}\n"))).collect()
    }

    /// The file `packed-refs` (gitrepository-layout(5)); packed, because a branch may be called
    /// like a directory of another file system.
    pub(super) fn render_packed(&self) -> Vec<u8> {
        let mut out = b"# pack-refs with: sorted \n".to_vec();
        for (name, object) in &self.references {
            out.extend_from_slice(&[object.as_bytes(), b" ", name, b"\n"].concat());
        }
        out
    }
}

/// Parses `<object> <name>\0<target>\n`; names of names are left out.
fn parse_references(list: &[u8]) -> Option<Vec<(Vec<u8>, String)>> {
    let mut references = Vec::new();
    for line in list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let (line, target) = line.split_at_checked(line.iter().position(|byte| *byte == 0)?)?;
        let space = line.iter().position(|byte| *byte == b' ')?;
        if target == b"\0" {
            let object = str::from_utf8(&line[..space]).ok()?.to_owned();
            references.push((line[space + 1..].to_vec(), object));
        }
    }
    Some(references)
}

/// Whether one of the two would have to be a directory for the other.
fn are_nested(a: &[u8], b: &[u8]) -> bool {
    let is_below =
        |name: &[u8], top: &[u8]| name.strip_prefix(top).is_some_and(|rest| rest.starts_with(b"/"));
    is_below(a, b) || is_below(b, a)
}

/// Where the host's own history ends; nowhere, if it is whole.
async fn load_edge(git: &Git) -> Vec<String> {
    let file = fs::read_to_string(git.common_dir().join("shallow")).await;
    file.map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_names_stay() {
        let list = b"aa refs/heads/\xff\0\nbb refs/remotes/origin/HEAD\0refs/remotes/origin/main\n";
        let expected = vec![(b"refs/heads/\xff".to_vec(), "aa".to_owned())];
        assert_eq!(parse_references(list), Some(expected));
        assert_eq!(parse_references(b"aa refs/heads/x\n"), None);
    }

    #[test]
    fn a_branch_cannot_be_below_another() {
        assert!(are_nested(b"refs/heads/a", b"refs/heads/a/b"));
        assert!(are_nested(b"refs/heads/a/b", b"refs/heads/a"));
        assert!(!are_nested(b"refs/heads/a", b"refs/heads/ab"));
        assert!(!are_nested(b"refs/heads/a", b"refs/heads/a"));
    }
}
