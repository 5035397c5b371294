//! Which request the current task works for.
//!
//! Ambient, as the span of the log is: only what is told about work asks for it, never what
//! does it. A task that is spawned does not inherit it; whoever hands work to another task
//! hands the id over with it.

use banger_proto::OpId;

tokio::task_local! {
    static CURRENT: OpId;
}

/// Does `work` for the request `op`.
pub(crate) async fn scope<F: Future>(op: OpId, work: F) -> F::Output {
    CURRENT.scope(op, work).await
}

/// The request that the current task works for, if it does for one.
pub(crate) fn current() -> Option<OpId> {
    CURRENT.try_with(Clone::clone).ok()
}
