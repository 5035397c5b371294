//! The agent's own SSH server, for images that have none: sessions are commands of the exec
//! service, which has terminals, users, signals and hang-ups already.
//!
//! ```text
//!   stream ─ banger_ssh_server ─ Session ─┐ frames          ┌─ exec ─ command
//!                                         └─ bridge ────────┘
//! ```
//!
//! Only root logs in, as with the image's own server, whose list of keys is root's as well.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use banger_link::framed::{FrameReader, FrameWriter, FramedError};
use banger_proto::guest::frame::{DATA_CHUNK, Frame, Kind};
use banger_proto::guest::{ExecExit, ExecRequest, STDIN_WINDOW, StdinTaken, TerminalSize};
use banger_proto::{Code, Problem};
use banger_ssh_server::{
    AuthorizedKeys, Command, Config, Exit, HostKey, Input, Inputs, Outputs, Session, Stream, WINDOW,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::context::Context;
use crate::exec::{self, Plan};
use crate::role::FILE_SERVER;
use crate::services::{FromHost, ServiceError, ToHost};

/// How long a client has for logging in.
const LOGIN_TIME: Duration = Duration::from_secs(30);
/// Bytes of `authorized_keys` that are looked at.
const KEYS_LIMIT: u64 = 1 << 20;
/// The exit code of a command that could not be asked for.
const NOT_STARTED: Exit = Exit::Code(255);

/// What the client may send is what the exec service takes.
const _: () = assert!(WINDOW as usize == STDIN_WINDOW);

/// Decides who is let in, and with which key the guest shows who it is. `host_key` is that
/// private key in OpenSSH's format, `authorized_keys` the path of a file in the guest's root.
///
/// # Errors
/// When the key or the file cannot be used.
pub(crate) fn prepare(
    context: &Context,
    host_key: &str,
    authorized_keys: &Path,
) -> Result<Config, Problem> {
    let host_key = HostKey::parse_openssh(host_key).map_err(|error| {
        Problem::new(Code::BadRequest, "the guest's SSH key cannot be used").because(&error)
    })?;
    let read = context.root.open().and_then(|root| root.read(authorized_keys, KEYS_LIMIT));
    let authorized_keys = match read {
        Ok(text) => AuthorizedKeys::parse(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => AuthorizedKeys::default(),
        Err(error) => {
            let message = "cannot read who may log in to the guest";
            return Err(Problem::new(Code::OperationFailed, message).because(&error));
        }
    };
    let users = vec!["root".to_owned()];
    Ok(Config { host_key: Arc::new(host_key), users, authorized_keys, login_time: LOGIN_TIME })
}

/// Serves one connection over `stream` to its end.
pub(crate) async fn carry<S>(context: &Arc<Context>, config: &Config, stream: S)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let sessions = |session| run(Arc::clone(context), session);
    // A client that misbehaves was told so, and there is nobody else to tell.
    let _ = banger_ssh_server::serve(stream, config, sessions).await;
}

/// Serves one connection as the service does, to an image without a server.
///
/// # Errors
/// When the key or the file cannot be used: see the service.
pub async fn serve<S>(
    context: &Arc<Context>,
    host_key: &str,
    authorized_keys: &Path,
    stream: S,
) -> Result<(), Problem>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let config = prepare(context, host_key, authorized_keys)?;
    carry(context, &config, stream).await;
    Ok(())
}

