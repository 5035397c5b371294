//! The stream: a zstd-compressed tar of `.git` and the working tree.
//!
//! A thread reads files and compresses; chunks go through a short queue, so that memory stays
//! bounded however slow the guest is. Dropping [`Chunks`] ends the thread at its next chunk. It is
//! none of the runtime's: those are few and for what is brief, and this one is as slow as its
//! guest, which may have stopped taking anything.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banger_proto::api::VmWorkspace;
use banger_tree::{Node, Tree};
use rustix::fs::Stat;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use super::error::WorkspaceError;
use super::git::Git;
use super::home::Recorder;
use super::metadata::{self, Metadata};
use super::modules::Module;
use super::source::{Options, Source, describe};
use super::start::Start;

/// zstd's fastest level that codes by frequency. The next ones save some tenths of the bytes, for
/// twice the time here and, in a guest that is emulated, more time than the link takes for them.
const LEVEL: i32 = 1;
/// Bytes of a chunk, all but the last.
const CHUNK: usize = 128 << 10;
/// Chunks that wait to be sent.
const QUEUE: usize = 4;
/// A file up to this size, in bytes, is read before its header is written, so that the header is
/// true whatever happens to the file.
const READ_WHOLE: u64 = 1 << 20;
/// Longest name that has room in a tar header (the field `name` and `linkname`).
const HEADER_NAME: usize = 100;

/// Everything that is needed to write the stream.
#[derive(Debug)]
pub struct Archive {
    /// The repository, then its submodules.
    pub(super) parts: Vec<Part>,
    workspace: VmWorkspace,
    pub(super) top: PathBuf,
}

/// One repository.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) git: Git,
    pub(super) metadata: Metadata,
    /// Its path in the guest's tree; empty for the outermost.
    pub(super) path: Vec<u8>,
    /// Notes what travels, so that it is known when it comes back.
    pub(super) recorder: Option<Recorder>,
}

/// The stream, to be taken chunk by chunk.
#[derive(Debug)]
pub struct Chunks {
    queue: mpsc::Receiver<Vec<u8>>,
    /// Says how the writing ended, once nothing of it is left.
    ended: Option<oneshot::Receiver<Result<(), WorkspaceError>>>,
    files: u64,
    done: Arc<AtomicU64>,
    top: PathBuf,
}

impl Source {
    /// Prepares the stream: builds the guest's `.git` in a private directory under `temp`, which
    /// goes with the stream, and finds out what files there are. Nothing in the repository
    /// changes. `temp` is best on a disk, not in memory: it takes all of the commit, packed.
    ///
    /// # Errors
    /// When git fails, submodules were added meanwhile, or `temp` cannot be written.
    pub async fn archive(&self, temp: &Path) -> Result<Archive, WorkspaceError> {
        let options = &self.options;
        let metadata = metadata::build(&self.git, options, temp).await?;
        let Start { head, host_head } = metadata.start.clone();
        let workspace = describe(&self.git, &head, host_head, options);
        let top = self.git.top_level.clone();
        let part = |git: &Git, metadata, path: Vec<u8>| {
            let git = git.clone();
            Part { git, metadata, path, recorder: None }
        };
        let mut parts = vec![part(&self.git, metadata, Vec::new())];
        // The branch that is made for the guest is the outermost repository's.
        let inner = Options { branch: None, ..options.clone() };
        for Module { path, git } in &self.modules {
            let metadata = metadata::build(git, &inner, temp).await?;
            parts.push(part(git, metadata, path.clone()));
        }
        Ok(Archive { parts, workspace, top })
    }
}

impl Archive {
    /// The workspace as it is in this archive.
    #[must_use]
    pub fn workspace(&self) -> VmWorkspace {
        self.workspace.clone()
    }

    /// Starts writing.
    #[must_use]
    pub fn stream(mut self) -> Chunks {
        let (sender, queue) = mpsc::channel(QUEUE);
        let done = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&done);
        let top = self.top.clone();
        let files = self.parts.iter().map(|part| part.metadata.paths.len()).sum::<usize>();
        let files = u64::try_from(files).unwrap_or(u64::MAX);
        let (told, ended) = oneshot::channel();
        let write = move || {
            let out = Outlet { sender, chunk: Vec::with_capacity(CHUNK) };
            let written = write_archive(&mut self, out, &counter);
            drop(self);
            // Whoever gave the stream up does not want to know.
            let _ = told.send(written);
        };
        if let Err(error) = std::thread::Builder::new().name("workspace".to_owned()).spawn(write) {
            // The stream then ends before it began, as an error.
            tracing::error!(%error, "no thread for a workspace");
        }
        Chunks { queue, ended: Some(ended), files, done, top }
    }
}

