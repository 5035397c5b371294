//! Starting a planned command, with three pipes or a terminal.
//!
//! The work between fork and exec is a fixed list of system calls ([`ChildSetup`]); the program
//! is looked for by the child itself, after it became the user, so that a name means what it
//! means for that user in that root.
//!
//! [`ChildSetup`]: crate::sys::ChildSetup

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use banger_proto::guest::TerminalSize;
use banger_proto::{Code, Problem};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use tokio::net::UnixStream;

use super::child::Child;
use super::output::Output;
use super::plan::Plan;
use super::stream::{Stream, winsize};
use crate::sys;

/// A command that was started, with the agent's ends of its files.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    /// None when the command's input is empty.
    pub(crate) stdin: Option<Stream>,
    /// Output, or everything of a terminal.
    pub(crate) stdout: Stream,
    /// None for a terminal.
    pub(crate) stderr: Option<Stream>,
    pub(crate) terminal: bool,
}

/// Why a command was not started.
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// It is the program's fault; a shell would say this and exit with this code.
    Program { code: u8, message: String },
    /// It is the guest's.
    System(Problem),
}

impl SpawnError {
    fn system(doing: &str, error: &io::Error) -> Self {
        Self::System(Problem::new(Code::OperationFailed, doing).because(error))
    }
}

/// Starts the command.
pub(crate) fn spawn(
    plan: Plan,
    terminal: Option<TerminalSize>,
    stdin: bool,
) -> Result<Running, SpawnError> {
    match terminal {
        Some(size) => spawn_in_terminal(plan, size),
        None => spawn_with_pipes(plan, stdin, pipe),
    }
}

/// Starts a command that is to go on when this agent is killed: its pipes are there for as long as
/// it lives, and can be opened again. A terminal goes with the agent.
pub(crate) fn spawn_lasting(
    plan: Plan,
    terminal: Option<TerminalSize>,
    stdin: bool,
) -> Result<Running, SpawnError> {
    match terminal {
        Some(size) => spawn_in_terminal(plan, size),
        None => spawn_with_pipes(plan, stdin, lasting_pipe),
    }
}

/// Starts a command that nobody watches: no input, output to the agent's own.
pub(crate) fn spawn_quiet(plan: Plan) -> Result<Child, SpawnError> {
    let (mut command, program) = command(plan);
    command.stdin(Stdio::null());
    start(command, &program)
}

/// Starts a command whose input and output are one socket, as a server's are that is started for
/// one connection. Also returns the other end.
pub(crate) fn spawn_on_socket(plan: Plan) -> Result<(Child, UnixStream), SpawnError> {
    let failed = |error: io::Error| SpawnError::system("cannot make the command's socket", &error);
    let (near, far) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    near.set_nonblocking(true).map_err(failed)?;
    let near = UnixStream::from_std(near).map_err(failed)?;
    let again = far.try_clone().map_err(failed)?;
    let (mut command, program) = command(plan);
    command.stdin(OwnedFd::from(far)).stdout(OwnedFd::from(again)).stderr(Stdio::null());
    Ok((start(command, &program)?, near))
}

/// Starts a command without input, whose two outputs are one pipe: as they come, in their order.
pub(crate) fn spawn_with_output(plan: Plan) -> Result<(Child, Output), SpawnError> {
    let failed = |error: io::Error| SpawnError::system("cannot make the command's pipe", &error);
    let (output, far) = pipe().map_err(failed)?;
    own(&plan, &far).map_err(failed)?;
    let again = far.try_clone().map_err(failed)?;
    let (mut command, program) = command(plan);
    command.stdin(Stdio::null()).stdout(far).stderr(again);
    let child = start(command, &program)?;
    Ok((child, Output::new(Some(Stream::new(output).map_err(failed)?))))
}

/// `output` makes the pipes of the two outputs.
fn spawn_with_pipes(
    plan: Plan,
    stdin: bool,
    output: impl Fn() -> io::Result<(OwnedFd, OwnedFd)>,
) -> Result<Running, SpawnError> {
    let pipes = || -> io::Result<_> {
        let input = if stdin { Some(pipe()?) } else { None };
        let (stdout, stderr) = (output()?, output()?);
        for far in input.iter().map(|(far, _)| far).chain([&stdout.1, &stderr.1]) {
            own(&plan, far)?;
        }
        Ok((input, stdout, stderr))
    };
    let (input, (stdout, stdout_far), (stderr, stderr_far)) =
        pipes().map_err(|error| SpawnError::system("cannot make the command's pipes", &error))?;
    let (mut command, program) = command(plan);
    let stdin = match input {
        Some((far, near)) => {
            command.stdin(far);
            Some(near)
        }
        None => {
            command.stdin(Stdio::null());
            None
        }
    };
    command.stdout(stdout_far).stderr(stderr_far);
    let child = start(command, &program)?;
    let ends = || -> io::Result<_> {
        Ok((stdin.map(Stream::new).transpose()?, Stream::new(stdout)?, Stream::new(stderr)?))
    };
    let (stdin, stdout, stderr) =
        ends().map_err(|error| SpawnError::system("cannot watch the command's pipes", &error))?;
    Ok(Running { child, stdin, stdout, stderr: Some(stderr), terminal: false })
}

