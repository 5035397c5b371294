//! HTTP to the daemon over its unix socket.
//!
//! Every request has a connection of its own: connecting costs microseconds, and closing the
//! connection is how a request is cancelled.

mod body;
mod connect;
mod events;
mod files;
mod passing;
mod start;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use banger_proto::api::{DaemonStatus, OP_ID_HEADER, UPGRADE_FRAMES, VERSION_HEADER};
use banger_proto::{API_VERSION, Code, OpId, Problem};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use connect::{Presence, find, paths};
pub(crate) use events::Events;
pub(crate) use files::Part;
pub(crate) use passing::{Passed, RequestBody};
pub(crate) use start::{ensure, stop};

use crate::errors::CliError;
use crate::stdin::Input;

/// Largest answer that is read as one JSON value.
const MAX_ANSWER: usize = 64 << 20;

/// Bytes of a body read at once, from wherever it comes.
const CHUNK: usize = 256 << 10;

/// How long a daemon may take to end after it was asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Whether a request names the version of the interface it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Versioned {
    Yes,
    /// For the two calls by which a daemon of another version is recognised and replaced.
    No,
}

/// A daemon that was there a moment ago.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    uid: u32,
}

/// An answer whose body has not been read, and the task that drives its connection.
struct Answer {
    response: Response<Incoming>,
    op_id: Option<OpId>,
    connection: AbortOnDropHandle<()>,
}

impl Client {
    /// `GET path` → `T`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.send(Method::GET, path, Bytes::new(), Versioned::Yes).await?.json().await
    }

    /// `POST path` with `body` → `T`.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        self.send(Method::POST, path, encode(body)?, Versioned::Yes).await?.json().await
    }

    /// `PATCH path` with `body` → `T`.
    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        self.send(Method::PATCH, path, encode(body)?, Versioned::Yes).await?.json().await
    }

    /// `DELETE path` → `T`.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.send(Method::DELETE, path, Bytes::new(), Versioned::Yes).await?.json().await
    }

    /// `POST path` with `body` → what happens, as it happens. Dropping it cancels the request.
    pub(crate) async fn events(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Events, CliError> {
        let answer = self.send(Method::POST, path, encode(body)?, Versioned::Yes).await?;
        Ok(Events::new(answer.response.into_body(), answer.op_id, answer.connection))
    }

    /// `GET path` → its lines, each as it comes. Dropping it ends the request.
    pub(crate) async fn follow<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Events<T>, CliError> {
        let answer = self.send(Method::GET, path, Bytes::new(), Versioned::Yes).await?;
        Ok(Events::new(answer.response.into_body(), answer.op_id, answer.connection))
    }

    /// `POST path?asked` with what `input` gives as the body → what happens, as it happens.
    /// Dropping it cancels the request.
    pub(crate) async fn upload(
        &self,
        path: &str,
        asked: &impl Serialize,
        input: Input,
    ) -> Result<Events, CliError> {
        let query = serde_urlencoded::to_string(asked).map_err(|error| {
            CliError::failure("cannot write the request as a query").because(&error)
        })?;
        let request = request(Method::POST, &format!("{path}?{query}"), Versioned::Yes)
            .header(CONTENT_TYPE, "application/octet-stream");
        let answer = self.send_request(request, upload::body(input)).await?;
        Ok(Events::new(answer.response.into_body(), answer.op_id, answer.connection))
    }

    /// `POST path` with `body`, then the bare connection with exec frames on it.
    pub(crate) async fn upgrade(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Session, CliError> {
        let request = request(Method::POST, path, Versioned::Yes)
            .header(UPGRADE, UPGRADE_FRAMES)
            .header(CONTENT_TYPE, "application/json");
        self.switch(request, whole(encode(body)?)).await
    }

    /// `GET path`, then the bare connection in `protocol`.
    pub(crate) async fn connect(&self, path: &str, protocol: &str) -> Result<Session, CliError> {
        let request = request(Method::GET, path, Versioned::Yes).header(UPGRADE, protocol);
        self.switch(request, whole(Bytes::new())).await
    }

    /// Sends a request for another protocol and goes on in that.
    async fn switch(
        &self,
        request: hyper::http::request::Builder,
        body: Body,
    ) -> Result<Session, CliError> {
        let request = request.header(CONNECTION, "upgrade");
        let answer = self.send_request(request, body).await?;
        if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(
                CliError::failure("the daemon did not open a session").of_operation(answer.op_id)
            );
        }
        let upgraded = hyper::upgrade::on(answer.response)
            .await
            .map_err(|error| lost(&error).of_operation(answer.op_id.clone()))?;
        Ok(Session {
            io: TokioIo::new(upgraded),
            op_id: answer.op_id,
            _connection: answer.connection,
        })
    }

    /// What the daemon is, whatever version of the interface it speaks.
    pub(crate) async fn status(&self) -> Result<DaemonStatus, CliError> {
        self.send(Method::GET, "/v1/daemon", Bytes::new(), Versioned::No).await?.json().await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        versioned: Versioned,
    ) -> Result<Answer, CliError> {
        let request = request(method, path, versioned).header(CONTENT_TYPE, "application/json");
        self.send_request(request, whole(body)).await
    }

    async fn send_request(
        &self,
        request: hyper::http::request::Builder,
        body: Body,
    ) -> Result<Answer, CliError> {
        let answer = self.exchange(request, body).await?;
        if answer.is_refusal() { Err(answer.refusal().await?.1) } else { Ok(answer) }
    }

    /// Sends a request; its answer, whatever that says.
    async fn exchange(
        &self,
        request: hyper::http::request::Builder,
        body: Body,
    ) -> Result<Answer, CliError> {
        let request = request
            .body(body)
            .map_err(|error| CliError::failure("cannot form a request").because(&error))?;
        let stream = connect::connect(&self.socket, self.uid).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&error))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // How the connection ends is seen by whoever reads the answer.
            let _ = connection.with_upgrades().await;
        }));
        let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
        let op_id = response
            .headers()
            .get(OP_ID_HEADER)
            .and_then(|id| id.to_str().ok())
            .and_then(|id| id.parse().ok());
        Ok(Answer { response, op_id, connection })
    }
}

