//! A guest's state in a file, and a guest that goes on from there. QEMU calls it migration
//! (`docs/devel/migration.rst` of QEMU): one side writes a stream, the other reads it, here at another time.
//!
//! The guest's memory is a file of its own, and stays out of the stream (`x-ignore-shared`).

use std::fs::File;
use std::time::Duration;

use serde_json::json;

use super::qmp::{Qmp, QmpError};

/// How long QEMU may take to write or read the stream: some gigabytes, on a slow disk.
const STREAM_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// Name of the descriptor of the stream.
const STREAM: &str = "stream";
/// Most bytes that are written in a second: more than anybody can. Without it QEMU writes 128 MiB, for the
/// sake of networks.
const BANDWIDTH: u64 = 1 << 40;
/// How often QEMU makes a guest that goes on tell its network where it is now, for the sake of networks that it
/// was moved in. Here its card leads to nobody who knew it, and it may be about to get another address: it would
/// be work for nothing, under the wrong name.
const ANNOUNCEMENTS: u32 = 0;

impl Qmp {
    /// Stops the guest and writes its state to `file`, all but the memory.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), and when the file cannot be written; the guest stands still then, too.
    pub(crate) async fn save(&self, file: File, deadline: Duration) -> Result<(), QmpError> {
        self.stop(deadline).await?;
        self.prepare(file, deadline).await?;
        let uri = json!({ "uri": format!("fd:{STREAM}") });
        self.migrate("migrate", uri, deadline).await
    }

    /// Has a guest that has not begun, and has its memory, have the state that is in `file`; it stands still.
    ///
    /// # Errors
    /// As [`save`](Self::save). QEMU ends by itself where the state is of no use.
    pub(crate) async fn load(&self, file: File, deadline: Duration) -> Result<(), QmpError> {
        self.prepare(file, deadline).await?;
        let uri = json!({ "uri": format!("fd:{STREAM}") });
        self.migrate("migrate-incoming", uri, deadline).await
    }

    /// Stops the guest; one that stands still does so.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub(crate) async fn stop(&self, deadline: Duration) -> Result<(), QmpError> {
        self.execute("stop", None, deadline).await
    }

    /// Lets the guest go on; one that runs does so.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub(crate) async fn go_on(&self, deadline: Duration) -> Result<(), QmpError> {
        self.execute("cont", None, deadline).await
    }

    async fn prepare(&self, file: File, deadline: Duration) -> Result<(), QmpError> {
        let capability = |name| json!({ "capability": name, "state": true });
        let capabilities = [capability("events"), capability("x-ignore-shared")];
        let capabilities = json!({ "capabilities": capabilities });
        self.execute("migrate-set-capabilities", Some(capabilities), deadline).await?;
        let parameters = json!({ "max-bandwidth": BANDWIDTH, "announce-rounds": ANNOUNCEMENTS });
        self.execute("migrate-set-parameters", Some(parameters), deadline).await?;
        let name = json!({ "fdname": STREAM });
        self.execute_with("getfd", Some(name), Some(file.into()), deadline).await
    }

    /// Begins, and waits for the end.
    async fn migrate(
        &self,
        command: &'static str,
        uri: serde_json::Value,
        deadline: Duration,
    ) -> Result<(), QmpError> {
        let mut status = self.migration.clone();
        status.mark_unchanged();
        self.execute(command, Some(uri), deadline).await?;
        let over = async {
            loop {
                status.changed().await.map_err(|_| QmpError::Closed)?;
                match &**status.borrow_and_update() {
                    "completed" => return Ok(()),
                    failed @ ("failed" | "cancelled") => {
                        return Err(QmpError::Migration(failed.to_owned()));
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(STREAM_DEADLINE, over).await.map_err(|_| QmpError::Timeout(command))?
    }
}
