//! The host's side of one stream: opens a service and collects what comes back.

use std::sync::Arc;
use std::time::Duration;

use banger_agent::{Context, Hosted, serve_stream};
use banger_link::framed::{FrameReader, FrameWriter, framed};
use banger_proto::Problem;
use banger_proto::guest::frame::{DATA_CHUNK, Frame, Kind};
use banger_proto::guest::{
    ExecExit, ExecRequest, ExecStarted, GuestConfig, STDIN_WINDOW, Service, StdinTaken,
};
use serde::de::DeserializeOwned;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;

/// Far longer than anything here takes; a test that waits this long has found a hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits, but not for ever.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it hangs")
}

/// A guest that is configured already.
pub(crate) async fn configured() -> Arc<Context> {
    configured_as(Hosted::default()).await
}

/// The guest of this machine, configured.
pub(crate) async fn configured_as(machine: Hosted) -> Arc<Context> {
    let context = Context::hosted(machine);
    let service = Service::Configure(Box::new(config()));
    Stream::open(&context, &service).await.accepted::<serde_json::Value>().await;
    context
}

/// A configuration with one variable.
pub(crate) fn config() -> GuestConfig {
    serde_json::from_value(serde_json::json!({
        "hostname": "vm", "machine_id": "0".repeat(32), "clock_unix_nanos": 0,
        "random_seed": "0".repeat(64), "env": {"FROM_GUEST": "guest", "BOTH": "guest"},
        "base_serial": "base", "writable_serial": "writable",
    }))
    .unwrap()
}

/// One stream to the agent. Dropping it is a hang-up.
pub(crate) struct Stream {
    pub(crate) reader: FrameReader<ReadHalf<DuplexStream>>,
    pub(crate) writer: FrameWriter<WriteHalf<DuplexStream>>,
}

impl Stream {
    pub(crate) async fn open(context: &Arc<Context>, service: &Service) -> Self {
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(serve_stream(Arc::clone(context), far));
        let (reader, mut writer) = framed(near);
        writer.send_json(Kind::Open, service).await.unwrap();
        Self { reader, writer }
    }

    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within(self.reader.next()).await.unwrap()
    }

    pub(crate) async fn accepted<T: DeserializeOwned>(&mut self) -> T {
        let frame = self.next().await.expect("an answer");
        assert_eq!(frame.kind, Kind::Accepted, "{}", String::from_utf8_lossy(&frame.payload));
        frame.parse().unwrap()
    }

    pub(crate) async fn refused(&mut self) -> Problem {
        let frame = self.next().await.expect("an answer");
        assert_eq!(frame.kind, Kind::Refused);
        let problem = frame.parse().unwrap();
        assert_eq!(self.next().await, None, "a refusal is the last frame");
        problem
    }

    /// Reads a command's frames to the end of the stream.
    pub(crate) async fn finish(mut self) -> Finished {
        collect(&mut self.reader, &watch::channel(0).0).await
    }

    /// Reads a command's frames to the end of the stream, and sends it `input` meanwhile as the
    /// protocol demands.
    pub(crate) async fn finish_with_input(self, input: &[u8]) -> Finished {
        let Self { mut reader, mut writer } = self;
        let (granted, mut grants) = watch::channel(STDIN_WINDOW as u64);
        let send = async {
            let mut sent = 0;
            while sent < input.len() {
                let allowed = *grants.wait_for(|all| *all > sent as u64).await.unwrap();
                let until = input.len().min(sent + DATA_CHUNK).min(allowed as usize);
                if writer.send_bytes(Kind::Stdin, &input[sent..until]).await.is_err() {
                    // The command has ended.
                    return;
                }
                sent = until;
            }
            let _ = writer.send_bytes(Kind::StdinEnd, &[]).await;
        };
        let ((), finished) = tokio::join!(within(send), async {
            let finished = collect(&mut reader, &granted).await;
            // Whoever still waits to send may try, and see that nobody is there.
            granted.send_replace(u64::MAX);
            finished
        });
        finished
    }
}

/// Reads a command's frames to the end of the stream, adding up what was taken.
async fn collect(
    reader: &mut FrameReader<ReadHalf<DuplexStream>>,
    granted: &watch::Sender<u64>,
) -> Finished {
    let mut finished = Finished::default();
    while let Some(frame) = within(reader.next()).await.unwrap() {
        assert!(finished.exits.is_empty(), "a frame after the exit");
        match frame.kind {
            Kind::Stdout => finished.stdout.extend(frame.payload),
            Kind::Stderr => finished.stderr.extend(frame.payload),
            Kind::Exit => finished.exits.push(frame.parse().unwrap()),
            Kind::StdinTaken => {
                let StdinTaken { bytes } = frame.parse().unwrap();
                finished.grants.push(bytes);
                granted.send_modify(|all| *all += bytes);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    finished
}

/// All that a command gave.
#[derive(Default)]
pub(crate) struct Finished {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exits: Vec<ExecExit>,
    /// Bytes of input, each time it was told to be taken.
    pub(crate) grants: Vec<u64>,
}

impl Finished {
    /// The exit, which came exactly once.
    pub(crate) fn exit(&self) -> &ExecExit {
        assert_eq!(self.exits.len(), 1);
        &self.exits[0]
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.stdout).unwrap()
    }
}

/// A request for `sh -c script`.
pub(crate) fn sh(script: &str) -> ExecRequest {
    ExecRequest {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        ..Default::default()
    }
}

/// Starts a command.
pub(crate) async fn start(context: &Arc<Context>, request: ExecRequest) -> (ExecStarted, Stream) {
    let mut stream = Stream::open(context, &Service::Exec(Box::new(request))).await;
    (stream.accepted().await, stream)
}

/// Runs a command to its end.
pub(crate) async fn run(context: &Arc<Context>, request: ExecRequest) -> Finished {
    start(context, request).await.1.finish().await
}
