//! A daemon in a thread of its own, which can be stopped well or killed.

use std::thread::JoinHandle;

use banger_daemon::lifecycle::{Daemon, build_runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{Client, TestEnv};

/// A running daemon.
#[derive(Debug)]
pub struct TestDaemon {
    stop: CancellationToken,
    kill: CancellationToken,
    thread: Option<JoinHandle<()>>,
    /// A client of it.
    pub client: Client,
}

impl TestDaemon {
    /// Starts a daemon in the directories of `env`; returns when it can be connected to.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(env: &TestEnv) -> Self {
        Self::start_for(env, rustix::process::getuid().as_raw()).await
    }

    /// Starts a daemon that only answers user `owner`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_for(env: &TestEnv, owner: u32) -> Self {
        let host = env.host();
        let client = Client::new(env.paths.daemon_socket());
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let (ready, is_ready) = oneshot::channel();
        let (stopping, killed) = (stop.clone(), kill.clone());
        let thread = std::thread::spawn(move || {
            let runtime = build_runtime().expect("a runtime");
            let life = async {
                let daemon =
                    Daemon::open(host, owner, "test".to_owned(), None).await.expect("a daemon");
                let _ = ready.send(());
                daemon.serve(stopping).await.expect("a daemon that ends well");
            };
            runtime.block_on(async {
                tokio::select! {
                    () = life => {}
                    () = killed.cancelled() => {}
                }
            });
            // Dropping the runtime drops every task where it stands, as a kill does.
        });
        is_ready.await.expect("a daemon that starts");
        Self { stop, kill, thread: Some(thread), client }
    }

    /// Asks it to end, as SIGTERM does, and waits until it has.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.join().await;
    }

    /// Ends it where it stands.
    pub async fn kill(mut self) {
        self.kill.cancel();
        self.join().await;
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) {
        self.join().await;
    }

    async fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            joined.expect("a thread to wait in").expect("a daemon that does not panic");
        }
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}
