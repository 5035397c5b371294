//! A workspace on its way into a guest: from [`crate::workspace`] to [`crate::guest`].

use std::io;
use std::path::Path;

use banger_proto::Problem;
use banger_proto::api::{VmWorkspace, WorkspaceSource};
use banger_proto::guest::UnpackRequest;
use tempfile::TempDir;

use crate::engine::Host;
use crate::guest::{GuestClient, GuestError};
use crate::private;
use crate::progress::Progress;
use crate::workspace::home::CURRENT;
use crate::workspace::{GUEST_PATH, Options, Source, WorkspaceError};

/// Why a workspace is not in its guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BringInError {
    /// The repository cannot be packed.
    #[error("cannot pack the workspace")]
    Host(#[from] WorkspaceError),
    /// The guest did not take it.
    #[error("the guest did not take the workspace")]
    Guest(#[from] GuestError),
    /// There is no room to pack it in.
    #[error("cannot make room to pack the workspace")]
    Temp(#[source] io::Error),
}

/// Whether a repository can travel, found out before anything is made for it.
///
/// # Errors
/// When it cannot.
pub(crate) async fn inspect(host: &Host, source: &WorkspaceSource) -> Result<Source, Problem> {
    let inspected = Source::inspect(&host.env, Path::new(&source.path)).await;
    inspected.map_err(|error| error.problem())
}

/// Sends the repository into the guest.
///
/// What went in is written down in `record`, a directory of the VM's own, when all of it is there.
///
/// # Errors
/// When it cannot be packed or the guest does not take it; then nothing of it is in the guest.
pub(crate) async fn bring_in(
    host: &Host,
    record: &Path,
    source: &WorkspaceSource,
    guest: &GuestClient,
    progress: &Progress,
) -> Result<VmWorkspace, BringInError> {
    let options = Options { include_untracked: source.include_untracked };
    let inspected = Source::inspect(&host.env, Path::new(&source.path)).await?;
    if let Some(notice) = inspected.notice(options) {
        progress.notice(notice);
    }
    private::ensure_dir(&host.paths.cache_dir).map_err(BringInError::Temp)?;
    let fresh = Fresh::create(record).map_err(BringInError::Temp)?;
    let archive = inspected.archive(options, &host.paths.cache_dir).await?;
    let archive = archive.recorded(fresh.path(), Path::new(&source.path)).await?;
    let workspace = archive.workspace();
    let request = UnpackRequest { directory: GUEST_PATH.to_owned(), replace: None };
    let mut sink = guest.unpack(&request).await?;
    let mut chunks = archive.stream();
    while let Some(chunk) = chunks.next().await? {
        sink.write(&chunk).await?;
        let (done, total) = chunks.progress();
        progress.update("files", done, Some(total));
    }
    sink.finish().await?;
    fresh.finish().map_err(BringInError::Temp)?;
    Ok(workspace)
}

/// A record that is being written beside the one it replaces.
struct Fresh<'a> {
    place: &'a Path,
    directory: TempDir,
}

impl<'a> Fresh<'a> {
    fn create(place: &'a Path) -> io::Result<Self> {
        private::ensure_dir(place)?;
        let directory = tempfile::Builder::new().prefix("new-").tempdir_in(place)?;
        Ok(Self { place, directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn finish(self) -> io::Result<()> {
        let current = self.place.join(CURRENT);
        match fs_err::remove_dir_all(&current) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs_err::rename(self.directory.path(), current)
    }
}
