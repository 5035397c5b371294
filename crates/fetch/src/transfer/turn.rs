//! Who may work on a file, among all tasks and processes of this host.
//!
//! | lock (`flock`) on | means |
//! |---|---|
//! | a partial file, exclusive | somebody is receiving it |
//! | a partial file, shared | somebody waits for that |
//! | a complete file, shared | somebody reads it: it stays |
//! | either, exclusive | somebody removes it |
//!
//! A lock belongs to an open file and goes with it, so that nothing is left by who was killed. It
//! says nothing about the name: after locking one must see whether the name still means this file.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::oneshot;

/// Opens the file at `path`, which is made if need be, for whoever comes first. None after somebody
/// else was waited for: the caller has to look what became of it.
pub(crate) async fn take_turn(path: &Path) -> io::Result<Option<File>> {
    loop {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = fs_err::OpenOptions::from_options(options).open(path)?.into_file();
        if !try_lock_exclusive(&file)? {
            wait_for_shared(file).await?;
            return Ok(None);
        }
        if is_at(&file, path)? {
            return Ok(Some(file));
        }
    }
}

/// Locks `file` if nobody else has.
pub(crate) fn try_lock_exclusive(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Locks `file` together with others who read it. Whoever has a complete file exclusively removes
/// it at once, so that this waits for moments only.
pub(crate) fn lock_shared(file: &File) -> io::Result<()> {
    Ok(flock(file, FlockOperation::LockShared)?)
}

/// Whether `path` still means `file`.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waits until nobody has `file` exclusively. A thread of its own waits, because nothing can
/// interrupt it: when the caller is cancelled it waits on, and nobody waits for the thread.
async fn wait_for_shared(file: File) -> io::Result<()> {
    let (done, waiting) = oneshot::channel();
    std::thread::Builder::new().name("wait-for-transfer".to_owned()).spawn(move || {
        let locked = lock_shared(&file);
        // The lock is given up before anybody is told.
        drop(file);
        let _ = done.send(locked);
    })?;
    waiting.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.partial");
        let first = take_turn(&path).await.unwrap().expect("nobody else");
        let mut second = std::pin::pin!(take_turn(&path));
        assert!(futures_util::poll!(&mut second).is_pending(), "the first holds the lock");
        drop(first);
        let second = tokio::time::timeout(Duration::from_secs(30), second).await.unwrap();
        assert!(second.unwrap().is_none(), "it waited, and has to look again");
        assert!(take_turn(&path).await.unwrap().is_some(), "the lock is free again");
    }

    #[tokio::test]
    async fn a_lock_on_a_removed_file_is_worth_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.partial");
        let first = take_turn(&path).await.unwrap().expect("nobody else");
        fs_err::remove_file(&path).unwrap();
        assert!(!is_at(&first, &path).unwrap());
        let second = take_turn(&path).await.unwrap().expect("another file");
        assert!(is_at(&second, &path).unwrap());
    }
}