impl Answer {
    fn is_refusal(&self) -> bool {
        let status = self.response.status();
        !status.is_success() && status != StatusCode::SWITCHING_PROTOCOLS
    }

    async fn body(self) -> Result<Bytes, CliError> {
        let body = Limited::new(self.response.into_body(), MAX_ANSWER).collect().await;
        // The collector's error is boxed without a lifetime of its own; its text is all there is.
        let body = body.map_err(|error| {
            lost(&std::io::Error::other(error)).of_operation(self.op_id.clone())
        })?;
        Ok(body.to_bytes())
    }

    async fn json<T: DeserializeOwned>(self) -> Result<T, CliError> {
        let op_id = self.op_id.clone();
        let body = self.body().await?;
        serde_json::from_slice(&body).map_err(|error| {
            CliError::failure("the daemon's answer is not what this program understands")
                .because(&error)
                .of_operation(op_id)
        })
    }

    /// The body of an answer that is no success, and the failure in it.
    async fn refusal(self) -> Result<(Bytes, CliError), CliError> {
        let (op_id, status) = (self.op_id.clone(), self.response.status());
        let theirs = self.response.headers().get(VERSION_HEADER).cloned();
        let body = self.body().await?;
        let problem = serde_json::from_slice::<Problem>(&body).unwrap_or_else(|_| {
            Problem::new(Code::OperationFailed, format!("the daemon answered `{status}`"))
        });
        let mut error = CliError::from(problem.clone()).of_operation(op_id);
        if problem.code == Code::BadVersion && problem.hints.is_empty() {
            let theirs = theirs.as_ref().and_then(|v| v.to_str().ok()).unwrap_or("?");
            error = error.hint(format!(
                "this program speaks version {API_VERSION} of the interface, the daemon {theirs}: \
                 run `banger daemon stop` (VMs keep running), then try again"
            ));
        }
        Ok((body, error))
    }
}

/// An upgraded connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// What the protocol has that was asked for: exec frames, or plain bytes.
    pub(crate) io: TokioIo<Upgraded>,
    /// The request that opened it.
    pub(crate) op_id: Option<OpId>,
    _connection: AbortOnDropHandle<()>,
}

fn request(method: Method, path: &str, versioned: Versioned) -> hyper::http::request::Builder {
    let builder = Request::builder().method(method).uri(path).header(HOST, "banger");
    match versioned {
        Versioned::Yes => builder.header(VERSION_HEADER, API_VERSION),
        Versioned::No => builder,
    }
}

/// The body of a request.
type Body = UnsyncBoxBody<Bytes, std::io::Error>;

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn encode(body: &impl Serialize) -> Result<Bytes, CliError> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| CliError::failure("cannot write the request as JSON").because(&error))
}

fn lost(error: &dyn std::error::Error) -> CliError {
    CliError::lost("lost the connection to the daemon")
        .because(error)
        .hint("`banger daemon status` says whether it runs and where its log is")
}
