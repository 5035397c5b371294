//! One daemon per state directory, and whose turn it is to become that one.
//!
//! Two locks, which the kernel gives back however their holder ends:
//!
//! ```text
//!                    turn (bangerd.start.lock)   owner (bangerd.lock)
//!  starts            held                        held, as soon as it is free
//!  serves            free                        held
//!  ends, was killed  free                        held, until the process is gone
//! ```
//!
//! Who has the turn and finds an owner asks it on its socket, and waits for its end at the same
//! time. So a start meets one of three: nobody; a daemon that answers, which is just as good; or
//! one that is going, whose end comes as an event. A process that was killed holds its locks
//! until the kernel has taken it apart, and a daemon that ends closes its socket before it is
//! done: both are waited for.

use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use banger_proto::{Code, Problem};
use fs_err::{File, OpenOptions};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::private;

/// How long another daemon's start or end is waited for. Shorter than the minute that a command
/// waits for the daemon it starts, so that it hears the reason; longer than an orderly end takes.
const PATIENCE: Duration = Duration::from_secs(50);
/// Bytes of the lock file that are read: a number and a path.
const OWNER_LIMIT: u64 = 8 << 10;
/// A request that every version of the daemon answers (see `banger_proto::api`).
const QUESTION: &[u8] = b"GET /v1/daemon HTTP/1.1\r\nhost: banger\r\nconnection: close\r\n\r\n";

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon serves.
    #[error("another daemon{} already uses `{dir}`", render_pid(.pid.as_deref()))]
    Taken {
        /// The state directory.
        dir: PathBuf,
        /// The other one's process, if it said.
        pid: Option<String>,
        /// Its socket, when that is another one than this daemon's.
        elsewhere: Option<PathBuf>,
    },
    /// Another daemon neither answers nor ends.
    #[error("another daemon{} uses `{dir}` and does not answer", render_pid(.pid.as_deref()))]
    Silent {
        /// The state directory.
        dir: PathBuf,
        /// The other one's process, if it said.
        pid: Option<String>,
    },
    /// Another daemon is starting and does not come to an end with it.
    #[error("another daemon is still starting in `{0}`")]
    Starting(PathBuf),
    /// A file cannot be used; the error names it.
    #[error("cannot lock the state directory")]
    Io(#[source] io::Error),
}

impl From<LockError> for Problem {
    /// [`Code::Conflict`] says that the other daemon answers where this one would.
    fn from(error: LockError) -> Self {
        let code = match &error {
            LockError::Taken { elsewhere: None, .. } => Code::Conflict,
            LockError::Silent { .. } | LockError::Starting(_) => Code::Timeout,
            _ => Code::OperationFailed,
        };
        let problem = Self::from_error(code, &error);
        match error {
            LockError::Taken { elsewhere: Some(socket), .. } => problem.hint(format!(
                "it answers at `{}`: give it back its `XDG_RUNTIME_DIR`, or end it there with \
                 `banger daemon stop`",
                socket.display()
            )),
            LockError::Silent { pid: Some(pid), .. } => {
                problem.hint(format!("VMs run on without it: end it with `kill -9 {pid}`"))
            }
            LockError::Starting(_) => {
                problem.hint("try again in a minute: it looks after VMs that run before it answers")
            }
            _ => problem,
        }
    }
}

