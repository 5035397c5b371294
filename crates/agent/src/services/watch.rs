//! The watch service: how the guest is, now and at every change of its state.

use banger_proto::guest::frame::Kind;

use super::{FromHost, ServiceError, ToHost};
use crate::context::Context;

/// Sends a picture at every change until the host hangs up. Changes that come faster than the
/// host reads are merged; the last one always arrives.
pub(super) async fn serve(
    context: &Context,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    let mut progress = context.watch_progress();
    progress.mark_unchanged();
    to_host.send_json(Kind::Accepted, &context.health()).await?;
    loop {
        tokio::select! {
            changed = progress.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                to_host.send_json(Kind::Event, &context.health()).await?;
            }
            frame = from_host.next() => match frame {
                // Nothing is expected; a newer host may know more.
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Ok(()),
            },
        }
    }
}
