//! A small QMP client: commands out, answers in, events passed on.
//!
//! QMP is QEMU's control protocol, one JSON object a line (`docs/interop/qmp-spec.txt` of QEMU).
//! QEMU may be in the hands of its guest, so nothing it says is trusted: lines are bounded,
//! answers have deadlines, and what does not parse ends the connection.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Deserialize;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::command::render_disk_node;
use crate::supervise::lines::LineReader;

/// Bytes in one line of QMP at most. Answers to the commands used here have under 1 KiB.
const LINE_LIMIT: usize = 64 << 10;
/// Commands that wait their turn at most.
const QUEUE: usize = 8;

/// Why QEMU did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    /// The connection failed.
    #[error("control connection to QEMU failed")]
    Io(#[from] io::Error),
    /// The guest's state did not go over.
    #[error("QEMU's migration ended as `{0}`")]
    Migration(String),
    /// Something other than QMP was said.
    #[error("QEMU's control connection does not speak QMP")]
    NotQmp,
    /// The connection is over.
    #[error("QEMU closed its control connection")]
    Closed,
    /// No answer in time.
    #[error("QEMU did not answer `{0}` in time")]
    Timeout(&'static str),
    /// QEMU refused.
    #[error("QEMU refused `{command}`: {reason}")]
    Refused {
        /// The command.
        command: &'static str,
        /// What QEMU said.
        reason: String,
    },
}

/// One line from QEMU.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "QMP")]
    greeting: Option<serde::de::IgnoredAny>,
    #[serde(rename = "return")]
    success: Option<serde::de::IgnoredAny>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: serde_json::Value,
    id: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

/// Something QEMU reported of its own accord.
#[derive(Debug)]
pub(crate) struct Event {
    /// Its name, as `SHUTDOWN`.
    pub(crate) name: String,
    /// The `reason` in its data, as `guest-shutdown`.
    pub(crate) reason: Option<String>,
    /// The `open` in its data: whether the guest has opened or closed a port.
    pub(crate) open: Option<bool>,
}

impl Event {
    /// Whether the guest's agent has closed the port that the link goes through, the only one
    /// there is; it does so by ending.
    pub(crate) fn is_port_closed(&self) -> bool {
        self.name == "VSERPORT_CHANGE" && self.open == Some(false)
    }
}

struct Request {
    command: &'static str,
    arguments: Option<serde_json::Value>,
    /// What QEMU gets with it.
    descriptor: Option<OwnedFd>,
    answer: oneshot::Sender<Result<(), QmpError>>,
}

/// Sends commands; cloned freely.
#[derive(Debug, Clone)]
pub(crate) struct Qmp {
    requests: mpsc::Sender<Request>,
    /// How QEMU's migration is, as it told last.
    pub(super) migration: watch::Receiver<String>,
}

/// The connection: [`run`](Self::run) must be polled for anything to happen.
pub(crate) struct QmpConnection {
    lines: LineReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    requests: mpsc::Receiver<Request>,
    migration: watch::Sender<String>,
}

impl Qmp {
    /// A client on `stream`, whose peer is QEMU's end.
    pub(crate) fn new(stream: UnixStream) -> (Self, QmpConnection) {
        let (reader, writer) = stream.into_split();
        let (sender, requests) = mpsc::channel(QUEUE);
        let (migration, told) = watch::channel(String::new());
        let lines = LineReader::new(reader, LINE_LIMIT);
        let connection = QmpConnection { lines, writer, requests, migration };
        (Self { requests: sender, migration: told }, connection)
    }

    /// Has QEMU carry out a command and waits for its answer.
    ///
    /// # Errors
    /// When QEMU refuses, is gone, or does not answer within `deadline`.
    pub(crate) async fn execute(
        &self,
        command: &'static str,
        arguments: Option<serde_json::Value>,
        deadline: Duration,
    ) -> Result<(), QmpError> {
        self.execute_with(command, arguments, None, deadline).await
    }

    /// As [`execute`](Self::execute), and QEMU gets `descriptor` with the command.
    pub(super) async fn execute_with(
        &self,
        command: &'static str,
        arguments: Option<serde_json::Value>,
        descriptor: Option<OwnedFd>,
        deadline: Duration,
    ) -> Result<(), QmpError> {
        let asked = async {
            let (answer, answered) = oneshot::channel();
            let request = Request { command, arguments, descriptor, answer };
            self.requests.send(request).await.map_err(|_| QmpError::Closed)?;
            answered.await.map_err(|_| QmpError::Closed)?
        };
        tokio::time::timeout(deadline, asked).await.map_err(|_| QmpError::Timeout(command))?
    }

    /// Waits until QEMU has finished its start and obeys. The monitor greets before the machine
    /// is built but answers only from the main loop, so an answer means a running machine.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub(crate) async fn negotiate(&self, deadline: Duration) -> Result<(), QmpError> {
        self.execute("qmp_capabilities", None, deadline).await
    }

    /// Presses the guest's power button.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub(crate) async fn power_button(&self, deadline: Duration) -> Result<(), QmpError> {
        self.execute("system_powerdown", None, deadline).await
    }

    /// Tells QEMU that the file of a disk has now so many bytes, which it tells the guest. QEMU
    /// would also cut a file that is longer.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub(crate) async fn resize_disk(
        &self,
        disk: u32,
        bytes: u64,
        deadline: Duration,
    ) -> Result<(), QmpError> {
        let node = render_disk_node(disk);
        let arguments = serde_json::json!({ "node-name": node, "size": bytes });
        self.execute("block_resize", Some(arguments), deadline).await
    }
}