fn render_pid(pid: Option<&str>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// The state directory is this process's; the kernel gives it back when the process ends.
#[derive(Debug)]
pub struct Lock {
    _owner: File,
    turn: Option<File>,
}

impl Lock {
    /// Takes the lock `path` for a daemon that will serve at `socket`. Waits while another one
    /// starts or ends.
    ///
    /// # Errors
    /// When another one serves, or neither serves nor ends.
    pub fn take(path: &Path, socket: &Path) -> Result<Self, LockError> {
        Self::take_within(path, socket, PATIENCE)
    }

    fn take_within(path: &Path, socket: &Path, patience: Duration) -> Result<Self, LockError> {
        let until = Instant::now() + patience;
        let dir = path.parent().unwrap_or(path).to_owned();
        let turn = open(&path.with_extension("start.lock")).map_err(LockError::Io)?;
        let Some(turn) = lock_until(turn, until).map_err(LockError::Io)? else {
            return Err(LockError::Starting(dir));
        };
        let mut file = open(path).map_err(LockError::Io)?;
        if try_lock(&file).map_err(LockError::Io)? {
            return Self::own(file, turn, socket);
        }
        // Whoever owns the directory has written this before it gave the turn on.
        let owner = Owner::load(&mut file);
        let asked = owner.socket.as_deref().unwrap_or(socket);
        match wait_for_owner(file, asked, until) {
            Met::Gone(file) => Self::own(file.map_err(LockError::Io)?, turn, socket),
            Met::Serving => {
                let elsewhere = (asked != socket).then(|| asked.to_owned());
                Err(LockError::Taken { dir, pid: owner.pid, elsewhere })
            }
            Met::Silent => Err(LockError::Silent { dir, pid: owner.pid }),
        }
    }

    /// Lets the next one try: this daemon answers from now on.
    pub fn serves(&mut self) {
        self.turn = None;
    }

    fn own(mut file: File, turn: File, socket: &Path) -> Result<Self, LockError> {
        let mut text = format!("{}\n", std::process::id()).into_bytes();
        text.extend_from_slice(socket.as_os_str().as_bytes());
        io::Seek::rewind(&mut file)
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.write_all(&text))
            .map_err(LockError::Io)?;
        Ok(Self { _owner: file, turn: Some(turn) })
    }
}

/// What stands in a lock file about its owner. Only for messages and for asking it.
#[derive(Debug, Default)]
struct Owner {
    pid: Option<String>,
    socket: Option<PathBuf>,
}

impl Owner {
    /// A file that cannot be read says nothing.
    fn load(file: &mut File) -> Self {
        let mut text = Vec::new();
        let _ = Read::by_ref(file).take(OWNER_LIMIT).read_to_end(&mut text);
        let mut lines = text.splitn(2, |byte| *byte == b'\n');
        let pid = lines.next().and_then(|pid| std::str::from_utf8(pid).ok()).map(str::trim);
        let pid = pid.filter(|pid| !pid.is_empty() && pid.bytes().all(|c| c.is_ascii_digit()));
        let socket = lines.next().filter(|socket| socket.starts_with(b"/"));
        Self {
            pid: pid.map(ToOwned::to_owned),
            socket: socket.map(|path| std::ffi::OsString::from_vec(path.to_owned()).into()),
        }
    }
}

/// What became of the owner while it was watched.
enum Met {
    /// It is gone, and the lock is ours.
    Gone(io::Result<File>),
    /// It answers.
    Serving,
    /// Neither.
    Silent,
}

fn wait_for_owner(file: File, socket: &Path, until: Instant) -> Met {
    let (met, meeting) = mpsc::channel();
    lock_in_thread(file, {
        let met = met.clone();
        move |file| drop(met.send(Met::Gone(file)))
    });
    let socket = socket.to_owned();
    std::thread::spawn(move || {
        if answers(&socket, until) {
            // Whoever asked may have stopped listening.
            let _ = met.send(Met::Serving);
        }
    });
    meeting.recv_timeout(remaining(until)).unwrap_or(Met::Silent)
}

/// Whether somebody answers at `socket`. That somebody can be connected to says little: a
/// process that was killed has its socket for a moment longer.
fn answers(socket: &Path, until: Instant) -> bool {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(remaining(until).max(Duration::from_millis(1))))?;
        stream.write_all(QUESTION)?;
        stream.read_exact(&mut [0; b"HTTP/1.1 ".len()])
    };
    ask().is_ok()
}

/// Takes the lock by `until`; none when somebody else has it longer.
fn lock_until(file: File, until: Instant) -> io::Result<Option<File>> {
    if try_lock(&file)? {
        return Ok(Some(file));
    }
    let (locked, waiting) = mpsc::channel();
    lock_in_thread(file, move |file| drop(locked.send(file)));
    waiting.recv_timeout(remaining(until)).ok().transpose()
}

