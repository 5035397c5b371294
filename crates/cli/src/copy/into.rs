//! From this host into a guest.

use std::path::Path;

use banger_proto::api::Event;
use banger_proto::guest::Copied;
use banger_tree::{PackError, Source, pack, pipe};
use tokio::sync::watch;

use super::{GuestPlace, INTERRUPTED, end_of, open_directory, tell};
use crate::client::{Client, Events};
use crate::cmd::Context;
use crate::errors::CliError;
use crate::progress::Progress;
use crate::signals::Signals;

/// Copies `from` to `to`.
///
/// # Errors
/// When something cannot be read here or written there, and when a signal comes.
pub(crate) async fn copy_in(
    context: &Context,
    from: &Path,
    to: &GuestPlace,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let mut signals = Signals::ending()?;
    let source = Source::find(from, open_directory).map_err(|error| {
        CliError::failure(format!("cannot read `{}`", from.display())).because(&error)
    })?;
    let client = context.daemon(&mut signals).await?;
    progress.begin(&format!("copying to {}", to.vm));
    let (mut inlet, outlet) = pipe();
    let packing = tokio::task::spawn_blocking(move || {
        let packed = pack(&source, &mut inlet)?;
        // Nobody wants it any more where nobody takes its end; why is said by the daemon.
        let _ = inlet.end();
        Ok::<_, PackError>(packed)
    });
    let (sender, sent) = watch::channel(0);
    let work = send(&client, to, outlet, sender, sent, progress);
    let ended = signals.race_or(INTERRUPTED, work).await;
    // The pipe has gone with the request, so the thread ends as well.
    let packed = packing.await.map_err(|error| {
        CliError::failure(format!("reading `{}` failed", from.display())).because(&error)
    })?;
    match (ended, packed) {
        // What could not be read here is why the request was broken off.
        (_, Err(error @ PackError::Read { .. })) => {
            Err(CliError::failure(format!("cannot copy all of `{}`", from.display()))
                .because(&error)
                .hint(format!("what was read before is in {}", to.vm)))
        }
        (Err(error), _) => Err(error),
        (Ok(copied), packed) => {
            let notes = packed.map(|packed| packed.notes).unwrap_or_default();
            tell(context, progress, &Copied { notes, ..copied });
            Ok(())
        }
    }
}

async fn send(
    client: &Client,
    to: &GuestPlace,
    outlet: banger_tree::Outlet,
    sender: watch::Sender<u64>,
    mut sent: watch::Receiver<u64>,
    progress: &mut Progress,
) -> Result<Copied, CliError> {
    let mut events: Events = client.copy_in(&to.call()?, outlet, sender).await?;
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            // The sender goes when all was sent; from then on there are only events.
            Ok(()) = sent.changed() => {
                let done = *sent.borrow_and_update();
                progress.show(&Event::Progress { label: "sent".into(), done, total: None });
                continue;
            }
        };
        match event {
            event @ (Event::Copied { .. } | Event::Failed { .. }) => {
                return end_of(event).map_err(|error| error.of_operation(events.op_id()));
            }
            other => progress.show(&other),
        }
    }
}
