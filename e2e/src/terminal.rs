//! A person at a terminal: `banger` on a pseudo-terminal that the test holds the other end of.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A program on a terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    controller: File,
    output: Receiver<Vec<u8>>,
    screen: String,
}

impl Terminal {
    /// Starts `command` on a new terminal of `rows` × `cols`, as the leader of its session.
    ///
    /// # Panics
    /// When the terminal cannot be made or the program not be started.
    #[must_use]
    pub fn start(command: &Command, rows: u16, cols: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("terminal");
        grantpt(&controller).expect("terminal");
        unlockpt(&controller).expect("terminal");
        let name = ptsname(&controller, Vec::new()).expect("terminal");
        let name = name.to_str().expect("name of the terminal");
        let side = || File::options().read(true).write(true).open(name).expect("terminal");
        resize(&controller, rows, cols);
        // setsid(1) makes the terminal the controlling one of the program's session.
        let mut started = Command::new("setsid");
        started.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        started.env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                started.env(name, value);
            }
        }
        if let Some(dir) = command.get_current_dir() {
            started.current_dir(dir);
        }
        let child = started
            .env("TERM", "xterm")
            .stdin(Stdio::from(side()))
            .stdout(Stdio::from(side()))
            .stderr(Stdio::from(side()))
            .spawn()
            .expect("program starts");
        let controller = File::from(controller);
        let mut reader = controller.try_clone().expect("terminal");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The read fails once the last user of the terminal is gone.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, controller, output, screen: String::new() }
    }

    /// Types `text`.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_text(&mut self, text: &str) {
        self.controller.write_all(text.as_bytes()).expect("terminal takes input");
    }

    /// Changes the terminal's size.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, cols: u16) {
        resize(&self.controller, rows, cols);
    }

    /// Waits until `text` has been shown since the last call that found something.
    ///
    /// # Panics
    /// When it does not come within two minutes or the program ends first.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(at) = self.screen.find(text) {
                self.screen.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.screen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => panic!("no `{text}` in time:\n{}", self.screen),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without `{text}`:\n{}", self.screen)
                }
            }
        }
    }

    /// What was shown since it was asked last, waiting until `until` or for something.
    #[must_use]
    pub fn receive(&mut self, until: Instant) -> Option<Vec<u8>> {
        self.output.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Waits for the program's end and returns how it ended and what it still showed.
    ///
    /// # Panics
    /// When it cannot be waited for.
    #[must_use]
    pub fn finish(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("program ends");
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(200)) {
            self.screen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (status, self.screen)
    }
}

fn resize(controller: impl std::os::fd::AsFd, rows: u16, cols: u16) {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(controller, size).expect("terminal takes a size");
}
