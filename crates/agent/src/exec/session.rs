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
//!
//! After the command's end its output is what its pipes hold then, and what comes within
//! [`OUTPUT_GRACE`]: a background process that keeps a pipe open does not hold the exit.

use std::pin::pin;
use std::time::Duration;

use banger_link::framed::FramedError;
use banger_proto::Problem;
use banger_proto::guest::frame::{DATA_CHUNK, Frame, Kind};
use banger_proto::guest::{ExecExit, StdinTaken};
use rustix::process::Signal;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::child::Child;
use super::input::Input;
use super::spawn::Running;
use super::stream::Stream;
use crate::services::{FromHost, ToHost};
use crate::sys;

/// How long an ended command's output is waited for while others hold it open.
const OUTPUT_GRACE: Duration = Duration::from_millis(250);
/// How long a command has after the hang-up before it is killed.
const HANG_UP_GRACE: Duration = Duration::from_secs(2);

/// Carries the command's bytes until it ends; then how it ended, or none when the host hung up
/// first and the command was ended for that.
///
/// # Errors
/// When the host sent more input than it may; the command was ended for that, too.
pub(super) async fn run(
    running: Running,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<Option<ExecExit>, Problem> {
    let Running { child, stdin, stdout, stderr, terminal } = running;
    let exit = {
        let (ended, wait_ended) = oneshot::channel();
        let screen = terminal.then(|| stdout.clone());
        let (granted, grants) = watch::channel(0);
        let input = Input::new(stdin, terminal, granted);
        let mut input = pin!(take_input(from_host, input, &child, screen));
        let mut output = pin!(send_output(stdout, stderr, to_host, wait_ended, grants));
        // `output` outlives the wait for the end: what it has in hand must not get lost. It ends
        // before the command only when the host is gone.
        let exit = tokio::select! {
            exit = child.exited() => Ok(exit.ok()),
            refused = &mut input => refused.map(|()| None),
            _ = &mut output => Ok(None),
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

/// Ends a command that nobody waits for any more. Its pipes and terminal are closed by now.
async fn hang_up(child: &Child) {
    child.signal_group(Signal::HUP);
    // A stopped process would not see the other until somebody continues it.
    child.signal_group(Signal::CONT);
    let _ = timeout(HANG_UP_GRACE, child.exited()).await;
    child.signal_group(Signal::KILL);
    let _ = child.exited().await;
}

/// Takes frames from the host until it hangs up. `screen` is the command's terminal.
///
/// # Errors
/// When the host sends more input than it may.
async fn take_input(
    from_host: &mut FromHost,
    mut input: Input,
    child: &Child,
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
                    && let Some(signal) = sys::signal(i32::from(number))
                {
                    child.signal_group(signal);
                }
            }
            // A newer host may know more.
            _ => {}
        }
    }
}

/// One kind of output.
#[derive(Debug)]
struct Output {
    kind: Kind,
    /// None after its end.
    stream: Option<Stream>,
    buffer: Vec<u8>,
    /// Bytes that were in the pipe when the command ended and are not read yet.
    owed: u64,
}

impl Output {
    fn new(kind: Kind, stream: Option<Stream>) -> Self {
        let buffer = if stream.is_some() { vec![0; DATA_CHUNK] } else { Vec::new() };
        Self { kind, stream, buffer, owed: 0 }
    }

    /// The next piece's length; an error is an end too. Waits for ever after the end.
    async fn read(&mut self) -> usize {
        match &self.stream {
            Some(stream) => stream.read(&mut self.buffer).await.unwrap_or(0),
            None => std::future::pending().await,
        }
    }

    async fn send(&mut self, length: usize, to_host: &mut ToHost) -> Result<(), FramedError> {
        if length == 0 {
            self.stream = None;
            self.owed = 0;
            return Ok(());
        }
        self.owed = self.owed.saturating_sub(length as u64);
        to_host.send_bytes(self.kind, &self.buffer[..length]).await
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
    let mut outputs = [Output::new(Kind::Stdout, Some(stdout)), Output::new(Kind::Stderr, stderr)];
    let mut told = 0;
    let mut deadline: Option<Instant> = None;
    let mut grace_over = false;
    loop {
        let open = outputs.iter().any(|output| output.stream.is_some());
        let owed = outputs.iter().any(|output| output.owed > 0);
        if deadline.is_some() && (!open || (grace_over && !owed)) {
            return Ok(());
        }
        let [out, err] = &mut outputs;
        tokio::select! {
            length = out.read() => out.send(length, to_host).await?,
            length = err.read() => err.send(length, to_host).await?,
            Ok(()) = grants.changed() => {
                let granted = *grants.borrow_and_update();
                let taken = StdinTaken { bytes: granted - told };
                to_host.send_json(Kind::StdinTaken, &taken).await?;
                told = granted;
            }
            _ = &mut ended, if deadline.is_none() => {
                for output in &mut outputs {
                    output.owed = output.stream.as_ref().map_or(0, Stream::unread);
                }
                deadline = Some(Instant::now() + OUTPUT_GRACE);
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)),
                if deadline.is_some() && !grace_over => grace_over = true,
        }
    }
}