impl Chunks {
    /// The next chunk; `None` when the archive is whole. A stream that ends with an error is not
    /// an archive: what was sent of it has to be thrown away.
    ///
    /// # Errors
    /// When a file cannot be read or changes while it is.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, WorkspaceError> {
        if let Some(chunk) = self.queue.recv().await {
            return Ok(Some(chunk));
        }
        match self.ended.take() {
            None => Ok(None),
            Some(ended) => match ended.await {
                Ok(result) => result.map(|()| None),
                Err(_) => Err(WorkspaceError::Interrupted(self.top.clone())),
            },
        }
    }

    /// Gives the stream up; the answer ends when nothing of it is left, which a caller need not
    /// wait for.
    pub fn abandon(self) -> impl Future<Output = ()> {
        drop(self.queue);
        async move {
            if let Some(ended) = self.ended {
                let _ = ended.await;
            }
        }
    }

    /// How many paths were dealt with, and of how many, for a progress display.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.files)
    }
}

/// Why writing stopped.
enum Stop {
    /// Nobody takes chunks any more.
    Closed,
    Failed(WorkspaceError),
}

fn write_archive(
    archive: &mut Archive,
    out: Outlet,
    done: &AtomicU64,
) -> Result<(), WorkspaceError> {
    match try_write_archive(&mut archive.parts, out, done) {
        Ok(()) => Ok(()),
        // The error is for nobody: who would have read it dropped the stream.
        Err(Stop::Closed) => Err(WorkspaceError::Interrupted(archive.top.clone())),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn try_write_archive(parts: &mut [Part], out: Outlet, done: &AtomicU64) -> Result<(), Stop> {
    let mut encoder = zstd::Encoder::new(out, LEVEL).map_err(closed)?;
    encoder.include_checksum(true).map_err(closed)?;
    let mut writer = Writer {
        tar: Builder::new(encoder),
        directories: HashSet::new(),
        prefix: Vec::new(),
        is_metadata: false,
        now: seconds_now(),
        recorder: None,
    };
    for part in parts {
        writer.write_part(part, done)?;
    }
    let encoder = writer.tar.into_inner().map_err(closed)?;
    encoder.finish().and_then(|mut out| out.flush()).map_err(closed)
}

/// All files of the new `.git`, by their paths in it.
fn list_metadata(top: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    let mut pending = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs_err::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            } else if let Ok(name) = entry.path().strip_prefix(top) {
                names.push(name.as_os_str().as_bytes().to_vec());
            }
        }
    }
    names.sort();
    Ok(names)
}

struct Writer<W: Write> {
    tar: Builder<W>,
    directories: HashSet<Vec<u8>>,
    /// What is put before every path.
    prefix: Vec<u8>,
    /// Whether it is a `.git` that is written.
    is_metadata: bool,
    /// Modification time of directories, in seconds since 1970: what a checkout would give them.
    now: i64,
    recorder: Option<Recorder>,
}

impl<W: Write> Writer<W> {
    fn write_part(&mut self, part: &mut Part, done: &AtomicU64) -> Result<(), Stop> {
        let Part { git, metadata, path, recorder } = part;
        let prefix = if path.is_empty() { Vec::new() } else { [path.as_slice(), b"/"].concat() };
        let (directory, no_file) = (metadata.directory.path(), AtomicU64::new(0));
        let names =
            list_metadata(directory).map_err(|source| read_error(directory.to_owned(), source))?;
        (self.prefix, self.is_metadata) = ([prefix.as_slice(), b".git/"].concat(), true);
        // Git takes a directory for a repository only if it has these, be they empty.
        for below in [&b"refs/heads/"[..], b"objects/pack/"] {
            self.parents(below).map_err(closed)?;
        }
        self.write_tree(directory, &names, &no_file)?;
        (self.prefix, self.is_metadata) = (prefix, false);
        // One that is not checked out is an empty directory.
        for submodule in &metadata.submodules {
            self.parents(&[submodule.as_slice(), b"/"].concat()).map_err(closed)?;
        }
        let top = metadata.tree.as_ref().map_or(git.top_level.as_path(), TempDir::path);
        self.recorder = recorder.take();
        self.write_tree(top, &metadata.paths, done)?;
        match self.recorder.take().map(Recorder::finish) {
            Some(Err(source)) => {
                Err(Stop::Failed(WorkspaceError::Record { path: git.top_level.clone(), source }))
            }
            _ => Ok(()),
        }
    }

