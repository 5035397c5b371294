//! A client of a daemon's socket for tests: it panics where a product would explain.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_link::framed::{FrameReader, FrameWriter, framed};
use banger_proto::Problem;
use banger_proto::api::{Event, ExecVm, UPGRADE_FRAMES, VmView};
use banger_proto::guest::ExecExit;
use banger_proto::guest::frame::Kind;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::UnixStream;

/// Longest that a test waits for anything: a test that needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Talks to one socket; each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON of a call that went well.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    pub fn ok<T: DeserializeOwned>(&self) -> T {
        assert!(self.status.is_success(), "{}: {:?}", self.status, self.body);
        serde_json::from_slice(&self.body).expect("JSON of the expected type")
    }

    /// The body of a call that did not.
    ///
    /// # Panics
    /// When it did.
    #[must_use]
    pub fn problem(&self) -> Problem {
        assert!(!self.status.is_success(), "{}: {:?}", self.status, self.body);
        serde_json::from_slice(&self.body).expect("a problem")
    }
}

impl Client {
    /// A client of the daemon at `socket`.
    #[must_use]
    pub fn new(socket: impl AsRef<Path>) -> Self {
        Self { socket: socket.as_ref().to_owned() }
    }

    /// Makes a call with the given headers.
    ///
    /// # Panics
    /// When the daemon cannot be asked.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let stream = UnixStream::connect(&self.socket).await.expect("a daemon that listens");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("a connection");
        // Ends with the answer's body, or its upgrade.
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(method).uri(path).header(HOST, "banger");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request));
        answer.await.expect("an answer in time").expect("an answer")
    }

    /// Makes a call and reads its whole answer.
    pub async fn call(&self, method: Method, path: &str, body: impl Serialize) -> Answer {
        collect(self.send(method, path, &[], render(body)).await).await
    }

    /// `GET`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        collect(self.send(Method::GET, path, &[], "").await).await.ok()
    }

    /// `POST` of a call that tells its progress.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn events(&self, path: &str, body: impl Serialize) -> Events {
        Lines::of(self.send(Method::POST, path, &[], render(body)).await)
    }

    /// `GET` of an answer that goes on.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn follow<T: DeserializeOwned>(&self, path: &str) -> Lines<T> {
        Lines::of(self.send(Method::GET, path, &[], "").await)
    }

    /// Starts a command.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn exec(&self, vm: &str, request: &ExecVm) -> Result<ExecStream, Problem> {
        self.upgrade(&format!("/v1/vms/{vm}/exec"), request).await
    }

    /// `POST` of a call that becomes frames both ways.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn upgrade(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<ExecStream, Problem> {
        let body = serde_json::to_vec(request).expect("JSON");
        let headers = [(CONNECTION.as_str(), "upgrade"), (UPGRADE.as_str(), UPGRADE_FRAMES)];
        let answer = self.send(Method::POST, path, &headers, body).await;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(collect(answer).await.problem());
        }
        let upgraded = hyper::upgrade::on(answer).await.expect("an upgrade");
        let (reader, writer) = framed(TokioIo::new(upgraded));
        Ok(ExecStream { reader, writer })
    }
}

/// A body as JSON; nothing at all for `()`.
fn render(body: impl Serialize) -> Bytes {
    let body = serde_json::to_value(body).expect("JSON");
    if body.is_null() { Bytes::new() } else { body.to_string().into() }
}

/// Reads the whole of an answer.
async fn collect(answer: Response<Incoming>) -> Answer {
    let (parts, body) = answer.into_parts();
    let body = tokio::time::timeout(PATIENCE, body.collect()).await;
    let body = body.expect("a body in time").expect("a body").to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Progress of a call; dropping it closes the connection.
pub type Events = Lines<Event>;

/// An answer that is JSON, line by line; dropping it closes the connection.
#[derive(Debug)]
pub struct Lines<T> {
    body: Incoming,
    buffer: Vec<u8>,
    line: PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    fn of(answer: Response<Incoming>) -> Self {
        assert!(answer.status().is_success(), "{answer:?}");
        Self { body: answer.into_body(), buffer: Vec::new(), line: PhantomData }
    }

    /// The next line; none when the answer is over.
    ///
    /// # Panics
    /// When none comes, or something else does.
    pub async fn next(&mut self) -> Option<T> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a line of the expected type"));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.expect("a line in time")?;
            let Ok(data) = frame.expect("a body that does not break").into_data() else { continue };
            self.buffer.extend_from_slice(&data);
        }
    }

    /// Skips to the first line that `wanted` takes.
    ///
    /// # Panics
    /// When the answer ends before.
    pub async fn find<F>(&mut self, mut wanted: impl FnMut(&T) -> Option<F>) -> F {
        loop {
            let line = self.next().await.expect("another line");
            if let Some(found) = wanted(&line) {
                return found;
            }
        }
    }
}

impl Events {
    /// Skips to readiness.
    ///
    /// # Panics
    /// When the call fails.
    pub async fn ready(&mut self) -> VmView {
        self.find(|event| match event {
            Event::VmReady { vm, .. } => Some((**vm).clone()),
            Event::Failed { problem } => panic!("failed: {problem:#?}"),
            _ => None,
        })
        .await
    }

    /// Skips to the failure, which has to be the last event.
    ///
    /// # Panics
    /// When the call does not fail.
    pub async fn failed(&mut self) -> Problem {
        let problem = self
            .find(|event| match event {
                Event::Failed { problem } => Some(problem.clone()),
                Event::VmReady { vm, .. } => panic!("ready: {vm:#?}"),
                _ => None,
            })
            .await;
        assert_eq!(self.next().await, None);
        problem
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct ExecStream {
    /// What the command says.
    pub reader: FrameReader<ReadHalf<TokioIo<Upgraded>>>,
    /// What it is told.
    pub writer: FrameWriter<WriteHalf<TokioIo<Upgraded>>>,
}

impl ExecStream {
    /// Reads all that the command says: its standard output and its end.
    ///
    /// # Panics
    /// When the stream ends before the command.
    pub async fn finish(mut self) -> (String, ExecExit) {
        let mut stdout = Vec::new();
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.reader.next()).await;
            let frame = frame.expect("a frame in time").expect("a frame").expect("an end");
            match frame.kind {
                Kind::Stdout => stdout.extend_from_slice(&frame.payload),
                Kind::Exit => {
                    let exit = frame.parse().expect("an exit");
                    return (String::from_utf8(stdout).expect("UTF-8"), exit);
                }
                _ => {}
            }
        }
    }
}
