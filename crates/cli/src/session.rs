//! A command in the guest, wired to this process: its input, output, terminal size and signals
//! are ours.
//!
//! ```text
//! stdin ──▶ Stdin, StdinEnd ── data ────┐               ┌ Stdout ──▶ stdout
//! SIGWINCH ──▶ Resize ┐                 ├─▶ connection ─┤ Stderr ──▶ stderr
//! signals ──▶ Signal  ┴────── control ──┘               ├ Exit   ──▶ the end
//!   ▲                                                   │
//!   └ stdin is read while the guest grants more ◀─── StdinTaken
//! ```
//!
//! Every arrow of data waits for the next, so that a slow reader on either side slows the
//! writer down instead of filling memory. Control overtakes data that has not been sent, and
//! what has been sent the agent always takes: never more than its window, see [`StdinTaken`].
//! Output that nobody takes here holds up what comes behind it on the connection, grants
//! included.
//!
//! A job's session is the same, but that the job is there before and after it: it can be left, and
//! its output may have gaps.

use banger_link::framed::{FrameReader, FrameWriter, FramedError, framed};
use banger_proto::guest::frame::{DATA_CHUNK, Frame, Kind};
use banger_proto::guest::{ExecExit, STDIN_WINDOW, Skipped, StdinTaken};
use banger_proto::harmless::Filter;
use banger_proto::{OpId, Problem};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::client;
use crate::detach::DetachKeys;
use crate::errors::CliError;
use crate::signals::{INTERRUPT, Number, Signals};
use crate::stdin::Input;
use crate::terminal::{self, RawMode};

/// Frames of input that may wait for the connection.
const DATA_QUEUE: usize = 2;

/// Signals and sizes that may wait for it; more of them than a person can cause.
const CONTROL_QUEUE: usize = 64;

/// This many times Ctrl-C, and we stop waiting for a command that does not listen.
const PATIENCE: u32 = 3;

/// What the command has of ours.
#[derive(Debug)]
pub(crate) struct Wiring {
    /// A terminal, which follows the size of ours; else signals are handed through.
    pub(crate) terminal: bool,
    /// Our terminal is made raw meanwhile.
    pub(crate) raw: bool,
    /// Our input is the command's.
    pub(crate) input: bool,
    /// The command goes on when we go: signals end the session and are not handed through, and
    /// with a terminal its keys can.
    pub(crate) detachable: bool,
    /// Control sequences are taken out of what the command says.
    pub(crate) filtered: bool,
    /// All that the command says goes to standard error: standard output is for something else.
    pub(crate) aside: bool,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With the command.
    Exit(ExecExit),
    /// With what there was: the command runs.
    Open,
    /// By the keys for it: the command runs.
    Detached,
}

/// What a task gives back that ends only with the session.
type Never = std::convert::Infallible;

/// Runs the session to its end and tells how it was.
///
/// # Errors
/// When the connection ends before the command, when we are told to stop, and when our own
/// output is gone.
pub(crate) async fn run(
    session: client::Session,
    wiring: Wiring,
    signals: &mut Signals,
) -> Result<Ended, CliError> {
    let op_id = session.op_id.clone();
    let (reader, writer) = framed(session.io);
    let _raw = if wiring.raw { Some(RawMode::enter()?) } else { None };
    let (data, data_frames) = mpsc::channel(DATA_QUEUE);
    let (control, control_frames) = mpsc::channel(CONTROL_QUEUE);
    let (granted, grants) = watch::channel(STDIN_WINDOW as u64);
    if !wiring.terminal && !wiring.detachable {
        signals.add_free()?;
    }
    let keys = (wiring.terminal && wiring.detachable).then(DetachKeys::default);
    tokio::select! {
        ended = receive(reader, &granted, &op_id, &wiring) => ended,
        never = send(control_frames, data_frames, writer) => match never {},
        () = relay_input(data, grants, wiring.input, keys) => Ok(Ended::Detached),
        error = relay_size(control.clone(), &wiring) => Err(error),
        error = relay_signals(control, signals, &wiring) => Err(error),
    }
}

