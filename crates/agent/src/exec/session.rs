//! The bytes of a running command: input and signals from the host, output to it, its end.
//!
//! ```text
//!   host frames ─▶ input (at most one window) ─▶ command's stdin
//!      │                 │ what was taken
//!      │ signals, sizes: │ at once
//!      │                 ▼
//!   host ◀───────────── output ◀── stdout, stderr   (nothing is read before the last piece was
//! ```                                                sent)
//!
//! The host's frames are always read, however little the command reads: only so its signals
//! arrive and its end is noticed.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use banger_link::framed::FramedError;
use banger_proto::Problem;
use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{ExecExit, StdinTaken};
use rustix::process::Signal;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::child::Child;
use super::input::Input;
use super::output::Output;
use super::spawn::Running;
use super::stream::Stream;
use crate::services::{FromHost, ToHost};
use crate::sys;

/// How long a command has after the hang-up before it is killed.
const HANG_UP_GRACE: Duration = Duration::from_secs(2);

/// Carries the command's bytes until it ends; then how it ended, or none when the host hung up
/// first and the command was ended for that. One that is urgent is so until `hurry` is over.
///
/// # Errors
/// When the host sent more input than it may; the command was ended for that, too.
pub(super) async fn run(
    running: Running,
    hurry: Option<watch::Receiver<bool>>,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<Option<ExecExit>, Problem> {
    let Running { child, stdin, stdout, stderr, terminal } = running;
    let exit = {
        let (ended, wait_ended) = oneshot::channel();
        let screen = terminal.then(|| stdout.clone());
        let (granted, grants) = watch::channel(0);
        let mut input = Input::new(stdin, terminal, granted);
        let signal = |signal| child.signal_group(signal);
        let mut input = pin!(take_input(from_host, &mut input, signal, screen));
        let mut output = pin!(send_output(stdout, stderr, to_host, wait_ended, grants));
        // `output` outlives the wait for the end: what it has in hand must not get lost. It ends
        // before the command only when the host is gone.
        let exit = tokio::select! {
            exit = child.exited() => Ok(exit.ok()),
            refused = &mut input => refused.map(|()| None),
            _ = &mut output => Ok(None),
            never = calm(&child, hurry) => match never {},
        };
        match exit {
            Ok(Some(exit)) => {
                let _ = ended.send(());
                tokio::select! {
                    sent = &mut output => Ok(sent.ok().map(|()| exit)),
                    refused = &mut input => refused.map(|()| None),
                }
            }
            early => early,
        }
    };
    if !matches!(exit, Ok(Some(_))) {
        hang_up(&child).await;
    }
    exit
}

/// Has the command be like all others once `hurry` is over.
async fn calm(child: &Child, hurry: Option<watch::Receiver<bool>>) -> Infallible {
    if let Some(mut hurry) = hurry {
        // Whoever could end it is gone with the guest.
        let _ = hurry.wait_for(|hurries| !hurries).await;
        child.calm();
    }
    std::future::pending().await
}

/// Ends a command that nobody waits for any more. Its pipes and terminal are closed by now.
async fn hang_up(child: &Child) {
    child.signal_group(Signal::HUP);
    // A stopped process would not see the other until somebody continues it.
    child.signal_group(Signal::CONT);
    let _ = timeout(HANG_UP_GRACE, child.exited()).await;
    child.signal_group(Signal::KILL);
    let _ = child.exited().await;
}

/// Takes frames from the host until it hangs up: input, signals for `signal`, sizes of `screen`,
/// the command's terminal.
///
/// # Errors
/// When the host sends more input than it may.
pub(crate) async fn take_input(
    from_host: &mut FromHost,
    input: &mut Input,
    signal: impl Fn(Signal),
    screen: Option<Stream>,
) -> Result<(), Problem> {
    loop {
        let frame = tokio::select! {
            frame = from_host.next() => frame,
            () = input.pass_on() => continue,
        };
        let Ok(Some(Frame { kind, payload })) = frame else { return Ok(()) };
        match kind {
            Kind::Stdin => input.add(&payload)?,
            Kind::StdinEnd => input.end(),
            Kind::Resize => {
                if let (Some(screen), Ok(size)) = (&screen, serde_json::from_slice(&payload)) {
                    screen.resize(size);
                }
            }
            Kind::Signal => {
                if let [number] = payload[..]
                    && let Some(number) = sys::signal(i32::from(number))
                {
                    signal(number);
                }
            }
            // A newer host may know more.
            _ => {}
        }
    }
}

/// Sends all output, and between its pieces how much input was taken: `grants` has the bytes of
/// all times. Ends after `ended` tells the command's end and the output is complete.
async fn send_output(
    stdout: Stream,
    stderr: Option<Stream>,
    to_host: &mut ToHost,
    mut ended: oneshot::Receiver<()>,
    mut grants: watch::Receiver<u64>,
) -> Result<(), FramedError> {
    let (mut out, mut err) = (Output::new(Some(stdout)), Output::new(stderr));
    let mut told = 0;
    let mut has_ended = false;
    while !(has_ended && out.is_over() && err.is_over()) {
        tokio::select! {
            piece = out.next() => send_piece(to_host, Kind::Stdout, piece).await?,
            piece = err.next() => send_piece(to_host, Kind::Stderr, piece).await?,
            Ok(()) = grants.changed() => {
                let granted = *grants.borrow_and_update();
                let taken = StdinTaken { bytes: granted - told };
                to_host.send_json(Kind::StdinTaken, &taken).await?;
                told = granted;
            }
            _ = &mut ended, if !has_ended => {
                has_ended = true;
                out.note_end();
                err.note_end();
            }
        }
    }
    Ok(())
}

/// The end of an output is no frame: the exit is that of both.
async fn send_piece(to_host: &mut ToHost, kind: Kind, piece: &[u8]) -> Result<(), FramedError> {
    if piece.is_empty() { Ok(()) } else { to_host.send_bytes(kind, piece).await }
}
