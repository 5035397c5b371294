//! The only module that starts host programs; those it starts are short-lived (`git`,
//! `mmdebstrap`, `qemu --version`). VMMs belong to their supervisor and are started there.
//!
//! A [`Program`] is described first, then run with a verb that says what becomes of its output:
//!
//! | verb | stdout | a bad exit is |
//! |---|---|---|
//! | [`Program::run`] | thrown away | an error |
//! | [`Program::output`] | returned, bounded | an error |
//! | [`Program::capture`] | returned, bounded | returned |
//! | [`Program::spawn_piped`] | read by the caller while the program runs | an error of [`Piped::finish`] |
//!
//! Every program is the leader of a process group of its own, sees only the environment of its
//! [`HostEnv`] and what is added to it, and is killed with its whole group when the future or the
//! [`Piped`] is dropped: a cancelled request leaves nothing running.

mod host_env;
mod sys;
mod version;

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub use host_env::{Builder, HostEnv};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio_util::task::AbortOnDropHandle;
pub(crate) use version::{Version, ask_version};

/// How much of a program's stderr an error keeps, in bytes: its end.
const STDERR_TAIL: usize = 1024;

/// Longest stderr line that is handed to a line callback, in bytes; the rest of it is lost.
const STDERR_LINE: usize = 4096;

/// Why a host program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It is not on this host.
    #[error("`{program}` was not found")]
    NotFound {
        /// The program.
        program: String,
    },
    /// It is there but does not start.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It runs, but its pipes or its end cannot be read.
    #[error("cannot follow `{program}`")]
    Follow {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended badly.
    #[error("`{program}` {end}{separator}{stderr}", end = render_exit(*.status), separator = if .stderr.is_empty() { "" } else { ": " })]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said on stderr, 1 KiB at most.
        stderr: String,
    },
    /// It wrote more than it may; it was killed.
    #[error("`{program}` wrote more than {limit} bytes")]
    TooMuch {
        /// The program.
        program: String,
        /// What it may write, in bytes.
        limit: usize,
    },
    /// It took longer than it may; it was killed.
    #[error("`{program}` did not finish within {limit:?}")]
    Deadline {
        /// The program.
        program: String,
        /// How long it may take.
        limit: Duration,
    },
}

/// How a program ended and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// How it ended.
    pub status: ExitStatus,
    /// All of stdout.
    pub stdout: Vec<u8>,
    /// The end of stderr, 1 KiB at most.
    pub stderr: String,
}

type OnLine = Box<dyn FnMut(&str) + Send>;

/// What a program reads from stdin.
enum Input {
    Null,
    Bytes(Vec<u8>),
    Stream(Box<dyn AsyncRead + Send + Unpin>),
}

/// A host program that is going to be run.
pub struct Program {
    file: Option<PathBuf>,
    name: String,
    command: Command,
    input: Input,
    on_line: Option<OnLine>,
    limit: Option<Duration>,
}

impl Program {
    /// The program `program`: a path, or a name that is looked up on the search path of `env`.
    #[must_use]
    pub fn new(env: &HostEnv, program: impl AsRef<Path>) -> Self {
        let file = env.find(&program);
        let mut command = Command::new(file.as_deref().unwrap_or(program.as_ref()));
        command.env_clear().envs(env.variables()).process_group(0).kill_on_drop(true);
        Self {
            file,
            name: program.as_ref().display().to_string(),
            command,
            input: Input::Null,
            on_line: None,
            limit: None,
        }
    }

    /// Calls it `name` in errors, where the file's name alone says too little (`git ls-files`).
    #[must_use]
    pub fn called(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the directory it starts in.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Writes `bytes` to its stdin, then closes it.
    #[must_use]
    pub fn stdin_bytes(mut self, bytes: Vec<u8>) -> Self {
        self.input = Input::Bytes(bytes);
        self
    }

    /// Copies `stream` to its stdin, then closes it.
    #[must_use]
    pub fn stdin_stream(mut self, stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        self.input = Input::Stream(Box::new(stream));
        self
    }

    /// Calls `on_line` with each line of stderr (without its end; carriage returns end lines,
    /// too, as progress meters use them).
    #[must_use]
    pub fn stderr_lines(mut self, on_line: impl FnMut(&str) + Send + 'static) -> Self {
        self.on_line = Some(Box::new(on_line));
        self
    }

    /// Lets it, and each program it starts, have `bytes` of memory of its own at most; files that
    /// it maps count nothing.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        sys::limit_memory(&mut self.command, bytes);
        self
    }

