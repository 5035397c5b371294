//! Where requests to one VM are handed in, judged and answered.
//!
//! The policy is [`super::queue`]'s; this module gives it its requests and carries its verdicts
//! back. A driver goes on judging while it works, so that a denial is immediate and a deletion
//! can cut a boot short.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::api::{ChangeCause, Event, SetVm, VmView, VmWorkspace};
use banger_proto::{Code, OpId, Period, Problem, VmName};
use tokio::sync::{RwLock, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::boot::Order;
use super::queue::{Admission, Denied, Next, Queue, Request, Rest};
use super::set::NewImage;
use super::state::VmRecord;
use super::uses::{Use, Uses};
use super::view::render_view;
use super::wake::Waker;
use crate::engine::Host;
use crate::forward::Reach;
use crate::hypervisor::RunningVm;
use crate::operation;
use crate::progress::Progress;
use crate::snapshot::{Held, Snapshot};

/// Requests that wait to be judged.
const ASKS_AHEAD: usize = 16;

/// A VM as its driver last published it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Its record.
    pub(crate) record: VmRecord,
    /// Its VMM, while one runs.
    pub(crate) vmm: Option<Arc<dyn RunningVm>>,
}

/// Answer of a request that has no progress.
pub(crate) type Reply = oneshot::Sender<Result<VmView, Problem>>;

/// Answer of a request to be woken: a use of the VM, which runs.
pub(crate) type Woken = oneshot::Sender<Result<Use, Problem>>;

/// What a driver is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Boot; answered by the order's last event.
    Start(Order),
    /// Bring down.
    Stop {
        /// What the guest gets to power off by itself; absent for the default.
        grace: Option<Duration>,
        /// Who watches.
        progress: Progress,
        /// Who wants to know.
        reply: Reply,
    },
    /// Bring down what nobody has used for this long, as a stop does.
    StopIdle(Period),
    /// Have it stand still.
    Pause {
        /// For how long nobody has used it, if that is why.
        idle: Option<Period>,
        /// Who wants to know.
        reply: Reply,
    },
    /// Have it go on.
    Resume {
        /// Who wants to know.
        reply: Reply,
    },
    /// Have it run, if it sleeps because nobody used it.
    Wake {
        /// When that was asked.
        since: Instant,
        /// Who wants to use it.
        reply: Woken,
    },
    /// Bring down without asking the guest.
    Kill {
        /// Who wants to know.
        reply: Reply,
    },
    /// Change.
    Set {
        /// What is asked.
        asked: Box<SetVm>,
        /// The image that is asked for.
        image: Option<Box<NewImage>>,
        /// Who wants to know.
        reply: Reply,
    },
    /// Record the workspace that was brought in meanwhile.
    NoteWorkspace {
        /// The workspace.
        workspace: Box<VmWorkspace>,
        /// Who wants to know.
        reply: Reply,
    },
    /// Write disk and memory to files.
    Hold {
        /// Directory for them.
        into: PathBuf,
        /// Who wants to know; the VM as it was written.
        reply: oneshot::Sender<Result<(Held, VmRecord), Problem>>,
    },
    /// Take back to a snapshot; answered by the order's last event.
    Restore {
        /// The snapshot.
        snapshot: Arc<Snapshot>,
        /// How the guest goes on from it, if it does.
        order: Order,
    },
    /// Remove; answered with the VM as it was.
    Delete {
        /// Only if it is down and nothing else was asked.
        only_down: bool,
        /// Who wants to know.
        reply: Reply,
    },
}

impl Ask {
    fn request(&self) -> Request {
        match self {
            // As anybody's start it waits its turn, and makes way for a stop.
            Self::Start(_) | Self::Wake { .. } => Request::Start,
            Self::Stop { .. } | Self::StopIdle(_) => Request::Stop,
            Self::Pause { .. } => Request::Pause,
            Self::Resume { .. } => Request::Resume,
            Self::Kill { .. } => Request::Kill,
            Self::Set { .. } | Self::NoteWorkspace { .. } | Self::Hold { .. } => Request::Set,
            Self::Restore { .. } => Request::Restore,
            Self::Delete { only_down: true, .. } => Request::Prune,
            Self::Delete { only_down: false, .. } => Request::Delete,
        }
    }