/// Runs a session's command to its end.
async fn run(context: Arc<Context>, session: Session) -> Exit {
    let Session { command, env, terminal, input, output, .. } = session;
    // Nobody but root gets here, whom a request means that names nobody: an image may have no
    // list of users to find the name in.
    let request = ExecRequest {
        env,
        terminal: terminal.map(|size| TerminalSize { rows: size.rows, cols: size.cols }),
        stdin: true,
        ..ExecRequest::default()
    };
    let plan = match (Plan::make(&context, &request), command) {
        (Ok(plan), Command::Shell) => plan,
        (Ok(plan), Command::Line(line)) => plan.with_line(&line),
        (Ok(plan), Command::Sftp) => plan.with_program(&context.machine.own_program(), FILE_SERVER),
        (Err(problem), _) => return refuse(&problem, &output).await,
    };
    let (ours, theirs) = tokio::io::duplex(2 * DATA_CHUNK);
    let (from_us, to_us) = tokio::io::split(theirs);
    let mut from_us: FromHost = FrameReader::new(Box::new(from_us));
    let mut to_us: ToHost = FrameWriter::new(Box::new(to_us));
    let executed = async {
        let ran = exec::run(&context, plan, &request, &mut from_us, &mut to_us).await;
        if let Err(ServiceError::Refused(problem)) = ran {
            let _ = to_us.send_json(Kind::Refused, &problem).await;
        }
        // Both are closed here, so that the other side sees the end.
        drop((from_us, to_us));
    };
    let (from_command, to_command) = tokio::io::split(ours);
    let bridged = async {
        let (mut from_command, mut to_command) =
            (FrameReader::new(from_command), FrameWriter::new(to_command));
        // The end of either is the end of both: a client that is gone hangs up the command.
        tokio::select! {
            exit = pass_out(&mut from_command, &output) => exit,
            _ = pass_in(input, &mut to_command) => None,
        }
    };
    let ((), exit) = tokio::join!(executed, bridged);
    exit.unwrap_or(NOT_STARTED)
}

async fn refuse(problem: &Problem, output: &Outputs) -> Exit {
    let _ = output.write(Stream::Error, format!("banger: {problem}\r\n").as_bytes()).await;
    NOT_STARTED
}

/// Passes the client's input on until the client is gone.
async fn pass_in<W>(mut input: Inputs, command: &mut FrameWriter<W>) -> Result<(), FramedError>
where
    W: AsyncWrite + Unpin,
{
    while let Some(input) = input.next().await {
        match input {
            Input::Bytes(bytes) => command.send_bytes(Kind::Stdin, &bytes).await?,
            Input::End => command.send(&Frame::new(Kind::StdinEnd, "")).await?,
            Input::Resize(size) => {
                let size = TerminalSize { rows: size.rows, cols: size.cols };
                command.send_json(Kind::Resize, &size).await?;
            }
            Input::Signal(number) => {
                command.send(&Frame::new(Kind::Signal, [number])).await?;
            }
        }
    }
    Ok(())
}

/// Passes the command's output on until its end; none when the client is gone before.
async fn pass_out<R>(command: &mut FrameReader<R>, output: &Outputs) -> Option<Exit>
where
    R: AsyncRead + Unpin,
{
    loop {
        let frame = command.next().await.ok()??;
        match frame.kind {
            Kind::Stdout => output.write(Stream::Output, &frame.payload).await.ok()?,
            Kind::Stderr => output.write(Stream::Error, &frame.payload).await.ok()?,
            Kind::StdinTaken => {
                let StdinTaken { bytes } = frame.parse().ok()?;
                output.taken(usize::try_from(bytes).ok()?).await.ok()?;
            }
            Kind::Exit => {
                let exit: ExecExit = frame.parse().ok()?;
                return Some(match exit {
                    ExecExit { signal: Some(signal), .. } => Exit::Signal(signal),
                    ExecExit { .. } => Exit::Code(exit.shell_code()),
                });
            }
            Kind::Refused => return Some(refuse(&frame.parse().ok()?, output).await),
            _ => {}
        }
    }
}

/// The file server's process: what a session with [`Command::Sftp`] runs, so that the files are
/// those of the guest and of the user.
pub(crate) fn serve_files() -> ExitCode {
    match banger_ssh_server::sftp::serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{FILE_SERVER}: {error}");
            ExitCode::FAILURE
        }
    }
}
