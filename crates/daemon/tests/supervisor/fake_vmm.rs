//! A program that stands where QEMU does: it speaks QMP and the guest link, and its agent does
//! what the arguments of an exec say.
//!
//! Its start script gives it the link as standard input and QMP as standard error; standard
//! output is the console, as with QEMU.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use banger_link::framed::{FrameReader, FrameWriter, framed};
use banger_link::{LinkStream, Magic, serve_guest};
use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{AgentHello, ExecStarted, Health, InitState, Service, Unpacked};
use banger_proto::{Code, Problem};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, watch};

/// Names the role and carries its behaviour: the link's magic, and words.
pub(crate) const ROLE: &str = "BANGER_TEST_FAKE_VMM";
/// The VMM never greets.
pub(crate) const MUTE: &str = "mute";
/// No agent ever calls.
pub(crate) const NO_AGENT: &str = "no-agent";
/// Exit code of the exec command `exit`.
pub(crate) const EXIT_CODE: i32 = 7;

const CONSOLE_GREETING: &str = "fake console: ";

type Reader = FrameReader<ReadHalf<LinkStream>>;
type Writer = FrameWriter<WriteHalf<LinkStream>>;

/// Plays the VMM until it is told to end.
pub(crate) fn play(behaviour: &str) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (magic, words) = behaviour.split_once(' ').unwrap();
        let (supervisor, vmm) = (std::os::unix::process::parent_id(), std::process::id());
        // The test harness has begun a line of its own.
        print_console(format!("\n{CONSOLE_GREETING}{supervisor} {vmm}\n").as_bytes());
        let qmp = socket(std::io::stderr().as_fd());
        let link = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let gone = Arc::new(Notify::new());
        if words.contains(MUTE) {
            std::future::pending::<()>().await;
        }
        if !words.contains(NO_AGENT) {
            let gone = Arc::clone(&gone);
            tokio::spawn(serve_link(link, magic.parse().unwrap(), gone));
        }
        serve_qmp(qmp, &gone).await;
        std::process::exit(0);
    })
}

/// Reads the console's greeting: the process ids of supervisor and VMM.
pub(crate) fn parse_processes(line: &str) -> Option<(u32, u32)> {
    let (supervisor, vmm) = line.strip_prefix(CONSOLE_GREETING)?.split_once(' ')?;
    Some((supervisor.parse().ok()?, vmm.parse().ok()?))
}

fn socket(fd: std::os::fd::BorrowedFd<'_>) -> UnixStream {
    from_owned(fd.try_clone_to_owned().unwrap())
}

fn from_owned(fd: OwnedFd) -> UnixStream {
    let socket = std::os::unix::net::UnixStream::from(fd);
    socket.set_nonblocking(true).unwrap();
    UnixStream::from_std(socket).unwrap()
}

fn print_console(bytes: &[u8]) {
    let mut console = std::io::stdout().lock();
    console.write_all(bytes).unwrap();
    console.flush().unwrap();
}

async fn serve_qmp(qmp: UnixStream, agent_gone: &Notify) {
    let (reader, mut writer) = qmp.into_split();
    writer.write_all(b"{\"QMP\":{\"version\":{},\"capabilities\":[]}}\n").await.unwrap();
    let mut lines = BufReader::new(reader).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line.unwrap(),
            () = agent_gone.notified() => {
                let data = serde_json::json!({ "id": "link", "open": false });
                let event = serde_json::json!({ "event": "VSERPORT_CHANGE", "data": data });
                writer.write_all(format!("{event}\n").as_bytes()).await.unwrap();
                continue;
            }
        };
        let Some(line) = line else { return };
        let command: serde_json::Value = serde_json::from_str(&line).unwrap();
        let mut answer = serde_json::json!({ "return": {}, "id": command["id"] });
        // It has one disk that can be resized, and its file is of one size.
        let resized = serde_json::json!({ "node-name": "disk1", "size": 4096 });
        if command["execute"] == "block_resize" && command["arguments"] != resized {
            let error = serde_json::json!({ "class": "GenericError", "desc": "no such disk" });
            answer = serde_json::json!({ "error": error, "id": command["id"] });
        }
        writer.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
        if command["execute"] == "system_powerdown" {
            return;
        }
    }
}

/// How an agent goes away.
#[derive(Debug, Clone, Copy)]
enum Exit {
    /// Another one calls at once.
    Restart,
    /// For good; the VMM sees that the port is closed.
    Death,
}

async fn serve_link(link: OwnedFd, magic: Magic, gone: Arc<Notify>) {
    let (exit, mut exits) = mpsc::channel(1);
    let commands = watch::Sender::new(0u32);
    loop {
        let io = from_owned(link.try_clone().unwrap());
        let serve = serve_guest(io, magic, |stream| {
            tokio::spawn(serve_stream(stream, exit.clone(), commands.clone()));
        });
        tokio::select! {
            over = serve => return over.unwrap_or_default(),
            how = exits.recv() => if let Some(Exit::Death) = how {
                return gone.notify_one();
            }
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
        Service::Health
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