/// Waits for the lock in a thread: the kernel has no such wait with a deadline. One that nobody
/// waits for any more gives the lock back as soon as it gets it, and goes with the process.
fn lock_in_thread(file: File, then: impl FnOnce(io::Result<File>) + Send + 'static) {
    std::thread::spawn(move || {
        let locked = loop {
            match flock(file.file(), FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                locked => break locked,
            }
        };
        then(locked.map(|()| file).map_err(Into::into));
    });
}

fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    private::ensure_file(path)?;
    OpenOptions::new().read(true).write(true).open(path)
}

fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn lock(&self) -> PathBuf {
            self.dir.path().join("bangerd.lock")
        }

        fn socket(&self) -> PathBuf {
            self.dir.path().join("bangerd.sock")
        }

        fn take(&self, patience: Duration) -> Result<Lock, LockError> {
            Lock::take_within(&self.lock(), &self.socket(), patience)
        }

        /// Answers one question at the socket, in a thread.
        fn answer(&self) {
            let listener = UnixListener::bind(self.socket()).unwrap();
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; QUESTION.len()]).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            });
        }

        /// Waits until somebody waits for the lock in `file`, as `/proc/locks` tells.
        fn until_awaited(&self, file: &Path) {
            let inode = format!(":{} ", fs_err::metadata(file).unwrap().ino());
            let deadline = Instant::now() + Duration::from_secs(30);
            let awaited = || {
                let locks = fs_err::read_to_string("/proc/locks").unwrap();
                locks.lines().any(|line| line.contains("->") && line.contains(&inode))
            };
            while !awaited() {
                assert!(Instant::now() < deadline, "nobody waits for `{}`", file.display());
                std::thread::yield_now();
            }
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn one_that_answers_is_told() {
        let place = Place::new();
        let mut first = place.take(LONG).unwrap();
        first.serves();
        place.answer();
        let error = place.take(LONG).unwrap_err();
        assert!(matches!(error, LockError::Taken { elsewhere: None, .. }));
        let (pid, dir) = (std::process::id(), place.dir.path().display());
        let expected = format!("another daemon (pid {pid}) already uses `{dir}`");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn one_that_answers_elsewhere_is_found_there() {
        let place = Place::new();
        let mut first = place.take(LONG).unwrap();
        first.serves();
        place.answer();
        let other = place.dir.path().join("other.sock");
        let error = Lock::take_within(&place.lock(), &other, LONG).unwrap_err();
        let LockError::Taken { elsewhere, .. } = error else { panic!("{error}") };
        assert_eq!(elsewhere, Some(place.socket()));
    }

    #[test]
    fn one_that_is_going_is_waited_for() {
        let place = Place::new();
        let mut first = place.take(LONG).unwrap();
        first.serves();
        // It accepts connections and answers none, as a killed one does.
        let _deaf = UnixListener::bind(place.socket()).unwrap();
        let silent = place.take(Duration::from_millis(1)).unwrap_err();
        assert!(matches!(silent, LockError::Silent { .. }), "{silent}");
        assert!(silent.to_string().ends_with("` and does not answer"), "{silent}");
        assert!(Problem::from(silent).hints[0].contains("kill -9"));
        std::thread::scope(|scope| {
            let second = scope.spawn(|| place.take(LONG));
            place.until_awaited(&place.lock());
            drop(first);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn one_that_starts_is_waited_for() {
        let place = Place::new();
        let mut first = place.take(LONG).unwrap();
        let starting = place.take(Duration::from_millis(1)).unwrap_err();
        assert!(matches!(starting, LockError::Starting(_)), "{starting}");
        assert!(starting.to_string().starts_with("another daemon is still starting in `"));
        std::thread::scope(|scope| {
            let second = scope.spawn(|| place.take(LONG));
            place.until_awaited(&place.lock().with_extension("start.lock"));
            place.answer();
            first.serves();
            let second = second.join().unwrap().unwrap_err();
            assert!(matches!(second, LockError::Taken { .. }), "{second}");
        });
        // One that does not come that far leaves nothing to wait for.
        drop(first);
        drop(place.take(LONG).unwrap());
        place.take(LONG).unwrap();
    }
}
