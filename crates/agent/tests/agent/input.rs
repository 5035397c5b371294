//! Standard input that the command takes late or never: what it must not hold up.

use banger_proto::Code;
use banger_proto::guest::frame::{DATA_CHUNK, Kind};
use banger_proto::guest::{ExecRequest, STDIN_GRANT, STDIN_WINDOW, StdinTaken, TerminalSize};

use crate::exec::{ended, watch};
use crate::host::{Stream, configured, sh, start, within};

/// Far more than the window and all buffers on the way.
const OFFERED: usize = 2 << 20;

/// Far more than what an honest host can have on its way, and than any answer to a flood needs.
const FLOOD: usize = 64 << 20;

/// A command that never reads, with a terminal or without.
fn idle(terminal: bool) -> ExecRequest {
    let terminal = terminal.then_some(TerminalSize { rows: 24, cols: 80 });
    // Without line discipline, which would throw away what does not fit into a line.
    let script = "if [ -t 0 ]; then stty raw -echo; fi; echo ready; exec sleep 300";
    ExecRequest { stdin: true, terminal, ..sh(script) }
}

/// Starts a command that never reads and offers input until it has no room left.
async fn stuffed(terminal: bool) -> (u32, Stream) {
    let context = configured().await;
    let (started, mut stream) = start(&context, idle(terminal)).await;
    assert!(stream.next().await.unwrap().payload.starts_with(b"ready"));
    let mut sent = 0;
    let mut allowed = STDIN_WINDOW;
    while sent < OFFERED.min(allowed) {
        let piece = DATA_CHUNK.min(allowed - sent);
        stream.writer.send_bytes(Kind::Stdin, &vec![b'x'; piece]).await.unwrap();
        sent += piece;
        // A pipe takes 64 KiB and so is told of; a terminal takes less than a grant.
        if sent == allowed && !terminal {
            while allowed < sent + STDIN_GRANT && allowed < STDIN_WINDOW + STDIN_GRANT {
                let frame = stream.next().await.unwrap();
                assert_eq!(frame.kind, Kind::StdinTaken);
                allowed += frame.parse::<StdinTaken>().unwrap().bytes as usize;
            }
        }
    }
    assert!((STDIN_WINDOW..OFFERED).contains(&sent), "{sent}");
    (started.pid, stream)
}

#[tokio::test]
async fn a_signal_passes_input_nobody_reads() {
    for terminal in [false, true] {
        let (_, mut stream) = stuffed(terminal).await;
        stream.writer.send_bytes(Kind::Signal, &[15]).await.unwrap();
        assert_eq!(stream.finish().await.exit().shell_code(), 128 + 15);
    }
}

#[tokio::test]
async fn a_host_that_goes_is_noticed_behind_input_nobody_reads() {
    for terminal in [false, true] {
        let (pid, stream) = stuffed(terminal).await;
        let watched = watch(pid);
        drop(stream);
        ended([watched]).await;
    }
}

#[tokio::test]
async fn a_flood_is_refused_and_ends_the_command() {
    let context = configured().await;
    let (started, Stream { reader, mut writer }) = start(&context, idle(false)).await;
    let watched = watch(started.pid);
    let flood = tokio::spawn(async move {
        let mut sent = 0;
        while sent < FLOOD && writer.send_bytes(Kind::Stdin, &[0; DATA_CHUNK]).await.is_ok() {
            sent += DATA_CHUNK;
        }
        sent
    });
    let (_, unused) = banger_link::framed::framed(tokio::io::duplex(1).0);
    let mut stream = Stream { reader, writer: unused };
    let last = loop {
        let frame = stream.next().await.expect("a refusal");
        if !matches!(frame.kind, Kind::StdinTaken | Kind::Stdout) {
            break frame;
        }
    };
    assert_eq!(last.kind, Kind::Refused);
    assert_eq!(last.parse::<banger_proto::Problem>().unwrap().code, Code::BadRequest);
    assert_eq!(stream.next().await, None);
    ended([watched]).await;
    // What the agent took in is what it could have stored at most: the window, what the pipe
    // had taken, and what the transport holds.
    let sent = within(flood).await.unwrap();
    assert!(sent <= STDIN_WINDOW + 4 * DATA_CHUNK, "{sent}");
}

#[tokio::test]
async fn input_is_told_in_steps() {
    let context = configured().await;
    let cat = || ExecRequest { stdin: true, ..sh("cat >/dev/null") };
    // Typing is not answered.
    let (_, mut stream) = start(&context, cat()).await;
    for _ in 0..100 {
        stream.writer.send_bytes(Kind::Stdin, b"typed\n").await.unwrap();
    }
    stream.writer.send_bytes(Kind::StdinEnd, &[]).await.unwrap();
    assert!(stream.finish().await.grants.is_empty());

    let done = start(&context, cat()).await.1.finish_with_input(&vec![0; OFFERED]).await;
    assert!(done.grants.iter().all(|bytes| *bytes >= STDIN_GRANT as u64), "{:?}", done.grants);
    let told: u64 = done.grants.iter().sum();
    assert!(told >= (OFFERED - STDIN_WINDOW) as u64 && told <= OFFERED as u64, "{told}");
}
