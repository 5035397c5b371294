//! The watch service: how the guest is, now and at every change of its state or its service's.

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
    let (mut progress, mut service) = (context.watch_progress(), context.service.watch());
    progress.mark_unchanged();
    service.mark_unchanged();
    to_host.send_json(Kind::Accepted, &context.health()).await?;
    loop {
        tokio::select! {
            // Their senders are in the context.
            Ok(()) = progress.changed() => {
                to_host.send_json(Kind::Event, &context.health()).await?;
            }
            Ok(()) = service.changed() => {
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