    /// What a change by it is put down to.
    pub(crate) fn cause(&self) -> ChangeCause {
        match self {
            Self::Start(_) => ChangeCause::Start,
            Self::Stop { .. } => ChangeCause::Stop,
            Self::StopIdle(_) | Self::Pause { idle: Some(_), .. } => ChangeCause::Idle,
            Self::Pause { .. } => ChangeCause::Pause,
            Self::Resume { .. } => ChangeCause::Resume,
            Self::Wake { .. } => ChangeCause::Wake,
            Self::Kill { .. } => ChangeCause::Kill,
            Self::Set { .. } | Self::NoteWorkspace { .. } => ChangeCause::Set,
            Self::Hold { .. } => ChangeCause::Snapshot,
            Self::Restore { .. } => ChangeCause::Restore,
            Self::Delete { .. } => ChangeCause::Delete,
        }
    }

    /// Answers that it will not be done.
    pub(super) fn deny(self, vm: &VmName, why: Denied) {
        let message = format!("VM `{vm}` cannot do this now");
        let mut problem = Problem::new(Code::Conflict, message).because(&why);
        match why {
            Denied::BeingMade => {
                problem = problem.hint(format!("to give it up: banger vm delete {vm}"));
            }
            Denied::NotRunning => problem = problem.hint(format!("banger vm start {vm}")),
            _ => {}
        }
        match self {
            Self::Start(order) | Self::Restore { order, .. } => {
                order.progress.send(Event::Failed { problem });
            }
            Self::Hold { reply, .. } => drop(reply.send(Err(problem))),
            // As with every answer, whoever asked may have gone away.
            Self::Wake { reply, .. } => drop(reply.send(Err(problem))),
            Self::Stop { reply, .. }
            | Self::Pause { reply, .. }
            | Self::Resume { reply }
            | Self::Kill { reply }
            | Self::Set { reply, .. }
            | Self::NoteWorkspace { reply, .. }
            | Self::Delete { reply, .. } => answer(reply, Err(problem)),
            Self::StopIdle(_) => {}
        }
    }

    /// Answers that it is so.
    fn confirm(self, view: VmView, uses: &Uses) {
        match self {
            Self::Start(order) | Self::Restore { order, .. } => order.send_ready(view),
            // There is always something to write.
            Self::Hold { .. } => {}
            Self::Wake { reply, .. } => drop(reply.send(Ok(uses.hold()))),
            Self::Stop { reply, .. }
            | Self::Pause { reply, .. }
            | Self::Resume { reply }
            | Self::Kill { reply }
            | Self::Set { reply, .. }
            | Self::NoteWorkspace { reply, .. }
            | Self::Delete { reply, .. } => answer(reply, Ok(view)),
            Self::StopIdle(_) => {}
        }
    }
}

/// Answers a request without progress.
pub(crate) fn answer(reply: Reply, result: Result<VmView, Problem>) {
    // Whoever asked may have gone away; what was asked is done all the same.
    let _ = reply.send(result);
}

/// An ask and the request it came from.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What is asked.
    pub(crate) ask: Ask,
    /// The request's id.
    pub(crate) op: Option<OpId>,
    /// Its span in the log.
    pub(crate) span: Span,
}

/// How the rest of the daemon reaches a VM.
#[derive(Debug, Clone)]
pub(crate) struct VmHandle {
    asks: mpsc::Sender<Asked>,
    /// The VM as it is.
    pub(crate) shown: watch::Receiver<Shown>,
    /// What has it woken.
    pub(crate) waker: Waker,
    /// How the host reaches what listens in it.
    pub(crate) reach: Reach,
    /// Held by who works with the VM's workspace; alone, by who brings one in.
    pub(crate) workspace: Arc<RwLock<()>>,
}

impl VmHandle {
    /// Asks the driver; it answers through what the [`Ask`] holds.
    pub(crate) async fn ask(&self, ask: Ask) {
        let asked = Asked { ask, op: operation::current(), span: Span::current() };
        if let Err(mpsc::error::SendError(Asked { ask, .. })) = self.asks.send(asked).await {
            // The driver ended between the look-up and now.
            ask.deny(&self.shown.borrow().record.plan.name, Denied::BeingDeleted);
        }
    }
}

