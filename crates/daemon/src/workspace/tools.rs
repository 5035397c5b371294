//! Which file of a workspace names tools for mise: one that travels, so that commands in the guest will
//! find it, too.

use std::path::Path;

use banger_proto::guest::TOOL_FILES;

use super::error::WorkspaceError;
use super::git::Git;
use super::source::{Head, Options};
use super::start;

/// The first of the files at the top of the workspace that begins at `head`. `paths` are those that may
/// travel from the host's disk.
///
/// # Errors
/// When git cannot tell what is in the commit that was asked for.
pub(super) async fn find(
    git: &Git,
    head: &Head,
    options: &Options,
    paths: impl Iterator<Item = &Vec<u8>>,
) -> Result<Option<&'static str>, WorkspaceError> {
    if options.from().is_some() {
        let files = start::files(git, head, &TOOL_FILES).await?;
        let is_in = |name: &&str| files.iter().any(|file| file.path == Path::new(name));
        return Ok(TOOL_FILES.into_iter().find(is_in));
    }
    let mut named = [false; TOOL_FILES.len()];
    for path in paths {
        if let Some(at) = TOOL_FILES.iter().position(|name| name.as_bytes() == path.as_slice()) {
            named[at] = true;
        }
    }
    for (name, _) in TOOL_FILES.into_iter().zip(named).filter(|(_, named)| *named) {
        // One that was deleted on disk is in the index still.
        if fs_err::tokio::metadata(git.top_level.join(name)).await.is_ok_and(|file| file.is_file())
        {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
