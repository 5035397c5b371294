//! Who uses a VM, so that one that nobody uses can be told.
//!
//! ```text
//!   open ──begin──▶ used by n ──the last ends──▶ open
//!     │ close, only when nobody uses it
//!     ▼
//!   closed (it falls asleep, sleeps, or wakes): nobody begins ──reopen, when it runs again──▶ open
//!                                                   └── who wants to has it woken (`wake.rs`)
//! ```
//!
//! Beginning a use and closing exclude each other, so that a command either keeps the VM up or
//! wakes it. Looking at a VM is no use of it.

use std::sync::Arc;

use tokio::sync::watch;

/// The uses of one VM. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Uses(Arc<watch::Sender<Count>>);

/// How a VM is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    /// Uses now.
    now: u32,
    /// Uses there ever were, so that a short one is noticed afterwards, too.
    ever: u64,
    /// Whether none may begin.
    closed: bool,
}

impl Count {
    /// Whether nobody uses the VM.
    pub(crate) fn is_unused(self) -> bool {
        self.now == 0
    }
}

impl Default for Uses {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Count::default())))
    }
}

impl Uses {
    /// Uses the VM until what is returned is dropped; none while it is closed.
    pub(crate) fn begin(&self) -> Option<Use> {
        let begun = self.0.send_if_modified(|count| {
            if !count.closed {
                count.now += 1;
                count.ever += 1;
            }
            !count.closed
        });
        begun.then(|| Use(self.clone()))
    }

    /// Uses the VM until what is returned is dropped, also while it is closed: for who is about to wake
    /// it, so that it does not fall asleep again before it is used.
    pub(crate) fn hold(&self) -> Use {
        self.0.send_modify(|count| {
            count.now += 1;
            count.ever += 1;
        });
        Use(self.clone())
    }

    /// Lets no use begin any more, unless there is one. Tells whether it is closed now.
    pub(crate) fn close(&self) -> bool {
        self.0.send_if_modified(|count| {
            count.closed |= count.is_unused();
            count.closed
        })
    }

    /// Lets uses begin again.
    pub(crate) fn reopen(&self) {
        self.0.send_if_modified(|count| std::mem::take(&mut count.closed));
    }

    /// Follows the uses.
    pub(crate) fn watch(&self) -> watch::Receiver<Count> {
        self.0.subscribe()
    }
}

/// One use, until it is dropped.
#[derive(Debug)]
pub struct Use(Uses);

impl Drop for Use {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| count.now -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn using_and_closing_exclude_each_other() {
        let uses = Uses::default();
        let (first, second) = (uses.begin().unwrap(), uses.clone().begin().unwrap());
        assert!(!uses.close());
        drop(first);
        assert!(!uses.close(), "the second goes on");
        drop(second);
        assert!(uses.close() && uses.close());
        assert!(uses.begin().is_none());
        // Who wakes it holds it, and nobody else begins before it is open.
        let waking = uses.hold();
        assert!(uses.begin().is_none() && uses.close());
        uses.reopen();
        assert!(uses.begin().is_some() && !uses.close());
        drop(waking);
        assert!(uses.close());
    }

    #[test]
    fn a_short_use_is_noticed() {
        let uses = Uses::default();
        let mut watch = uses.watch();
        assert!(watch.borrow_and_update().is_unused());
        drop(uses.begin());
        assert!(watch.has_changed().unwrap() && watch.borrow_and_update().is_unused());
        drop(uses.begin());
        assert!(watch.has_changed().unwrap());
    }
}
