//! A command's standard input between the host, which sends it, and the command, which takes it
//! when it likes: what waits here, and how much more the host may send.
//!
//! ```text
//!              add                      pass_on
//!   host ──────────────▶ waiting bytes ─────────▶ pipe or terminal
//!     ▲                                    │
//!     └── StdinTaken ◀── grants ◀── taken ◀┘  (a step at a time)
//! ```
//!
//! How the host is told of a grant is the session's business.

use std::collections::VecDeque;

use banger_proto::guest::{STDIN_GRANT, STDIN_WINDOW};
use banger_proto::{Code, Problem};
use tokio::sync::watch;

use super::stream::Stream;

/// What the end of input is to a terminal: Ctrl-D, as its line discipline has it by default.
const END_OF_INPUT: u8 = 4;

/// Input of one command.
#[derive(Debug)]
pub(crate) struct Input {
    /// None when the command has no input or has closed it, and after its end: bytes go nowhere.
    stream: Option<Stream>,
    is_terminal: bool,
    /// One buffer, not the frames as they came: a window of one-byte frames would be megabytes.
    waiting: VecDeque<u8>,
    /// The host has nothing more.
    ended: bool,
    /// Bytes the host has sent and not been granted again.
    outstanding: usize,
    /// Those of them that are not waiting any more.
    taken: usize,
    /// Bytes granted since the start.
    granted: watch::Sender<u64>,
}

impl Input {
    /// Input into `stream`, telling `granted` the sum of what the host may send beyond its
    /// first window.
    pub(crate) fn new(
        stream: Option<Stream>,
        is_terminal: bool,
        granted: watch::Sender<u64>,
    ) -> Self {
        let waiting = VecDeque::new();
        Self { stream, is_terminal, waiting, ended: false, outstanding: 0, taken: 0, granted }
    }

    /// Stores bytes from the host.
    ///
    /// # Errors
    /// When they are more than the host was granted; they are not stored.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        if self.ended {
            return Ok(());
        }
        if bytes.len() > STDIN_WINDOW - self.outstanding {
            let message = format!("more than {STDIN_WINDOW} bytes of standard input outstanding");
            return Err(Problem::new(Code::BadRequest, message));
        }
        self.outstanding += bytes.len();
        if self.stream.is_some() {
            self.waiting.extend(bytes);
        } else {
            self.take(bytes.len());
        }
        Ok(())
    }

    /// What the command takes its input from, unless that has ended; what waits is lost.
    pub(crate) fn into_stream(self) -> Option<Stream> {
        self.stream.filter(|_| !self.ended)
    }

    /// Closes the command's input once it has taken what waits.
    pub(super) fn end(&mut self) {
        if !self.ended && self.is_terminal && self.stream.is_some() {
            self.waiting.push_back(END_OF_INPUT);
        }
        self.ended = true;
        self.close_if_done();
    }

    /// Gives the command a piece of what waits; waits for ever when nothing does. Cancel-safe.
    pub(super) async fn pass_on(&mut self) {
        let bytes = self.waiting.as_slices().0;
        let (Some(stream), [_, ..]) = (&self.stream, bytes) else {
            return std::future::pending().await;
        };
        match stream.write(bytes).await {
            Ok(written) => {
                self.waiting.drain(..written);
                self.take(written);
            }
            // The command has closed its input.
            Err(_) => {
                self.stream = None;
                let lost = std::mem::take(&mut self.waiting).len();
                self.take(lost);
            }
        }
        self.close_if_done();
    }

    fn close_if_done(&mut self) {
        if self.ended && self.waiting.is_empty() {
            self.stream = None;
        }
    }

    /// Counts bytes that do not wait any more.
    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.ended || self.taken < STDIN_GRANT {
            return;
        }
        let taken = std::mem::take(&mut self.taken);
        self.outstanding -= taken;
        self.granted.send_modify(|granted| *granted += taken as u64);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn granted(grants: &watch::Receiver<u64>) -> usize {
        usize::try_from(*grants.borrow()).unwrap()
    }

    #[tokio::test]
    async fn what_nobody_reads_waits_within_the_window() {
        let (_far, near) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (sender, grants) = watch::channel(0);
        let mut input = Input::new(Some(Stream::new(near).unwrap()), false, sender);
        input.add(&[1; STDIN_WINDOW]).unwrap();
        assert_eq!(input.add(&[1]).unwrap_err().code, Code::BadRequest);
        // The pipe itself takes something.
        while input.pass_on().now_or_never().is_some() {}
        assert_eq!(granted(&grants), STDIN_WINDOW - input.outstanding);
        input.add(&vec![1; granted(&grants)]).unwrap();
        while input.pass_on().now_or_never().is_some() {}
        assert!(input.add(&[1; STDIN_WINDOW]).is_err());
        assert!(input.waiting.len() <= STDIN_WINDOW);
    }

    #[tokio::test]
    async fn grants_come_in_steps_and_end_with_the_input() {
        let (sender, grants) = watch::channel(0);
        let mut input = Input::new(None, false, sender);
        input.add(&[0; STDIN_GRANT - 1]).unwrap();
        assert_eq!(granted(&grants), 0);
        input.add(&[0]).unwrap();
        assert_eq!(granted(&grants), STDIN_GRANT);
        input.end();
        // Not stored, so as much of it as one likes.
        for _ in 0..3 {
            input.add(&[0; STDIN_WINDOW]).unwrap();
        }
        assert_eq!((granted(&grants), input.waiting.len()), (STDIN_GRANT, 0));
    }
}
