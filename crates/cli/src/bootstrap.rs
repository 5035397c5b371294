//! Whether a new VM's workspace has tools to be installed in it by mise, and whether that can be: the
//! one place that knows that VMs have no way to the network.
//!
//! | | tools in the workspace | none |
//! |---|---|---|
//! | one command | runs as it is | runs as it is |
//! | `--no-bootstrap` | nothing is installed | – |
//! | a shell, or in the background | refused: VMs have no way to the network yet | – |

use std::path::Path;

use crate::errors::CliError;
use crate::repository;

/// Files by which mise knows its tools, in the top directory of a repository.
const TOOL_FILES: [&str; 3] = ["mise.toml", ".mise.toml", ".tool-versions"];

/// Refuses a VM whose tools could not be installed, before it is made. `path` is in its workspace.
///
/// # Errors
/// When they are wanted.
pub(crate) fn check(path: &Path, wanted: bool) -> Result<(), CliError> {
    if !wanted {
        return Ok(());
    }
    let file = repository::find_top(path).and_then(find_tool_file);
    file.map_or(Ok(()), |file| {
        let message =
            format!("mise cannot install the tools of `{file}`: VMs have no outbound network yet");
        Err(CliError::failure(message)
            .hint("to make the VM without them: banger vm run --no-bootstrap ...")
            .hint("one command needs none of this: banger vm run PATH -- COMMAND"))
    })
}

fn find_tool_file(top: &Path) -> Option<&'static str> {
    TOOL_FILES.into_iter().find(|name| top.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_looked_for_at_the_top() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join(".git")).unwrap();
        std::fs::create_dir_all(top.path().join("below")).unwrap();
        let refused = |wanted| check(&top.path().join("below"), wanted).is_err();
        assert!(!refused(true));
        std::fs::write(top.path().join("below/mise.toml"), "").unwrap();
        assert!(!refused(true));
        for name in TOOL_FILES {
            std::fs::write(top.path().join(name), "").unwrap();
            assert!(refused(true) && !refused(false), "{name}");
            std::fs::remove_file(top.path().join(name)).unwrap();
        }
    }
}
