//! The end of the host, as the daemon of a service sees it: it is told to end, as it is when only the
//! service is restarted, and in between lies whether VMs are stopped. Their scopes end after the service,
//! so there is time for that, as much as its unit gives.

use std::time::Duration;

use banger_proto::api::{StateName, StopVm};
use futures_util::future::join_all;

use crate::engine::Engine;
use crate::exec::Program;

/// How long guests may take to shut down; then they are killed.
const GRACE: Duration = Duration::from_secs(60);
/// How long all of it may take. Shorter than the service manager waits (`TimeoutStopSec`).
const DEADLINE: Duration = Duration::from_secs(90);
/// How long the service manager may take to say what it is doing.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of that.
const ANSWER_LIMIT: usize = 256;

/// Stops the VMs that run, if the host is going down.
pub(super) async fn stop_vms(engine: &Engine) {
    let asked = Program::new(&engine.host().env, "systemctl")
        .args(["show", "--property=SystemState", "--value"])
        .deadline(ANSWER)
        .output(ANSWER_LIMIT);
    match asked.await {
        Ok(state) if is_stopping(&state) => {}
        Ok(_) => return,
        Err(error) => {
            // VMs that run on without need do less harm than VMs that are stopped without need.
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "cannot tell whether the host is going down");
            return;
        }
    }
    let running: Vec<_> =
        engine.list().into_iter().filter(|vm| vm.state != StateName::Stopped).collect();
    tracing::info!(vms = running.len(), "the host is going down: VMs are stopped");
    let grace_seconds = u32::try_from(GRACE.as_secs()).ok();
    let stops = running.iter().map(|vm| async move {
        if let Err(problem) = engine.stop(vm.id.as_str(), StopVm { grace_seconds }).await {
            tracing::warn!(vm = %vm.name, %problem, "not stopped");
        }
    });
    if tokio::time::timeout(DEADLINE, join_all(stops)).await.is_err() {
        tracing::warn!("some VMs did not stop in time; they are killed with the host");
    }
}

fn is_stopping(state: &[u8]) -> bool {
    state.trim_ascii() == b"stopping"
}
