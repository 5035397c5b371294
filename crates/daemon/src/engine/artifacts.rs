//! What work on images and on kernels has in common: it goes on for a request, says how it
//! goes, and ends with the request or the daemon.

use banger_proto::api::Event;
use banger_proto::{Code, Problem};
use tracing::Instrument;

use super::{Engine, Work, stopping};
use crate::progress::Progress;

impl Engine {
    /// Does `work` for one request; its outcome is the last event.
    pub(super) fn obtain<F>(&self, work: impl FnOnce(Progress) -> F) -> Work
    where
        F: Future<Output = Result<Event, Problem>> + Send + 'static,
    {
        let (order, handed_out) = self.order(Default::default());
        let work = work(order.progress.clone());
        let task = async move {
            let last = tokio::select! {
                done = work => done.unwrap_or_else(|problem| Event::Failed { problem }),
                () = order.cancel.cancelled() => Event::Failed { problem: stopping() },
            };
            order.progress.send(last);
        };
        self.inner.drivers.spawn(task.in_current_span());
        handed_out
    }
}

/// What was made a moment ago is not in the list: somebody removed it by hand.
pub(super) fn vanished(what: &str, name: &str) -> Problem {
    Problem::new(Code::OperationFailed, format!("{what} `{name}` vanished while it was listed"))
}
