//! The agent behind a fake VMM: it does what the arguments of an exec say.

use std::io::Write;
use std::time::Duration;

use banger_link::framed::{FrameReader, FrameWriter, framed};
use banger_link::{LinkStream, Magic, serve_guest};
use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{AgentHello, ExecStarted, Health, InitState, Service, Unpacked};
use banger_proto::{Code, Problem};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

/// The VMM never greets.
pub(crate) const MUTE: &str = "mute";
/// No agent ever calls.
pub(crate) const NO_AGENT: &str = "no-agent";
/// Exit code of the exec command `exit`.
pub(crate) const EXIT_CODE: i32 = 7;

const CONSOLE_GREETING: &str = "fake console: ";

type Reader = FrameReader<ReadHalf<LinkStream>>;
type Writer = FrameWriter<WriteHalf<LinkStream>>;

/// Says on the console which processes supervisor and VMM are.
pub(crate) fn greet() {
    let (supervisor, vmm) = (std::os::unix::process::parent_id(), std::process::id());
    // The test harness has begun a line of its own.
    print_console(format!("\n{CONSOLE_GREETING}{supervisor} {vmm}\n").as_bytes());
}

/// Reads the console's greeting: the process ids of supervisor and VMM.
pub(crate) fn parse_processes(line: &str) -> Option<(u32, u32)> {
    let (supervisor, vmm) = line.strip_prefix(CONSOLE_GREETING)?.split_once(' ')?;
    Some((supervisor.parse().ok()?, vmm.parse().ok()?))
}

fn print_console(bytes: &[u8]) {
    let mut console = std::io::stdout().lock();
    console.write_all(bytes).unwrap();
    console.flush().unwrap();
}

/// How an agent goes away.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exit {
    /// Another one calls at once.
    Restart,
    /// For good; the VMM sees that nobody listens.
    Death,
    /// The link ended.
    Link,
}

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    magic: Magic,
    exit: mpsc::Sender<Exit>,
    exits: mpsc::Receiver<Exit>,
    commands: watch::Sender<u32>,
}

impl Agent {
    /// The one of the link with this magic.
    pub(crate) fn new(magic: &str) -> Self {
        let (exit, exits) = mpsc::channel(1);
        let magic = magic.parse().unwrap();
        Self { magic, exit, exits, commands: watch::Sender::new(0) }
    }

    /// Serves a connection of the host's until one of both goes away.
    pub(crate) async fn serve(&mut self, io: UnixStream) -> Exit {
        let Self { magic, exit, exits, commands } = self;
        let serve = serve_guest(io, *magic, |stream| {
            tokio::spawn(serve_stream(stream, exit.clone(), commands.clone()));
        });
        tokio::select! {
            _ = serve => Exit::Link,
            how = exits.recv() => how.unwrap(),
        }
    }
}

async fn serve_stream(stream: LinkStream, exits: mpsc::Sender<Exit>, commands: watch::Sender<u32>) {
    let (mut reader, mut writer) = framed(stream);
    let Ok(Some(open)) = reader.next().await else { return };
    // A stream that breaks is the tests' business.
    let _ = match open.parse().unwrap() {
        Service::Hello(_) => {
            let hello = AgentHello {
                generation: 1,
                agent_version: "fake".into(),
                boot_id: "boot".into(),
                configured: false,
            };
            writer.send_json(Kind::Accepted, &hello).await.ok()
        }
        Service::Watch => watch_commands(writer, commands.subscribe()).await,
        Service::Exec(request) => {
            commands.send_modify(|commands| *commands += 1);
            let done = run(request.argv, reader, writer, exits).await;
            commands.send_modify(|commands| *commands -= 1);
            done
        }
        Service::Unpack(request) => unpack(&request.directory, reader, writer).await,
        // Silence: the stream stays open and nothing is said.
        Service::Renew(_)
        | Service::SetClock(_)
        | Service::Health
        | Service::Stats
        | Service::System
        | Service::Ssh
        | Service::Ports
        | Service::Forward(_)
        | Service::StartJob(_)
        | Service::ListJobs
        | Service::AttachJob(_)
        | Service::KillJob(_)
        | Service::CopyIn(_)
        | Service::CopyOut(_)
        | Service::Survey(_)
        | Service::GitObjects(_)
        | Service::GrowDisk(_) => std::future::pending().await,
        Service::Configure(_) => writer.send_bytes(Kind::Accepted, b"\xff not json").await.ok(),
        Service::Shutdown(_) => writer.send_bytes(Kind::Exit, b"{}").await.ok(),
    };
}

