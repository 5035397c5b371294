//! Bringing a workspace into a VM that runs.

use axum::extract::{Extension, State};
use axum::response::Response;
use banger_proto::api::{Event, PrepareWorkspace};
use banger_proto::{OpId, Problem};

use super::front::InFlight;
use super::reply::{Asked, Failed, Path};
use super::{Api, events};

/// Brings a repository into a VM, in the place of the one that is there. Closing the connection
/// before all of it is in the guest leaves the old one.
#[utoipa::path(post, path = "/v1/vms/{vm}/workspace/prepare",
    params(("vm", description = "name, id or its beginning")), request_body = PrepareWorkspace,
    responses((status = OK, body = Event, content_type = "application/x-ndjson"),
        (status = BAD_REQUEST, body = Problem), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem)))]
pub(super) async fn prepare(
    State(api): State<Api>,
    Path(vm): Path<String>,
    Extension(op): Extension<OpId>,
    Extension(guard): Extension<InFlight>,
    Asked(asked): Asked<PrepareWorkspace>,
) -> Result<Response, Failed> {
    Ok(events::respond(api.engine.prepare(&vm, asked).await?, op, guard))
}
