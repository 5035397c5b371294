//! Whether the host has commits that a guest names.

use std::collections::HashSet;

use super::error::WorkspaceError;
use super::git::{Git, LIST_LIMIT};

/// Those of `ids` that are objects of the repository. What is no object id is none.
///
/// # Errors
/// When git cannot be asked.
pub(super) async fn load_known(
    git: &Git,
    ids: &[String],
) -> Result<HashSet<String>, WorkspaceError> {
    let input: String = ids.iter().filter(|id| is_id(id)).map(|id| format!("{id}\n")).collect();
    if input.is_empty() {
        return Ok(HashSet::new());
    }
    let format = "--batch-check=%(objectname) %(objecttype)";
    let command = git.command("cat-file").arg(format).stdin_bytes(input.into_bytes());
    let list = command.output(LIST_LIMIT).await.map_err(|source| git.failure(source))?;
    Ok(parse_known(&String::from_utf8_lossy(&list)))
}

/// Parses `<id> <type>` lines; of what is not there, the type is `missing`.
fn parse_known(list: &str) -> HashSet<String> {
    let known = list.lines().filter_map(|line| line.split_once(' '));
    known.filter(|(_, kind)| *kind != "missing").map(|(id, _)| id.to_owned()).collect()
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_not_known() {
        let known = parse_known("aa commit\nbb missing\ncc tag\n");
        assert_eq!(known, ["aa".to_owned(), "cc".to_owned()].into());
        assert!(is_id(&"0".repeat(40)) && !is_id("HEAD") && !is_id(&"-".repeat(40)));
    }
}