/// Writes what the command says until it has ended. `granted` is what may be sent in all.
async fn receive<R: AsyncRead + Unpin>(
    mut frames: FrameReader<R>,
    granted: &watch::Sender<u64>,
    op_id: &Option<OpId>,
    wiring: &Wiring,
) -> Result<Ended, CliError> {
    let mut filters = wiring.filtered.then(<(Filter, Filter)>::default);
    let lost = |text: &str| CliError::failure(text).of_operation(op_id.clone());
    let mut stdout = tokio::io::stdout();
    let mut stderr = tokio::io::stderr();
    loop {
        let frame = match frames.next().await {
            Ok(Some(frame)) => frame,
            Err(FramedError::Frame(error)) => {
                return Err(lost("the command's output cannot be understood").because(&error));
            }
            // However the stream stopped, whoever carried it has gone: VM or daemon.
            Ok(None) | Err(FramedError::Io(_) | FramedError::Truncated) => {
                return Err(lost("the connection went away before the command ended")
                    .hint("`banger ls` shows whether the VM runs, `banger vm logs` its console"));
            }
        };
        match frame.kind {
            Kind::Stdout if !wiring.aside => {
                let shown = filters.as_mut().map(|filters| filters.0.take(&frame.payload));
                let bytes = shown.as_deref().map_or(&frame.payload[..], str::as_bytes);
                write(&mut stdout, bytes).await.map_err(|e| CliError::stdout(&e))?;
            }
            Kind::Stdout | Kind::Stderr => {
                // As with our own messages: nobody is left to tell, the command goes on.
                let shown = filters.as_mut().map(|(out, err)| {
                    if frame.kind == Kind::Stdout { out } else { err }.take(&frame.payload)
                });
                let bytes = shown.as_deref().map_or(&frame.payload[..], str::as_bytes);
                let _ = write(&mut stderr, bytes).await;
            }
            Kind::Event => {
                if let Ok(Skipped { skipped }) = frame.parse() {
                    let line =
                        format!("banger: {skipped} bytes of output are not kept any more\r\n");
                    let _ = write(&mut stderr, line.as_bytes()).await;
                }
            }
            Kind::End => return Ok(Ended::Open),
            Kind::StdinTaken => {
                let StdinTaken { bytes } = frame.parse().map_err(|error| {
                    lost("the command's progress cannot be understood").because(&error)
                })?;
                // A guest that grants more than it should has its connection filled, as it asks.
                granted.send_modify(|granted| *granted = granted.saturating_add(bytes));
            }
            Kind::Exit => {
                return frame.parse().map(Ended::Exit).map_err(|error| {
                    lost("the command's end cannot be understood").because(&error)
                });
            }
            Kind::Refused => {
                let problem: Problem = frame.parse().map_err(|error| {
                    lost("the command's failure cannot be understood").because(&error)
                })?;
                return Err(CliError::from(problem).of_operation(op_id.clone()));
            }
            // Kinds of newer peers, and those that mean nothing in this direction.
            _ => {}
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Sends what is queued, and never ends: a command that has stopped reading may still have
/// things to say.
async fn send<W: AsyncWrite + Unpin>(
    mut control: mpsc::Receiver<Frame>,
    mut data: mpsc::Receiver<Frame>,
    mut writer: FrameWriter<W>,
) -> Never {
    loop {
        let frame = tokio::select! {
            biased;
            Some(frame) = control.recv() => frame,
            Some(frame) = data.recv() => frame,
            else => break,
        };
        if writer.send(&frame).await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// Sends standard input, if that is wanted, then its end. What may not be sent is not read either:
/// it stays where it is, for whoever reads there after us. Returns when the keys to detach were
/// typed, and only then.
async fn relay_input(
    queue: mpsc::Sender<Frame>,
    mut grants: watch::Receiver<u64>,
    wanted: bool,
    mut keys: Option<DetachKeys>,
) {
    if !wanted {
        return std::future::pending().await;
    }
    let mut input = Input::open();
    let mut buffer = vec![0; DATA_CHUNK];
    let mut taken = 0;
    loop {
        let Ok(granted) = grants.wait_for(|granted| *granted > taken).await.map(|all| *all) else {
            break;
        };
        let room = usize::try_from(granted - taken).unwrap_or(DATA_CHUNK).min(DATA_CHUNK);
        // An error (a terminal that hung up) is an end of input like any other.
        let Ok(read @ 1..) = input.read(&mut buffer[..room]).await else { break };
        // Held back ones included: they are sent later.
        taken += read as u64;
        let bytes = match &mut keys {
            None => buffer[..read].to_vec(),
            Some(keys) => match keys.take(&buffer[..read]) {
                Some(bytes) => bytes,
                None => return,
            },
        };
        if !bytes.is_empty() && queue.send(Frame::new(Kind::Stdin, bytes)).await.is_err() {
            break;
        }
    }
    let _ = queue.send(Frame::new(Kind::StdinEnd, [])).await;
    std::future::pending().await
}

/// Tells the terminal's new size whenever it changes, and at once to a command that was started
/// on another terminal.
async fn relay_size(queue: mpsc::Sender<Frame>, wiring: &Wiring) -> CliError {
    if wiring.terminal {
        if wiring.detachable
            && let Ok(frame) = Frame::json(Kind::Resize, &terminal::size())
        {
            let _ = queue.try_send(frame);
        }
        let Ok(mut changes) = signal(SignalKind::window_change()) else {
            return CliError::failure("cannot listen to SIGWINCH");
        };
        while changes.recv().await.is_some() {
            if let Ok(frame) = Frame::json(Kind::Resize, &terminal::size()) {
                let _ = queue.try_send(frame);
            }
        }
    }
    std::future::pending().await
}

/// Hands signals to the command. With a terminal there are none to hand through: its keys are
/// bytes, so a signal was sent to this very process and ends the session.
async fn relay_signals(
    queue: mpsc::Sender<Frame>,
    signals: &mut Signals,
    wiring: &Wiring,
) -> CliError {
    let mut interrupts = 0;
    loop {
        let number = signals.next().await;
        if wiring.detachable {
            return interrupted(number, "detached by a signal; the job goes on");
        }
        if wiring.terminal {
            return interrupted(number, "the session was ended by a signal");
        }
        if number == INTERRUPT {
            interrupts += 1;
        }
        if interrupts == PATIENCE {
            return interrupted(number, "the command does not react to Ctrl-C: session closed");
        }
        // Not awaited: on a connection that takes nothing, a signal could wait for ever, and
        // the next one must still be counted.
        let _ = queue.try_send(Frame::new(Kind::Signal, [number]));
    }
}

fn interrupted(number: Number, message: &str) -> CliError {
    CliError::interrupted(number, message)
}