impl QmpConnection {
    /// Carries commands and answers until QEMU closes the connection or every [`Qmp`] is gone.
    /// Events go to `on_event`.
    ///
    /// # Errors
    /// When the connection fails or the peer does not speak QMP.
    pub(crate) async fn run(mut self, mut on_event: impl FnMut(Event)) -> Result<(), QmpError> {
        let mut greeted = false;
        let mut asked = 0;
        let mut waiting: Option<Request> = None;
        loop {
            tokio::select! {
                line = self.lines.next_line() => {
                    let Some(line) = line? else { return Ok(()) };
                    let message: Message =
                        serde_json::from_slice(&line).map_err(|_| QmpError::NotQmp)?;
                    if message.greeting.is_some() {
                        greeted = true;
                    } else if let Some(name) = message.event {
                        let reason = message.data.get("reason").and_then(|reason| reason.as_str());
                        let reason = reason.map(ToOwned::to_owned);
                        let open = message.data.get("open").and_then(serde_json::Value::as_bool);
                        let status = message.data.get("status").and_then(|status| status.as_str());
                        if name == "MIGRATION" && let Some(status) = status {
                            self.migration.send_replace(status.to_owned());
                        }
                        on_event(Event { name, reason, open });
                    } else if message.id == Some(asked) && let Some(request) = waiting.take() {
                        let answer = match (message.success, message.error) {
                            (Some(_), None) => Ok(()),
                            (_, Some(Refusal { desc: reason })) => {
                                Err(QmpError::Refused { command: request.command, reason })
                            }
                            (None, None) => Err(QmpError::NotQmp),
                        };
                        // Who asked may have stopped waiting.
                        let _ = request.answer.send(answer);
                    }
                }
                request = self.requests.recv(), if greeted && waiting.is_none() => {
                    let Some(mut request) = request else { return Ok(()) };
                    asked += 1;
                    let mut line = serde_json::json!({ "execute": request.command, "id": asked });
                    if let Some(arguments) = &request.arguments {
                        line["arguments"] = arguments.clone();
                    }
                    let line = format!("{line}\n");
                    let mut line = line.as_bytes();
                    if let Some(descriptor) = request.descriptor.take() {
                        line = &line[self.send_with(line, &descriptor).await?..];
                    }
                    self.writer.write_all(line).await?;
                    waiting = Some(request);
                }
            }
        }
    }

