//! The bytes of a running command: input and signals from the host, output to it, its end.
//!
//! ```text
//!   host frames ─▶ input ─▶ queue ─▶ command's stdin
//!                    │ signals, resizes: at once
//!   host ◀── output ◀── stdout, stderr        (nothing is read before the last piece was sent)
//! ```
//!
//! After the command's end its output is what its pipes hold then, and what comes within
//! [`OUTPUT_GRACE`]: a background process that keeps a pipe open does not hold the exit.

use std::pin::pin;
use std::time::Duration;

use banger_link::framed::FramedError;
use banger_proto::guest::ExecExit;
use banger_proto::guest::frame::{DATA_CHUNK, Kind};
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::child::Child;
use super::spawn::Running;
use super::stream::Stream;
use crate::services::{FromHost, ToHost};
use crate::sys;

/// How long an ended command's output is waited for while others hold it open.
const OUTPUT_GRACE: Duration = Duration::from_millis(250);
/// How long a command has after the hang-up before it is killed.
const HANG_UP_GRACE: Duration = Duration::from_secs(2);
/// Frames of input that wait for the command to read them, normally of 64 KiB each. When it is
/// full the host is not read any more, signals included.
const INPUT_QUEUE: usize = 16;
/// What the end of input is to a terminal: Ctrl-D, as its line discipline has it by default.
const END_OF_INPUT: u8 = 4;

/// Carries the command's bytes until it ends; then how it ended, or none when the host hung up
/// first and the command was ended for that.
pub(super) async fn run(
    running: Running,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Option<ExecExit> {
    let Running { child, stdin, stdout, stderr, terminal } = running;
    let exit = {
        let (ended, wait_ended) = oneshot::channel();
        let screen = terminal.then(|| stdout.clone());
        let mut input = pin!(take_input(from_host, stdin, &child, screen));
        let mut output = pin!(send_output(stdout, stderr, to_host, wait_ended));
        // `output` outlives the wait for the end: what it has in hand must not get lost. It ends
        // before the command only when the host is gone.
        let exit = tokio::select! {
            exit = child.exited() => exit.ok(),
            () = &mut input => None,
            _ = &mut output => None,
        };
        match exit {
            None => None,
            Some(exit) => {
                let _ = ended.send(());
                tokio::select! {
                    sent = &mut output => sent.ok().map(|()| exit),
                    () = &mut input => None,
                }
            }
        }
    };
    if exit.is_none() {
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
async fn take_input(
    from_host: &mut FromHost,
    stdin: Option<Stream>,
    child: &Child,
    screen: Option<Stream>,
) {
    let (queue, queued) = mpsc::channel(INPUT_QUEUE);
    let mut queue = Some(queue);
    let is_terminal = screen.is_some();
    let read = async {
        while let Ok(Some(frame)) = from_host.next().await {
            match frame.kind {
                Kind::Stdin => {
                    if let Some(queue) = &queue {
                        // Fails when the command has closed its input: the bytes go nowhere.
                        let _ = queue.send(frame.payload).await;
                    }
                }
                Kind::StdinEnd => {
                    if let Some(queue) = queue.take()
                        && is_terminal
                    {
                        let _ = queue.send(vec![END_OF_INPUT]).await;
                    }
                }
                Kind::Resize => {
                    if let (Some(screen), Ok(size)) = (&screen, frame.parse()) {
                        screen.resize(size);
                    }
                }
                Kind::Signal => {
                    if let [number] = frame.payload[..]
                        && let Some(signal) = sys::signal(i32::from(number))
                    {
                        child.signal_group(signal);
                    }
                }
                // A newer host may know more.
                _ => {}
            }
        }
    };
    let write = async {
        write_input(queued, stdin).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

/// Gives the queued input to the command, then closes its input.
async fn write_input(mut queued: mpsc::Receiver<Vec<u8>>, stdin: Option<Stream>) {
    let Some(stdin) = stdin else { return };
    while let Some(bytes) = queued.recv().await {
        if stdin.write_all(&bytes).await.is_err() {
            return;
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

/// Sends all output. Ends after `ended` tells the command's end and the output is complete.
async fn send_output(
    stdout: Stream,
    stderr: Option<Stream>,
    to_host: &mut ToHost,
    mut ended: oneshot::Receiver<()>,
) -> Result<(), FramedError> {
    let mut outputs = [Output::new(Kind::Stdout, Some(stdout)), Output::new(Kind::Stderr, stderr)];
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
