//! Work for machine and daemon while others are killed: two guests that are never idle, and VMs
//! that come and go.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use banger_e2e::{Home, Ran};

use super::operation::Guest;

/// Set to anything, the matrix is filled under load.
const WANTED: &str = "BANGER_CRASH_LOAD";

/// The load, until it is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    home: Arc<Home>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<u32>>,
}

impl Load {
    /// Whether the matrix is to be filled under load.
    pub(crate) fn wanted() -> bool {
        std::env::var_os(WANTED).is_some()
    }

    /// Starts two busy guests and a loop of creations. Its commands start daemons, too, which
    /// tell their steps at `steps`.
    pub(crate) fn start(home: &Arc<Home>, steps: &Path) -> Self {
        for name in ["busy-1", "busy-2"] {
            let _ = home.create(name, &Guest::Small.machine());
            let spin = "setsid sh -c 'while :; do :; done' >/dev/null 2>&1 &";
            home.exec(name, &["sh", "-c", spin]).expect_code(0);
        }
        let end = Arc::new(AtomicBool::new(false));
        let (of_thread, ended, steps) = (Arc::clone(home), Arc::clone(&end), steps.to_owned());
        let banger = move |args: &[&str]| {
            let mut command = of_thread.banger_command(args);
            command.env("BANGER_STEPS", &steps);
            Ran::of(command, b"")
        };
        let come_and_go = move || {
            let mut made = 0;
            while !ended.load(Ordering::Relaxed) {
                // Either may meet a daemon that is being killed; what is left then is deleted
                // by the next turn.
                let create =
                    [&["vm", "create", "--name", "loop"], &Guest::Small.machine()[..]].concat();
                made += u32::from(banger(&create).code() == 0);
                let _ = banger(&["vm", "delete", "-f", "loop"]);
            }
            made
        };
        Self { home: Arc::clone(home), end, thread: Some(std::thread::spawn(come_and_go)) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let made = self.thread.take().map(JoinHandle::join);
        if std::thread::panicking() {
            return;
        }
        // Guests that were there all the time are there still.
        for name in ["busy-1", "busy-2"] {
            self.home.exec(name, &["true"]).expect_code(0);
            self.home.banger(["vm", "delete", "-f", name]).expect_code(0);
        }
        assert!(made.is_some_and(|made| made.is_ok_and(|made| made > 0)), "no VM was made");
    }
}
