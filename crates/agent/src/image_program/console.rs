//! The console as the service's output sees it: slow, maybe not there, never a reason to fail.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use banger_proto::guest::ServiceState;

use crate::context::Machine;

/// The guest's console, or nothing where there is none.
#[derive(Debug)]
pub(super) struct Console(Option<Arc<File>>);

impl Console {
    pub(super) fn open(machine: &dyn Machine) -> Self {
        let file = machine.open_console().inspect_err(|error| {
            eprintln!("banger-agent: cannot open the console: {error}");
        });
        Self(file.ok().map(Arc::new))
    }

    /// Writes all of `bytes`, on a thread that may block: a serial line takes its time.
    pub(super) async fn write(&self, bytes: &[u8]) {
        let (Some(file), [_, ..]) = (&self.0, bytes) else { return };
        let (file, bytes) = (Arc::clone(file), bytes.to_vec());
        // Nobody could be told of a failure but by the console.
        let _ = tokio::task::spawn_blocking(move || (&*file).write_all(&bytes)).await;
    }

    /// Says how the service is, on a line of its own.
    pub(super) async fn say(&self, state: &ServiceState) {
        self.write(format!("banger-agent: {}\n", render_state(state)).as_bytes()).await;
    }
}

fn render_state(state: &ServiceState) -> String {
    match state {
        ServiceState::Running { pid } => format!("the image's program runs as process {pid}"),
        ServiceState::Exited { code: Some(code), .. } => {
            format!("the image's program exited with code {code}")
        }
        ServiceState::Exited { signal, .. } => {
            let signal = signal.map_or_else(|| "unknown".to_owned(), |signal| signal.to_string());
            format!("the image's program was ended by signal {signal}")
        }
        ServiceState::Failed { reason } => format!("the image's program did not run: {reason}"),
    }
}
