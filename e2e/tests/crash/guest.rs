//! Killing the agent, past a daemon that may be held: over the supervisor's socket, which leads
//! to the guest.

use std::path::Path;
use std::time::Duration;

use banger_link::framed::framed;
use banger_proto::guest::frame::Kind;
use banger_proto::guest::{ExecRequest, Health, InitState, Service};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long the guest's system may take to be up, and the kill.
const PATIENCE: Duration = Duration::from_secs(300);
/// Kills whoever has the guest link's port open.
const KILL: &str = "for p in /proc/[0-9]*; do \
                    ls -l $p/fd 2>/dev/null | grep -q /dev/vport && kill -9 ${p#/proc/}; done";

/// Kills the agent behind `link` as soon as the guest's system is up, so that the agent has a
/// guard; returns when it is gone.
pub(crate) fn kill_agent(link: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let work = async {
        let (mut health, mut watch) = framed(UnixStream::connect(link).await.expect("the link"));
        watch.send_json(Kind::Open, &Service::Watch).await.expect("a request");
        loop {
            let frame = health.next().await.expect("a frame").expect("health");
            let health: Health = frame.parse().expect("health");
            if health.state == InitState::Running {
                break;
            }
        }
        let (mut output, mut input) = framed(UnixStream::connect(link).await.expect("the link"));
        let argv = ["sh", "-c", KILL].map(str::to_owned).to_vec();
        let request = ExecRequest { argv, ..ExecRequest::default() };
        input.send_json(Kind::Open, &Service::Exec(Box::new(request))).await.expect("a request");
        // The agent takes the stream with it.
        while let Ok(Some(frame)) = output.next().await {
            assert_ne!(frame.kind, Kind::Exit, "the agent is still there");
        }
    };
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, work).await.expect("an agent that can be killed") });
}