    /// Kills it when it has not ended after `limit`.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Gives it all the time it takes; the caller may drop it at any moment.
    #[must_use]
    pub fn without_deadline(mut self) -> Self {
        self.limit = None;
        self
    }

    /// Runs it and throws its stdout away.
    ///
    /// # Errors
    /// When it cannot be started, ends badly or misses its deadline.
    pub async fn run(mut self) -> Result<(), ExecError> {
        self.command.stdout(Stdio::null());
        self.start()?.finish().await
    }

    /// Runs it and returns what it writes to stdout, `limit` bytes at most.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when it writes more.
    pub async fn output(self, limit: usize) -> Result<Vec<u8>, ExecError> {
        let name = self.name.clone();
        let captured = self.capture(limit).await?;
        check(name, captured.status, captured.stderr)?;
        Ok(captured.stdout)
    }

    /// Runs it and returns what it writes to stdout, `limit` bytes at most, and how it ended,
    /// well or not.
    ///
    /// # Errors
    /// When it cannot be started, writes more or misses its deadline.
    pub async fn capture(self, limit: usize) -> Result<Captured, ExecError> {
        let mut piped = self.spawn_piped()?;
        let mut stdout = Vec::new();
        let take = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let read = (&mut piped).take(take).read_to_end(&mut stdout).await;
        if let Err(source) = read {
            return Err(piped.read_error(source));
        }
        if stdout.len() > limit {
            return Err(ExecError::TooMuch { program: piped.name.clone(), limit });
        }
        let (status, stderr) = piped.end().await?;
        Ok(Captured { status, stdout, stderr })
    }

    /// Starts it; the caller reads its stdout from the answer.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_piped(mut self) -> Result<Piped, ExecError> {
        self.command.stdout(Stdio::piped());
        self.start()
    }

    fn start(mut self) -> Result<Piped, ExecError> {
        if self.file.is_none() {
            return Err(ExecError::NotFound { program: self.name });
        }
        let input = matches!(self.input, Input::Null).then(Stdio::null);
        self.command.stdin(input.unwrap_or_else(Stdio::piped)).stderr(Stdio::piped());
        tracing::debug!(program = %self.name, "starting a program");
        let spawned = self.command.spawn();
        let mut child = match spawned {
            Ok(child) => Group { child },
            Err(source) => return Err(ExecError::Start { program: self.name, source }),
        };
        let stderr = child.child.stderr.take();
        let stdin = child.child.stdin.take();
        Ok(Piped {
            stdout: child.child.stdout.take(),
            stderr: AbortOnDropHandle::new(tokio::spawn(read_stderr(stderr, self.on_line))),
            stdin: AbortOnDropHandle::new(tokio::spawn(feed(stdin, self.input))),
            deadline: self.limit.map(|limit| Box::pin(tokio::time::sleep(limit))),
            limit: self.limit.unwrap_or_default(),
            started: Instant::now(),
            name: self.name,
            child,
        })
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("command", &self.command).finish_non_exhaustive()
    }
}

/// A program that runs: its stdout as a stream. Dropped before [`finish`](Self::finish), it is
/// killed with all it started.
#[derive(Debug)]
pub struct Piped {
    stdout: Option<ChildStdout>,
    stderr: AbortOnDropHandle<Tail>,
    stdin: AbortOnDropHandle<std::io::Result<()>>,
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    limit: Duration,
    started: Instant,
    name: String,
    child: Group,
}

impl Piped {
    /// Waits for its end. Read stdout to its end before: what is unread is lost, and the program
    /// may die of the closed pipe.
    ///
    /// # Errors
    /// When it ends badly or misses its deadline.
    pub async fn finish(self) -> Result<(), ExecError> {
        let name = self.name.clone();
        let (status, stderr) = self.end().await?;
        check(name, status, stderr)
    }

