//! The image's own program, run for the life of the guest: started once, its output to the
//! console, asked to end before the guest does, never started again.
//!
//! ```text
//!   none ─▶ Running ── it ends ──────────────────────────▶ Exited
//!    │         └────── stop: its signal, grace, SIGKILL ─────▲
//!    └───▶ Failed
//! ```
//!
//! Its end is told on the console, too, after everything it wrote.

mod console;

use std::sync::Arc;
use std::time::Duration;

use banger_proto::Problem;
use banger_proto::guest::{ExecExit, ExecRequest, ServiceSpec, ServiceState};
use rustix::process::Signal;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use self::console::Console;
use crate::context::Context;
use crate::exec::{Child, Output, Plan, SpawnError, spawn_with_output};
use crate::sys;

/// How long the service has to end when nobody said: what containers give.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);

/// The service of one guest, or the absence of one.
#[derive(Debug)]
pub(crate) struct Service {
    state: watch::Sender<Option<ServiceState>>,
    /// How long it may take to end, once it is asked to.
    stopping: watch::Sender<Option<Duration>>,
}

impl Service {
    /// No service yet.
    pub(crate) fn none() -> Self {
        Self { state: watch::Sender::new(None), stopping: watch::Sender::new(None) }
    }

    /// How it is; none when there is none.
    pub(crate) fn state(&self) -> Option<ServiceState> {
        self.state.borrow().clone()
    }

    /// Follows how it is.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<ServiceState>> {
        self.state.subscribe()
    }

    /// Asks it to end within `grace`. Who asks first decides how long that is.
    pub(crate) fn ask_to_end(&self, grace: Duration) {
        self.stopping.send_if_modified(|asked| {
            let first = asked.is_none();
            asked.get_or_insert(grace);
            first
        });
    }

    /// Whether it runs.
    pub(crate) fn runs(&self) -> bool {
        runs(&self.state.borrow())
    }

    /// Waits until it does not run any more, all its output on the console. At once when there
    /// is none.
    pub(crate) async fn ended(&self) {
        // The sender is in `self`: it cannot be gone.
        let _ = self.state.subscribe().wait_for(|state| !runs(state)).await;
    }
}

fn runs(state: &Option<ServiceState>) -> bool {
    matches!(state, Some(ServiceState::Running { .. }))
}

/// Starts the service of `context`, which has none that runs, and says how it is then.
pub(crate) fn start(context: &Arc<Context>, spec: &ServiceSpec) -> ServiceState {
    let console = Console::open(&*context.machine);
    let spawned = spawn(context, spec);
    let state = match &spawned {
        Ok((child, _)) => ServiceState::Running { pid: child.pid() },
        Err(reason) => ServiceState::Failed { reason: reason.clone() },
    };
    context.service.state.send_replace(Some(state.clone()));
    let said = state.clone();
    match spawned {
        Ok((child, output)) => {
            let stop_signal = sys::signal(spec.stop_signal.into()).unwrap_or(Signal::TERM);
            tokio::spawn(supervise(Arc::clone(context), child, output, console, stop_signal))
        }
        Err(_) => tokio::spawn(async move { console.say(&said).await }),
    };
    state
}

fn spawn(context: &Context, spec: &ServiceSpec) -> Result<(Child, Output), String> {
    if spec.argv.is_empty() {
        return Err("it has no name".to_owned());
    }
    let request = ExecRequest {
        argv: spec.argv.clone(),
        cwd: spec.cwd.clone(),
        user: spec.user.clone(),
        ..ExecRequest::default()
    };
    let plan = Plan::make(context, &request).map_err(|problem| render(&problem))?;
    spawn_with_output(plan).map_err(|error| match error {
        SpawnError::Program { message, .. } => message.trim_end().to_owned(),
        SpawnError::System(problem) => render(&problem),
    })
}

fn render(problem: &Problem) -> String {
    let causes = problem.causes.iter().map(String::as_str);
    [problem.message.as_str()].into_iter().chain(causes).collect::<Vec<_>>().join(": ")
}

/// Carries the service's output to the console until it ends, and ends it when asked to.
async fn supervise(
    context: Arc<Context>,
    child: Child,
    mut output: Output,
    console: Console,
    stop_signal: Signal,
) {
    // Whoever ends the guest waits for the last command, which this may be.
    let _count = context.count_command();
    let (ended, mut has_ended) = oneshot::channel();
    let copy = async {
        let mut waiting = true;
        while !output.is_over() {
            tokio::select! {
                piece = output.next() => console.write(piece).await,
                _ = &mut has_ended, if waiting => {
                    waiting = false;
                    output.note_end();
                }
            }
        }
    };
    let exit = async {
        let exit = await_end(&context.service, &child, stop_signal).await;
        let _ = ended.send(());
        exit
    };
    let (exit, ()) = tokio::join!(exit, copy);
    let state = match exit {
        Ok(ExecExit { code, signal }) => ServiceState::Exited { code, signal },
        Err(error) => ServiceState::Failed { reason: format!("cannot wait for its end: {error}") },
    };
    console.say(&state).await;
    context.service.state.send_replace(Some(state));
}

async fn await_end(
    service: &Service,
    child: &Child,
    stop_signal: Signal,
) -> std::io::Result<ExecExit> {
    let mut stopping = service.stopping.subscribe();
    let grace = tokio::select! {
        exit = child.exited() => return exit,
        asked = stopping.wait_for(Option::is_some) => {
            asked.ok().and_then(|grace| *grace).unwrap_or(STOP_GRACE)
        }
    };
    // To the program alone: what it does with its children on that signal is its own affair.
    child.signal(stop_signal);
    child.signal(Signal::CONT);
    match timeout(grace, child.exited()).await {
        Ok(exit) => exit,
        Err(_) => {
            child.signal_group(Signal::KILL);
            child.exited().await
        }
    }
}