    fn write_tree(&mut self, top: &Path, paths: &[Vec<u8>], done: &AtomicU64) -> Result<(), Stop> {
        let mut tree = Tree::open(top).map_err(|source| read_error(top.to_owned(), source))?;
        for path in paths {
            let full = || top.join(OsStr::from_bytes(path));
            match tree.read(path).map_err(|source| read_error(full(), source))? {
                None => {}
                Some(Node::Link(target, stat)) => self.link(path, &target, &stat)?,
                Some(Node::File(file, stat)) => self.file(path, file, &stat, full)?,
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn link(&mut self, path: &[u8], target: &[u8], stat: &Stat) -> Result<(), Stop> {
        let mut header = header(EntryType::Symlink, 0o777, 0, stat.st_mtime);
        if let Some(recorder) = &mut self.recorder {
            recorder.link(path, target).map_err(|source| unrecorded(path, source))?;
        }
        self.parents(path).map_err(closed)?;
        self.append(path, target, &mut header, io::empty()).map_err(closed)
    }

    fn file(
        &mut self,
        path: &[u8],
        mut file: std::fs::File,
        stat: &Stat,
        full: impl Fn() -> PathBuf,
    ) -> Result<(), Stop> {
        self.parents(path).map_err(closed)?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        // The modes under `.git` are this process's umask; in the guest they are git's usual ones.
        let mode = if self.is_metadata { 0o644 } else { stat.st_mode & 0o777 };
        let header = |size| header(EntryType::Regular, mode, size, stat.st_mtime);
        if size <= READ_WHOLE {
            let mut content = Vec::new();
            let whole = (&mut file).take(READ_WHOLE + 1).read_to_end(&mut content);
            let read = whole.map_err(|source| read_error(full(), source))?;
            let read = u64::try_from(read).unwrap_or(u64::MAX);
            if read > READ_WHOLE {
                // It grew over the limit: its first bytes, as they were, are as good as any.
                content.truncate(usize::try_from(size).unwrap_or_default());
            }
            if let Some(recorder) = &mut self.recorder {
                recorder.file(path, mode, &content).map_err(|source| unrecorded(path, source))?;
            }
            if read <= READ_WHOLE {
                let mut header = header(read);
                return self.append(path, b"", &mut header, content.as_slice()).map_err(closed);
            }
            return self.append(path, b"", &mut header(size), content.as_slice()).map_err(closed);
        }
        if let Some(recorder) = &mut self.recorder {
            let recorded = recorder.large_file(path, mode, size, &mut file);
            recorded.map_err(|source| unrecorded(path, source))?;
        }
        // What is appended later is left out; what is cut off cannot be made up for.
        let mut reader = Exactly { file: file.take(size), left: size, failure: None };
        let appended = self.append(path, b"", &mut header(size), &mut reader);
        match (reader.failure, reader.left) {
            (Some(source), _) => Err(read_error(full(), source)),
            (None, 0) => appended.map_err(closed),
            (None, _) if appended.is_ok() => Err(Stop::Failed(WorkspaceError::Changed(full()))),
            (None, _) => Err(Stop::Closed),
        }
    }

    /// Writes the directories that `path` is in, once each.
    fn parents(&mut self, path: &[u8]) -> io::Result<()> {
        let full = [self.prefix.as_slice(), path].concat();
        let slashes = full.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (slash, _) in slashes {
            self.directory(&full[..=slash])?;
        }
        Ok(())
    }

    fn directory(&mut self, full: &[u8]) -> io::Result<()> {
        if self.directories.contains(full) {
            return Ok(());
        }
        self.directories.insert(full.to_vec());
        let mut header = header(EntryType::Directory, 0o755, 0, self.now);
        append_exact(&mut self.tar, full, b"", &mut header, io::empty())
    }

    fn append(
        &mut self,
        path: &[u8],
        target: &[u8],
        header: &mut Header,
        content: impl Read,
    ) -> io::Result<()> {
        let full = [self.prefix.as_slice(), path].concat();
        append_exact(&mut self.tar, &full, target, header, content)
    }
}

/// Appends an entry whose names are exactly the given bytes. The tar crate's own ways to set a
/// name tidy it up as a path (`a/./b`), which would change the text of a link.
fn append_exact(
    tar: &mut Builder<impl Write>,
    path: &[u8],
    target: &[u8],
    header: &mut Header,
    content: impl Read,
) -> io::Result<()> {
    for (name, kind) in [(target, b'K'), (path, b'L')] {
        if name.len() > HEADER_NAME {
            let mut long = self::header(EntryType::new(kind), 0o644, 0, 0);
            // The name ends with a NUL, as GNU tar writes it.
            long.set_size(u64::try_from(name.len()).unwrap_or(u64::MAX) + 1);
            put(&mut long.as_old_mut().name, b"././@LongLink");
            long.set_cksum();
            tar.append(&long, name.chain(&b"\0"[..]))?;
        }
    }
    let old = header.as_old_mut();
    put(&mut old.name, path);
    put(&mut old.linkname, target);
    header.set_cksum();
    tar.append(header, content)
}

fn put(field: &mut [u8; HEADER_NAME], text: &[u8]) {
    let length = text.len().min(HEADER_NAME);
    field[..length].copy_from_slice(&text[..length]);
}

fn header(kind: EntryType, mode: u32, size: u64, mtime: i64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(u64::try_from(mtime).unwrap_or_default());
    header
}

/// A reader that keeps its own account, because an error out of the tar crate does not tell
/// whether it came from the file or from the stream.
struct Exactly {
    file: io::Take<std::fs::File>,
    left: u64,
    failure: Option<io::Error>,
}

impl Read for Exactly {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buf) {
            Ok(count) => {
                self.left -= u64::try_from(count).unwrap_or_default();
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.failure = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

/// The writing end of the queue.
struct Outlet {
    sender: mpsc::Sender<Vec<u8>>,
    chunk: Vec<u8>,
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        if self.chunk.len() == CHUNK {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn unrecorded(path: &[u8], source: io::Error) -> Stop {
    Stop::Failed(WorkspaceError::Record { path: OsStr::from_bytes(path).into(), source })
}

fn seconds_now() -> i64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or_default()
}

/// The only thing that writing into the queue can fail of.
fn closed(_: io::Error) -> Stop {
    Stop::Closed
}

fn read_error(path: PathBuf, source: io::Error) -> Stop {
    Stop::Failed(WorkspaceError::Read { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer<Vec<u8>> {
        Writer {
            tar: Builder::new(Vec::new()),
            directories: HashSet::new(),
            prefix: Vec::new(),
            is_metadata: false,
            now: 0,
            recorder: None,
        }
    }

    /// Writes a file that had `before` bytes when it was looked at and has `after` when it is
    /// read; answers its bytes in the archive.
    fn write_changing(before: u64, after: u64) -> Result<Vec<u8>, Stop> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(before).unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        file.set_len(after).unwrap();
        let mut writer = writer();
        writer.file(b"name", file, &stat, || "name".into())?;
        let tar = writer.tar.into_inner().unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut entries = archive.entries().unwrap();
        let mut content = Vec::new();
        entries.next().unwrap().unwrap().read_to_end(&mut content).unwrap();
        assert!(entries.next().is_none());
        Ok(content)
    }

    #[test]
    fn files_that_change_while_they_are_read() {
        for (before, after, expected) in [
            (10, 5, 5),
            (10, 20, 20),
            (0, 1, 1),
            (10, READ_WHOLE + 1, 10),
            (READ_WHOLE + 10, READ_WHOLE + 20, READ_WHOLE + 10),
        ] {
            let content = write_changing(before, after).ok().unwrap();
            assert_eq!(u64::try_from(content.len()).unwrap(), expected, "{before} {after}");
        }
        let cut = write_changing(READ_WHOLE + 10, 10);
        assert!(matches!(cut, Err(Stop::Failed(WorkspaceError::Changed(_)))));
    }

    #[test]
    fn names_are_written_exactly() {
        let long_link = b"./a//".repeat(50);
        let long_name = [b"\xff".repeat(120).as_slice(), b"/..x"].concat();
        for (name, target) in [(&b"a"[..], &b"./b//."[..]), (&long_name, &long_link)] {
            let mut writer = writer();
            let mut header = header(EntryType::Symlink, 0o777, 0, 0);
            writer.append(name, target, &mut header, io::empty()).unwrap();
            let tar = writer.tar.into_inner().unwrap();
            let mut archive = tar::Archive::new(tar.as_slice());
            let entry = archive.entries().unwrap().next().unwrap().unwrap();
            assert_eq!(entry.path_bytes().as_ref(), name);
            assert_eq!(entry.link_name_bytes().unwrap().as_ref(), target);
        }
    }
}
