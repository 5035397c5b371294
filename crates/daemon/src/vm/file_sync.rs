//! Files of the host on their way into a guest that has just started, as `[[file_sync]]` says
//! ([`crate::config`]): by copies into root's home, in the order of the list.
//!
//! Links lead nowhere else: what a path of the list means is looked up once, has to be in the
//! home, and is then opened beneath the home without following any link.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use banger_proto::guest::{Copied, CopyRequest};
use banger_tree::{PackError, Packing, Piece, Source, pack_as, pipe};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::config::FileSync;
use crate::engine::Host;
use crate::guest::{GuestClient, GuestError};
use crate::progress::Progress;

/// Why a guest does not have its files.
#[derive(Debug, thiserror::Error)]
#[error("cannot copy `{host}`, entry {number} of `file_sync`")]
pub(crate) struct FileSyncError {
    host: PathBuf,
    number: usize,
    #[source]
    source: Reason,
}

/// What went wrong with an entry.
#[derive(Debug, thiserror::Error)]
enum Reason {
    /// It cannot be opened here.
    #[error(transparent)]
    Open(#[from] io::Error),
    /// A link leads out of the home.
    #[error("it leads to `{0}`, which is not in the home")]
    Outside(PathBuf),
    /// It cannot be read here.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The guest did not take it.
    #[error(transparent)]
    Guest(#[from] GuestError),
}

/// Gives the guest every file of the list. One that is not there is told and skipped.
///
/// # Errors
/// When another cannot be copied; what came before it is in the guest.
pub(crate) async fn sync_files(
    host: &Host,
    guest: &GuestClient,
    progress: &Progress,
) -> Result<(), FileSyncError> {
    let Some(home) = host.env.home() else { return Ok(()) };
    for entry in &host.config.file_sync {
        let failed =
            |source| FileSyncError { host: entry.host.clone(), number: entry.number, source };
        match sync_entry(home, entry, guest).await.map_err(failed)? {
            Some(copied) => {
                for note in copied.notes {
                    progress.notice(format!("file_sync, entry {}: {note}", entry.number));
                }
            }
            None => progress.notice(format!(
                "file_sync, entry {}: `{}` is not there; skipped",
                entry.number,
                entry.host.display()
            )),
        }
    }
    Ok(())
}

/// Copies what an entry names; none when there is no such thing.
async fn sync_entry(
    home: &Path,
    entry: &FileSync,
    guest: &GuestClient,
) -> Result<Option<Copied>, Reason> {
    let (home, path, mode) = (home.to_owned(), entry.host.clone(), entry.mode);
    let source = tokio::task::spawn_blocking(move || find(&home, &path)).await;
    let Some(source) = source.map_err(io::Error::other)?? else { return Ok(None) };
    let request = CopyRequest { path: entry.guest.clone(), exact: true };
    let mut sink = guest.copy_in(&request).await?;
    let (mut inlet, mut outlet) = pipe();
    let packing = tokio::task::spawn_blocking(move || {
        let packed =
            pack_as(&source, &mut inlet, Packing { skip_links: true, top_mode: Some(mode) })?;
        // Nobody wants it any more where nobody takes its end.
        let _ = inlet.end();
        Ok::<_, PackError>(packed)
    });
    let sent = async {
        while let Some(Piece::Bytes(bytes)) = outlet.next().await {
            sink.write(&bytes).await?;
        }
        Ok::<_, GuestError>(())
    };
    let sent = sent.await;
    // The thread ends with the pipe.
    drop(outlet);
    let packed = packing.await.map_err(io::Error::other)?;
    match (sent, packed) {
        // What could not be read here is why the stream was cut.
        (_, Err(error @ PackError::Read { .. })) => Err(error.into()),
        (Err(error), _) => Err(error.into()),
        (Ok(()), packed) => {
            let packed = packed?;
            sink.finish().await?;
            Ok(Some(packed))
        }
    }
}

/// What `path` means, in the home; none when nothing is there.
fn find(home: &Path, path: &Path) -> Result<Option<Source>, Reason> {
    let home = fs_err::canonicalize(home)?;
    let path = match fs_err::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        path => path?,
    };
    let Ok(inside) = path.strip_prefix(&home) else { return Err(Reason::Outside(path)) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(&home, flags, Mode::empty()).map_err(io::Error::from)?;
    let open = |directory: &Path| -> io::Result<OwnedFd> {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        // Whoever made a link of it meanwhile gains nothing.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok(rustix::fs::openat2(&top, directory, flags, Mode::empty(), resolve)?)
    };
    match Source::find(inside, open) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        source => Ok(Some(source?)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_within_the_home_only() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs_err::create_dir_all(home.join("dotfiles")).unwrap();
        fs_err::write(home.join("dotfiles/rc"), "mine").unwrap();
        fs_err::write(dir.path().join("secret"), "not mine").unwrap();
        symlink(home.join("dotfiles/rc"), home.join("rc")).unwrap();
        symlink("../secret", home.join("leak")).unwrap();
        symlink(dir.path(), home.join("up")).unwrap();
        symlink("nowhere", home.join("dangling")).unwrap();
        let find = |name: &str| find(&home, &home.join(name));
        assert!(find("rc").unwrap().is_some());
        assert!(find("dotfiles").unwrap().is_some());
        assert!(find("dangling").unwrap().is_none());
        assert!(find("no/such").unwrap().is_none());
        for outside in ["leak", "up/secret", "up"] {
            assert!(matches!(find(outside), Err(Reason::Outside(_))), "{outside}");
        }
    }
}