/// The driver's side of the handles.
#[derive(Debug)]
pub(crate) struct Desk {
    asks: mpsc::Receiver<Asked>,
    queue: Queue<Asked>,
    shown: watch::Receiver<Shown>,
    uses: Uses,
    host: Arc<Host>,
}

impl Desk {
    /// The desk of a VM that rests so, and the handle to it.
    pub(crate) fn open(
        host: Arc<Host>,
        shown: watch::Receiver<Shown>,
        rest: Option<Rest>,
        uses: Uses,
        reach: Reach,
    ) -> (Self, VmHandle) {
        let (sender, asks) = mpsc::channel(ASKS_AHEAD);
        let asleep = shown.borrow().record.state.is_asleep();
        let queue = rest.map_or_else(Queue::creating, |rest| Queue::resting(rest, asleep));
        let waker = Waker::new(&sender, shown.clone(), uses.clone());
        let workspace = Arc::default();
        let handle = VmHandle { asks: sender, shown: shown.clone(), waker, reach, workspace };
        (Self { asks, queue, shown, uses, host }, handle)
    }

    /// What to do next; what is so by now is answered on the way.
    pub(crate) fn take(&mut self) -> Option<Asked> {
        loop {
            match self.queue.take()? {
                Next::Do(_, asked) => return Some(asked),
                Next::AlreadySo(Asked { ask, .. }) => ask.confirm(self.view(), &self.uses),
                Next::Denied(Asked { ask, .. }, why) => ask.deny(&self.name(), why),
            }
        }
    }

    /// See [`Queue::settle`].
    pub(crate) fn settle(&mut self, rest: Rest, asleep: bool) {
        self.queue.settle(rest, asleep);
    }

    /// See [`Queue::is_gone`].
    pub(crate) fn is_gone(&self) -> bool {
        self.queue.is_gone()
    }

    /// Waits for a request and judges it. False when nobody holds a handle any more.
    pub(crate) async fn receive(&mut self) -> bool {
        let asked = self.asks.recv().await;
        asked.map(|asked| self.admit(asked)).is_some()
    }

    /// Does `work` while judging what is asked; `cut` is set off by what cuts the work short.
    pub(crate) async fn attend<T>(
        &mut self,
        cut: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(asked) = self.asks.recv() => {
                    if self.admit(asked) {
                        cut.cancel();
                    }
                }
            }
        }
    }

    /// Puts a deletion that nobody waits for into the queue.
    pub(crate) fn admit_deletion(&mut self) {
        let (reply, _) = oneshot::channel();
        self.admit_own(Ask::Delete { only_down: false, reply });
    }

    /// Puts into the queue what nobody asked for.
    pub(crate) fn admit_own(&mut self, ask: Ask) {
        self.admit(Asked { ask, op: None, span: Span::none() });
    }

    /// Puts a stop that nobody waits for into the queue.
    pub(crate) fn admit_stop(&mut self) {
        let (reply, _) = oneshot::channel();
        self.admit_own(Ask::Stop { grace: None, progress: Progress::none(), reply });
    }

    /// Puts a change that nobody waits for into the queue.
    pub(crate) fn admit_set(&mut self, asked: SetVm) {
        let (reply, _) = oneshot::channel();
        self.admit_own(Ask::Set { asked: Box::new(asked), image: None, reply });
    }

    /// Judges a request; true when what is under way has to be cut short for it.
    fn admit(&mut self, asked: Asked) -> bool {
        let request = asked.ask.request();
        match self.queue.push(request, asked) {
            Admission::Accepted { interrupt, dropped } => {
                for (Asked { ask, .. }, why) in dropped {
                    ask.deny(&self.name(), why);
                }
                interrupt
            }
            Admission::Denied(Asked { ask, .. }, why) => {
                ask.deny(&self.name(), why);
                false
            }
            Admission::AlreadySo(Asked { ask, .. }) => {
                ask.confirm(self.view(), &self.uses);
                false
            }
        }
    }

    /// Answers everybody who asked in the last moment of a VM.
    pub(crate) fn close(mut self) {
        self.asks.close();
        while let Ok(asked) = self.asks.try_recv() {
            self.admit(asked);
        }
        while self.take().is_some() {}
    }

    fn name(&self) -> VmName {
        self.shown.borrow().record.plan.name.clone()
    }

    fn view(&self) -> VmView {
        render_view(&self.host, &self.shown.borrow().record)
    }
}