    async fn end(mut self) -> Result<(ExitStatus, String), ExecError> {
        let deadline = self.deadline.take();
        let expired = async move {
            match deadline {
                Some(sleep) => sleep.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = self.end_unbounded() => ended,
            () = expired => {
                Err(ExecError::Deadline { program: self.name.clone(), limit: self.limit })
            }
        }
    }

    async fn end_unbounded(&mut self) -> Result<(ExitStatus, String), ExecError> {
        drop(self.stdout.take());
        // The pipes first, the leader last: until it is waited for, its number cannot be given
        // to another process group, so that a drop half-way kills the right one.
        let tail = (&mut self.stderr).await.unwrap_or_default();
        let status = self.child.child.wait().await;
        self.stdin.abort();
        let fed = (&mut self.stdin).await.unwrap_or(Ok(()));
        let status = fed
            .and(status)
            .map_err(|source| ExecError::Follow { program: self.name.clone(), source })?;
        let millis = self.started.elapsed().as_millis();
        tracing::debug!(program = %self.name, %status, millis, "a program ended");
        Ok((status, tail.render()))
    }

    /// What an error of reading this stream means.
    fn read_error(&self, source: std::io::Error) -> ExecError {
        let program = self.name.clone();
        match source.kind() {
            std::io::ErrorKind::TimedOut => ExecError::Deadline { program, limit: self.limit },
            _ => ExecError::Follow { program, source },
        }
    }
}

impl AsyncRead for Piped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        let expired =
            this.deadline.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if expired {
            // A finished timer must not be polled again; the answer stays the same.
            this.deadline = Some(Box::pin(tokio::time::sleep(Duration::ZERO)));
            let text = format!("`{}` did not finish within {:?}", this.name, this.limit);
            return Poll::Ready(Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text)));
        }
        match &mut this.stdout {
            Some(stdout) => Pin::new(stdout).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// A child and all it started.
#[derive(Debug)]
struct Group {
    child: Child,
}

impl Drop for Group {
    fn drop(&mut self) {
        // `None` once it was waited for: its number may be somebody else's by now.
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid
            && let Err(error) = kill_process_group(pid, Signal::KILL)
        {
            tracing::debug!(pid = pid.as_raw_nonzero(), %error, "cannot kill a process group");
        }
    }
}

/// The end of a stream.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        let excess = self.bytes.len().saturating_sub(STDERR_TAIL);
        self.bytes.drain(..excess);
    }

    /// The text, without control characters that could steer a terminal.
    fn render(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let plain = |c: char| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c };
        text.trim().chars().map(plain).collect()
    }
}

async fn read_stderr(stderr: Option<ChildStderr>, mut on_line: Option<OnLine>) -> Tail {
    let mut tail = Tail::default();
    let Some(mut stderr) = stderr else { return tail };
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    // A stderr that cannot be read has ended: the exit status tells how the program fared.
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        tail.push(&chunk[..count]);
        let Some(on_line) = &mut on_line else { continue };
        for &byte in &chunk[..count] {
            match byte {
                b'\n' | b'\r' => hand_over(&mut line, on_line),
                _ if line.len() < STDERR_LINE => line.push(byte),
                _ => {}
            }
        }
    }
    if let Some(on_line) = &mut on_line {
        hand_over(&mut line, on_line);
    }
    tail
}

fn hand_over(line: &mut Vec<u8>, on_line: &mut OnLine) {
    if !line.is_empty() {
        on_line(&String::from_utf8_lossy(line));
        line.clear();
    }
}

/// Writes a program's input. It may end without reading all of it; whether that was right shows
/// in its exit, so a broken pipe is no error. An input that cannot be read is: the program would
/// take what there was for the whole.
async fn feed(stdin: Option<ChildStdin>, input: Input) -> std::io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    let fed = match input {
        Input::Null => Ok(()),
        Input::Bytes(bytes) => stdin.write_all(&bytes).await,
        Input::Stream(mut stream) => tokio::io::copy(&mut stream, &mut stdin).await.map(drop),
    };
    match fed {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        fed => fed,
    }
}

fn check(program: String, status: ExitStatus, stderr: String) -> Result<(), ExecError> {
    if status.success() { Ok(()) } else { Err(ExecError::Failed { program, status, stderr }) }
}

fn render_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

#[cfg(test)]
mod tests;
