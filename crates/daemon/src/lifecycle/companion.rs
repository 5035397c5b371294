//! The programs beside this one, and this one's identity.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use banger_proto::build;

const AGENT: &str = "banger-agent";
const SUPERVISOR: &str = "banger-supervisor";
const HELPER: &str = "banger-helper";

/// The agent to boot with: `asked`, else the one installed beside the executable
/// (`<prefix>/lib/banger/`, which a checkout's build output has, too). When none is there, the
/// place where it should be: who needs it will say that it is missing.
#[must_use]
pub fn find_agent(executable: &Path, asked: Option<PathBuf>) -> PathBuf {
    asked.unwrap_or_else(|| companion(executable, AGENT))
}

/// The program to start as supervisor: the one installed beside the executable, which is small,
/// else the executable itself, which plays the role when it is started under that name.
#[must_use]
pub fn find_supervisor(executable: &Path) -> PathBuf {
    let small = companion(executable, SUPERVISOR);
    if small.is_file() { small } else { executable.to_owned() }
}

/// The program that changes networks. When it is not there, the place where it should be.
#[must_use]
pub fn find_helper(executable: &Path) -> PathBuf {
    companion(executable, HELPER)
}

/// Where a program that belongs to `<prefix>/bin/banger` is.
fn companion(executable: &Path, name: &str) -> PathBuf {
    let prefix = executable.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    prefix.join("lib/banger").join(name)
}

/// Identity of a program's file: modification time and size. An upgrade changes it.
#[must_use]
pub fn build_identity(executable: &Path) -> String {
    fs_err::metadata(executable).map_or_else(
        |_| build::current().version.to_owned(),
        |metadata| format!("{}.{:09}-{}", metadata.mtime(), metadata.mtime_nsec(), metadata.size()),
    )
}