    /// Writes of `bytes` as many as go, and with them the descriptor; how many that were.
    async fn send_with(&self, bytes: &[u8], descriptor: &OwnedFd) -> io::Result<usize> {
        let socket: &UnixStream = self.writer.as_ref();
        let descriptors = [descriptor.as_fd()];
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut with = SendAncillaryBuffer::new(&mut space);
            with.push(SendAncillaryMessage::ScmRights(&descriptors));
            let bytes = [io::IoSlice::new(bytes)];
            Ok(sendmsg(socket, &bytes, &mut with, SendFlags::NOSIGNAL)?)
        };
        socket.async_io(Interest::WRITABLE, send).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// Runs a client against a peer that answers each command line with the next of `answers`.
    async fn with_peer(
        answers: &[&str],
    ) -> (Result<(), QmpError>, Result<(), QmpError>, Vec<String>) {
        let (near, far) = UnixStream::pair().unwrap();
        let (qmp, connection) = Qmp::new(near);
        let peer = async {
            let (reader, mut writer) = tokio::io::split(far);
            let mut lines = LineReader::new(reader, LINE_LIMIT);
            writer.write_all(b"{\"QMP\":{\"version\":{}}}\n").await.unwrap();
            for answer in answers {
                let Some(_) = lines.next_line().await.unwrap() else { return };
                writer.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let client = async move {
            qmp.negotiate(DEADLINE).await?;
            qmp.power_button(DEADLINE).await
        };
        let mut events = Vec::new();
        let run = connection.run(|event| events.push(format!("{event:?}")));
        let (asked, ran, ()) = tokio::join!(client, run, peer);
        (asked, ran, events)
    }

    #[tokio::test]
    async fn events_between_command_and_answer_are_passed_on() {
        let (asked, ran, events) = with_peer(&[
            "{\"return\":{},\"id\":1}\n",
            "{\"event\":\"SHUTDOWN\",\"data\":{\"reason\":\"guest-reset\"}}\n{\"return\":{},\"id\":2}\n",
        ])
        .await;
        asked.unwrap();
        ran.unwrap();
        assert_eq!(
            events,
            ["Event { name: \"SHUTDOWN\", reason: Some(\"guest-reset\"), open: None }"]
        );
    }

    #[tokio::test]
    async fn a_disk_is_resized_by_the_name_of_its_place() {
        let (near, far) = UnixStream::pair().unwrap();
        let (qmp, connection) = Qmp::new(near);
        let peer = async {
            let (reader, mut writer) = tokio::io::split(far);
            let mut lines = LineReader::new(reader, LINE_LIMIT);
            writer.write_all(b"{\"QMP\":{}}\n").await.unwrap();
            let line = lines.next_line().await.unwrap().unwrap();
            writer.write_all(b"{\"return\":{},\"id\":1}\n").await.unwrap();
            serde_json::from_slice::<serde_json::Value>(&line).unwrap()
        };
        let asked = async move { qmp.resize_disk(1, 3 << 30, DEADLINE).await };
        let (asked, _, line) = tokio::join!(asked, connection.run(|_| {}), peer);
        asked.unwrap();
        let arguments = serde_json::json!({"node-name": "disk1", "size": 3_221_225_472_u64});
        assert_eq!(
            line,
            serde_json::json!({"execute": "block_resize", "arguments": arguments, "id": 1})
        );
    }

    #[tokio::test]
    async fn refusals_name_the_command() {
        let refusal = "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"},\"id\":1}\n";
        let (asked, ..) = with_peer(&[refusal]).await;
        assert_eq!(asked.unwrap_err().to_string(), "QEMU refused `qmp_capabilities`: no");
    }

    #[tokio::test]
    async fn garbage_ends_the_connection() {
        for garbage in ["\u{0}\n", "[]\n", &format!("{}\n", "x".repeat(LINE_LIMIT + 1))] {
            let (asked, ran, _) = with_peer(&[garbage]).await;
            assert!(matches!(asked, Err(QmpError::Closed)), "{asked:?}");
            assert!(ran.is_err());
        }
    }
}
