//! Starting the process that keeps the namespace.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use banger_proto::helper::{Held, HolderReport, KEEP};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::super::privileged::NetworkError;
use super::UserOptions;
use super::record::{Namespace, Noted, Record};

/// How long it may take to have the namespace.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes of what it says.
const REPORT_LIMIT: u64 = 16 << 10;

/// Starts a holder: of a new namespace, or of that which `inside` is in, with its way out. It is noted
/// in `record` before it goes on by itself.
pub(super) async fn start(
    options: &UserOptions,
    inside: Option<&Namespace>,
    record: &Record,
) -> Result<Namespace, NetworkError> {
    let program = || options.helper.display().to_string();
    let mut command = Command::from(options.command());
    command.arg("hold").args(inside.map(Namespace::render_arguments).unwrap_or_default());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child =
        command.spawn().map_err(|source| NetworkError::Start { program: program(), source })?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut text = Vec::new();
    let told = async {
        let stdout = stdout.ok_or(io::ErrorKind::BrokenPipe)?;
        stdout.take(REPORT_LIMIT).read_to_end(&mut text).await
    };
    match tokio::time::timeout(DEADLINE, told).await {
        Ok(told) => told.map_err(NetworkError::Gone)?,
        Err(_) => return Err(NetworkError::Silent(DEADLINE.as_secs())),
    };
    match serde_json::from_slice(&text) {
        Ok(HolderReport::Holds(Held { pid, start_time, userns_inode, netns_inode })) => {
            let holder = Noted { pid, start: start_time };
            let uplink = inside.and_then(|namespace| namespace.uplink);
            let bridge = inside.map_or(&options.bridge, |namespace| &namespace.bridge).clone();
            let namespace = Namespace { holder, userns_inode, netns_inode, uplink, bridge };
            record.save(&namespace)?;
            let mut stdin = stdin.ok_or(NetworkError::Protocol)?;
            stdin.write_all(KEEP).await.map_err(NetworkError::Gone)?;
            Ok(namespace)
        }
        Ok(HolderReport::Failed { failed, causes }) => {
            let reason = std::iter::once(failed).chain(causes).collect::<Vec<_>>().join(": ");
            Err(NetworkError::Forbidden { reason })
        }
        Err(_) => Err(NetworkError::Protocol),
    }
}
