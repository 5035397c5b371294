//! The service that tells who listens, now and at every change.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use banger_proto::guest::PortChange;
use banger_proto::guest::frame::Kind;
use banger_proto::{Code, Problem};

use super::owners::Owners;
use super::record::Record;
use super::sockets;
use crate::context::Context;
use crate::services::{FromHost, ServiceError, ToHost, require_configured};

/// Between two looks, since no event tells of a new listener: soon enough for a person who has just
/// started a server.
const PAUSE: Duration = Duration::from_millis(500);
/// Looks in a row that may be content with numbers: a listener that came as another socket went is
/// seen after five seconds.
const MAX_SKIPPED: u32 = 9;
/// The least that is rested after a look, as a multiple of its own time: a guest with a flood of
/// sockets does not spend itself on being looked at.
const REST: u32 = 20;

/// Tells of changes until the host hangs up. Those that come faster than the host reads are merged.
pub(crate) async fn serve(
    context: &Context,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let mut watcher = Watcher::default();
    let mut accepted = false;
    loop {
        let begun = Instant::now();
        // Tables and processes are read by calls that block.
        let looked = tokio::task::spawn_blocking(move || {
            let changes = watcher.look();
            (watcher, changes)
        });
        let (back, changes) = looked
            .await
            .map_err(|_| Problem::new(Code::OperationFailed, "looking for listeners panicked"))?;
        watcher = back;
        let changes = changes.map_err(|error| {
            Problem::new(Code::OperationFailed, "cannot see who listens").because(&error)
        })?;
        let rest = PAUSE.max(begun.elapsed() * REST);
        let first = !std::mem::replace(&mut accepted, true);
        if first {
            to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;
        }
        for change in changes.iter().chain(first.then_some(&PortChange::Settled)) {
            to_host.send_json(Kind::Event, change).await?;
        }
        let next = tokio::time::sleep(rest);
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = &mut next => break,
                frame = from_host.next() => match frame {
                    // Nothing is expected; a newer host may know more.
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Ok(()),
                },
            }
        }
    }
}

#[derive(Debug, Default)]
struct Watcher {
    owners: Owners,
    record: Record,
    /// Sockets in use in the last look that was more than that, and looks since.
    counts: BTreeMap<String, u64>,
    skipped: u32,
}

impl Watcher {
    /// Looks once; what the host is to be told.
    fn look(&mut self) -> io::Result<Vec<PortChange>> {
        // First, so that what comes between the two is a difference in the next look.
        let counts = sockets::count()?;
        if self.record.is_settled() && counts == self.counts && self.skipped < MAX_SKIPPED {
            self.skipped += 1;
            return Ok(Vec::new());
        }
        (self.counts, self.skipped) = (counts, 0);
        let sockets = sockets::observe()?;
        self.owners.update(&sockets.values().copied().collect());
        let seen: BTreeMap<_, _> = sockets
            .into_iter()
            .map(|(endpoint, inode)| (endpoint, self.owners.of(inode)))
            .collect();
        Ok(self.record.update(seen))
    }
}