fn spawn_in_terminal(plan: Plan, size: TerminalSize) -> Result<Running, SpawnError> {
    let failed = |error: io::Error| SpawnError::system("cannot make a terminal", &error);
    let (near, far) = open_terminal(&plan, size).map_err(failed)?;
    let (mut command, program) = command(plan);
    let again = || far.try_clone();
    command.stdin(again().map_err(failed)?).stdout(again().map_err(failed)?).stderr(far);
    let child = start(command, &program)?;
    let near = Stream::new(near).map_err(failed)?;
    Ok(Running { child, stdin: Some(near.clone()), stdout: near, stderr: None, terminal: true })
}

/// A pipe as (read end, write end). Neither end is inherited but by being made a standard file.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// A pipe whose write end is a read end, too (pipe(7), "opening a FIFO for reading and writing"):
/// whoever has it never writes to nobody.
fn lasting_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (near, far) = pipe()?;
    let path = format!("/proc/self/fd/{}", far.as_raw_fd());
    let far = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    Ok((near, far))
}

/// Gives a command's end of a pipe to the command's user, who else could use it but not open it
/// once more by its name, `/dev/stdout`: what many programs are made to log to.
fn own(plan: &Plan, far: &OwnedFd) -> io::Result<()> {
    if plan.setup.credentials.is_some() {
        rustix::fs::fchown(far, Some(plan.credentials.uid), Some(plan.credentials.gid))?;
    }
    Ok(())
}

/// A terminal as (agent's end, command's end), from the guest's own `/dev`: names of terminals
/// mean something only in the instance of devpts that they come from.
fn open_terminal(plan: &Plan, size: TerminalSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let near = plan.root.open(Path::new("/dev/ptmx"), flags)?;
    rustix::pty::unlockpt(&near)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let far = rustix::pty::ioctl_tiocgptpeer(&near, flags)?;
    rustix::termios::tcsetwinsize(&near, winsize(size))?;
    if plan.setup.credentials.is_some() {
        // The group stays devpts's own choice, usually `tty`.
        rustix::fs::fchown(far.as_fd(), Some(plan.credentials.uid), None)?;
    }
    Ok((near, far))
}

fn command(plan: Plan) -> (Command, String) {
    let mut command = Command::new(&plan.program);
    command.arg0(&plan.arg0).args(&plan.args).env_clear().envs(&plan.env);
    sys::set_up_child(&mut command, plan.setup);
    (command, plan.program)
}

/// Starts `command`, and closes the agent's copies of the command's files by dropping it.
fn start(mut command: Command, program: &str) -> Result<Child, SpawnError> {
    let process = command.spawn().map_err(|error| classify(error, program))?;
    drop(command);
    Child::new(process).map_err(|error| SpawnError::system("cannot watch the command", &error))
}

/// Tells what went wrong from the one number that comes back from the child. Nothing the child
/// does before exec can answer with the numbers that are the program's fault.
fn classify(error: io::Error, program: &str) -> SpawnError {
    let (code, reason) = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) if program.contains('/') => {
            (127, "no such file or directory")
        }
        Some(Errno::NOENT | Errno::NOTDIR) => (127, "command not found"),
        Some(Errno::ACCESS | Errno::ISDIR) => (126, "permission denied"),
        Some(Errno::NOEXEC | Errno::LIBBAD) => (126, "exec format error"),
        Some(Errno::LOOP) => (126, "too many levels of symbolic links"),
        Some(Errno::TOOBIG) => (126, "argument list too long"),
        Some(Errno::TXTBSY) => (126, "text file busy"),
        Some(Errno::NAMETOOLONG) => (126, "file name too long"),
        _ => return SpawnError::system("cannot start the command", &error),
    };
    SpawnError::Program { code, message: format!("banger: {program}: {reason}\n") }
}
