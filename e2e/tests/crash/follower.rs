//! Stopping a daemon at a step: it tells each step to a socket and waits until it hangs up
//! (`crates/daemon/src/step.rs`).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a test waits for a step.
const PATIENCE: Duration = Duration::from_secs(300);
/// What no daemon says.
const END: &str = "end\n";

/// Follows the steps of one VM in one operation; others pass. Dropping it lets everything pass.
#[derive(Debug)]
pub(crate) struct Follower {
    socket: PathBuf,
    told: Receiver<Told>,
    teller: Sender<Told>,
    thread: Option<JoinHandle<()>>,
}

/// A step that a daemon has entered. Dropping it lets the daemon go on.
#[derive(Debug)]
pub(crate) struct Entered {
    /// `disk`.
    pub(crate) step: String,
    _daemon: UnixStream,
}

#[derive(Debug)]
enum Told {
    Entered(Entered),
    Ended(Output),
}

impl Follower {
    /// Listens at `socket` for the steps of `operation` of `vm`.
    pub(crate) fn listen(socket: &Path, operation: &str, vm: &str) -> Self {
        let listener = UnixListener::bind(socket).expect("the follower's socket");
        let (teller, told) = channel();
        let (sender, operation, vm) = (teller.clone(), operation.to_owned(), vm.to_owned());
        let thread = std::thread::spawn(move || follow(&listener, &operation, &vm, &sender));
        Self { socket: socket.to_owned(), told, teller, thread: Some(thread) }
    }

    /// Waits until the step after `passed` others is entered.
    pub(crate) fn hold(&self, passed: usize) -> Entered {
        for _ in 0..passed {
            self.next();
        }
        self.next()
    }

    fn next(&self) -> Entered {
        match self.told.recv_timeout(PATIENCE) {
            Ok(Told::Entered(entered)) => entered,
            other => panic!("a step that was entered before is not entered now: {other:?}"),
        }
    }

    /// Every step until `command` ends, and what it said; `at_each` is called while one is held.
    pub(crate) fn collect(
        &self,
        command: Child,
        mut at_each: impl FnMut(),
    ) -> (Vec<String>, Output) {
        let teller = self.teller.clone();
        std::thread::spawn(move || {
            let output = command.wait_with_output().expect("its output");
            // Whoever asked has given up by then, if this fails.
            let _ = teller.send(Told::Ended(output));
        });
        let mut steps = Vec::new();
        loop {
            match self.told.recv_timeout(PATIENCE).expect("the command ends") {
                Told::Entered(entered) => {
                    at_each();
                    steps.push(entered.step);
                }
                Told::Ended(output) => return (steps, output),
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let told =
            UnixStream::connect(&self.socket).and_then(|mut own| own.write_all(END.as_bytes()));
        // Nobody connects from here on; whoever waits is hung up on with the listener's end.
        let removed = std::fs::remove_file(&self.socket);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(told.is_ok() && removed.is_ok() && ended.is_some_and(|ended| ended.is_ok()));
        }
    }
}

/// Takes every connection; hangs up on those that are of no interest.
fn follow(listener: &UnixListener, operation: &str, vm: &str, sender: &Sender<Told>) {
    for daemon in listener.incoming() {
        let daemon = daemon.expect("a connection");
        let mut line = String::new();
        // A daemon may be killed before it has said anything.
        let _ = BufReader::new(&daemon).read_line(&mut line);
        if line == END {
            return;
        }
        let Some((step, of)) = line.trim_end().split_once(' ') else { continue };
        let Some((of_operation, step)) = step.split_once('.') else { continue };
        if of == vm && of_operation == operation {
            let entered = Entered { step: step.to_owned(), _daemon: daemon };
            if sender.send(Told::Entered(entered)).is_err() {
                return;
            }
        }
    }
}