async fn watch_commands(mut writer: Writer, mut commands: watch::Receiver<u32>) -> Option<()> {
    let mut kind = Kind::Accepted;
    loop {
        let health = Health {
            service: None,
            boot_id: "boot".into(),
            uptime_ms: 1,
            init: None,
            state: InitState::Running,
            commands: *commands.borrow_and_update(),
        };
        writer.send_json(kind, &health).await.ok()?;
        kind = Kind::Event;
        commands.changed().await.ok()?;
    }
}

async fn run(
    argv: Vec<String>,
    mut reader: Reader,
    mut writer: Writer,
    exits: mpsc::Sender<Exit>,
) -> Option<()> {
    if argv[0] == "refused" {
        let problem = Problem::new(Code::NotFound, "no `\u{1b}[31msuch` program");
        return writer.send_json(Kind::Refused, &problem).await.ok();
    }
    writer.send_json(Kind::Accepted, &ExecStarted { pid: 1 }).await.ok()?;
    match &*argv[0] {
        // Gives back what it is given, until the other side has finished.
        "echo" => {
            let (mut reader, mut writer) = (reader.into_inner(), writer.into_inner());
            tokio::io::copy(&mut reader, &mut writer).await.ok()?;
            writer.shutdown().await.ok()
        }
        // Sends without end.
        "flood" => loop {
            writer.send_bytes(Kind::Stdout, &[b'x'; 60_000]).await.ok()?;
        },
        // Waits until its stream is gone.
        "hold" => reader.next().await.ok().map(drop),
        // Writes to the console, in its own time.
        "console" => {
            let len: usize = argv[1].parse().unwrap();
            tokio::task::spawn_blocking(move || {
                let line = [[b'c'; 99].as_slice(), b"\n"].concat();
                for _ in 0..len / line.len() {
                    print_console(&line);
                }
                print_console(b"last words\n");
            })
            .await
            .unwrap();
            writer.send(&Frame::new(Kind::Exit, *b"{\"code\":0}")).await.ok()
        }
        "restart-link" => exits.send(Exit::Restart).await.ok(),
        "die" => exits.send(Exit::Death).await.ok(),
        "exit" => {
            writer.send(&Frame::new(Kind::Exit, *b"{\"code\":0}")).await.ok()?;
            // The frame goes out while the session is driven once more.
            tokio::time::timeout(Duration::from_secs(5), reader.next()).await.ok();
            std::process::exit(EXIT_CODE)
        }
        other => panic!("unknown command {other}"),
    }
}

async fn unpack(directory: &str, mut reader: Reader, mut writer: Writer) -> Option<()> {
    writer.send_json(Kind::Accepted, &serde_json::json!({})).await.ok()?;
    let mut unpacked = Unpacked::default();
    loop {
        match reader.next().await.ok()?? {
            Frame { kind: Kind::Data, payload } => unpacked.bytes += payload.len() as u64,
            Frame { kind: Kind::End, .. } => break,
            other => panic!("unexpected {other:?}"),
        }
        if directory == "/full" {
            let problem = Problem::new(Code::OperationFailed, "no space left");
            writer.send_json(Kind::Refused, &problem).await.ok()?;
            // Says no more and reads no more, like an agent that is busy cleaning up.
            std::future::pending::<()>().await;
        }
    }
    writer.send_json(Kind::Event, &unpacked).await.ok()
}
