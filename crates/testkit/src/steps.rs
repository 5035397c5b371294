//! Holding a daemon at a step, as a program does that listens at `BANGER_STEPS`.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A step at which daemons are held; dropped, they go on.
#[derive(Debug)]
pub struct HeldStep {
    entered: watch::Receiver<u32>,
    follower: AbortOnDropHandle<()>,
}

impl HeldStep {
    /// Holds whoever enters `step` (`snapshot.prove web`) from now on.
    pub(crate) fn listen(socket: &Path, step: &str) -> Self {
        // That of an earlier one, which nobody listens at.
        let _ = fs_err::remove_file(socket);
        let listener = UnixListener::bind(socket).expect("a socket");
        let (sender, entered) = watch::channel(0);
        let follower = AbortOnDropHandle::new(tokio::spawn(follow(listener, step.into(), sender)));
        Self { entered, follower }
    }

    /// Waits until somebody has entered it.
    ///
    /// # Panics
    /// When nobody does.
    pub async fn entered(&mut self) {
        self.entered_by(1).await;
    }

    /// Waits until so many have entered it.
    ///
    /// # Panics
    /// When they do not.
    pub async fn entered_by(&mut self, count: u32) {
        let entered = self.entered.wait_for(|entered| *entered >= count);
        let entered = tokio::time::timeout(crate::client::PATIENCE, entered).await;
        entered.expect("the step in time").expect("a follower");
    }

    /// Lets whoever is held go on.
    pub async fn release(self) {
        self.follower.abort();
        // It was told to end; that it has is all there is to know.
        let _ = self.follower.await;
    }
}

async fn follow(listener: UnixListener, step: String, entered: watch::Sender<u32>) {
    let mut held = Vec::new();
    loop {
        let (mut daemon, _): (UnixStream, _) = listener.accept().await.expect("a connection");
        let mut line = String::new();
        // A daemon may be killed before it has said anything.
        let _ = BufReader::new(&mut daemon).read_line(&mut line).await;
        if line.trim_end() == step {
            held.push(daemon);
            entered.send_modify(|entered| *entered += 1);
        }
    }
}
