//! Waiting for what other processes do to files: the kernel tells of each change (inotify), so
//! nothing is looked at before something has happened, and nothing that happens is missed.

use std::fs;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::{Errno, retry_on_intr};

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Directories that are watched with everything in them.
#[derive(Debug)]
pub struct Changes {
    inotify: OwnedFd,
    directories: Vec<PathBuf>,
    seen: usize,
}

impl Changes {
    /// Watches `directories` from now on; what comes to be in them, too.
    ///
    /// # Panics
    /// When the kernel watches no more.
    #[must_use]
    pub fn below(directories: &[PathBuf]) -> Self {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
        let changes = Self { inotify, directories: directories.to_vec(), seen: 0 };
        changes.watch();
        changes
    }

    /// Waits until `done` holds, which is told how many changes there were since the beginning and
    /// asked again after each.
    ///
    /// # Panics
    /// When it does not within two minutes.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut(usize) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // New directories first: what is made in them later is told, what was is seen now.
            self.watch();
            if done(self.seen) {
                return;
            }
            self.wait(deadline);
            assert!(Instant::now() < deadline, "not after {} changes: {what}", self.seen);
        }
    }

    /// Waits for changes and counts them.
    fn wait(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("minutes");
        let mut ready = [PollFd::new(&self.inotify, PollFlags::IN)];
        retry_on_intr(|| poll(&mut ready, Some(&left))).expect("poll");
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(_) => self.seen += 1,
                Err(Errno::AGAIN) => return,
                Err(error) => panic!("inotify: {error}"),
            }
        }
    }

    /// Watches what is there now; again does no harm.
    fn watch(&self) {
        self.directories.iter().for_each(|directory| watch_tree(&self.inotify, directory));
    }
}

fn watch_tree(inotify: &OwnedFd, directory: &Path) {
    let what = WatchFlags::CREATE
        | WatchFlags::MODIFY
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE
        | WatchFlags::ONLYDIR;
    match add_watch(inotify, directory, what) {
        Ok(_) => {}
        // Gone again.
        Err(Errno::NOENT) => return,
        Err(error) => panic!("cannot watch `{}`: {error}", directory.display()),
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            watch_tree(inotify, &entry.path());
        }
    }
}
