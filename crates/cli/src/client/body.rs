//! The body of an answer as bytes, as they come.

use banger_proto::OpId;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use tokio_util::task::AbortOnDropHandle;

use super::{Client, Versioned, lost};
use crate::errors::CliError;

/// The answer to one request. Dropping it ends the request.
#[derive(Debug)]
pub(crate) struct Body {
    body: Incoming,
    op_id: Option<OpId>,
    _connection: AbortOnDropHandle<()>,
}

impl Client {
    /// `GET path` → its body.
    pub(crate) async fn read(&self, path: &str) -> Result<Body, CliError> {
        let answer = self.send(Method::GET, path, Bytes::new(), Versioned::Yes).await?;
        let body = answer.response.into_body();
        Ok(Body { body, op_id: answer.op_id, _connection: answer.connection })
    }

    /// `GET path`, handing the body to `write` as it arrives.
    pub(crate) async fn copy(
        &self,
        path: &str,
        mut write: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut body = self.read(path).await?;
        while let Some(bytes) = body.next().await? {
            write(&bytes)?;
        }
        Ok(())
    }
}

impl Body {
    /// What comes next; nothing at the end. Cancel-safe.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, CliError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| lost(&error).of_operation(self.op_id.clone()))?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
