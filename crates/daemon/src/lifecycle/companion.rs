//! The programs beside this one, and this one's identity.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const AGENT: &str = "banger-agent";

/// The agent to boot with: `asked`, else the one installed beside the executable
/// (`<prefix>/lib/banger/`), else a checkout's own build output. When none is there, the place
/// where it should be installed: who needs it will say that it is missing.
#[must_use]
pub fn find_agent(executable: &Path, asked: Option<PathBuf>) -> PathBuf {
    if let Some(asked) = asked {
        return asked;
    }
    let dir = executable.parent().unwrap_or(Path::new("/"));
    // `target/<profile>/banger` beside `target/<triple>/agent/banger-agent`.
    let target = dir.parent().unwrap_or(dir);
    let installed = target.join("lib/banger").join(AGENT);
    let built = [
        target.join("x86_64-unknown-linux-gnu/agent").join(AGENT),
        target.join("agent").join(AGENT),
    ];
    let candidates = std::iter::once(installed.clone()).chain(built);
    candidates.into_iter().find(|path| path.is_file()).unwrap_or(installed)
}

/// Identity of a program's file: modification time and size. An upgrade changes it.
#[must_use]
pub fn build_identity(executable: &Path) -> String {
    fs_err::metadata(executable).map_or_else(
        |_| env!("CARGO_PKG_VERSION").to_owned(),
        |metadata| format!("{}.{:09}-{}", metadata.mtime(), metadata.mtime_nsec(), metadata.size()),
    )
}
