//! The pump with byte streams that behave in one chosen way, and with yamux on two of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use bytes::Bytes;
use futures_util::io::{AsyncRead as _, AsyncWrite as _};
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::marker::MarkerKind;
use crate::mux::{SharedPump, lock};

const MAGIC: Magic = Magic::from_bytes([0xAB; 16]);

/// A byte stream that gives `input` and then `at_end`, and takes everything or nothing.
#[derive(Debug)]
struct Script {
    input: Bytes,
    at_end: fn() -> Poll<io::Result<()>>,
    write: fn(usize) -> Poll<io::Result<usize>>,
    written: Vec<usize>,
}

impl Script {
    fn new(input: impl Into<Bytes>) -> Self {
        Self {
            input: input.into(),
            at_end: || Poll::Pending,
            write: |n| Poll::Ready(Ok(n)),
            written: Vec::new(),
        }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return (self.at_end)();
        }
        let n = buf.remaining().min(self.input.len());
        buf.put_slice(&self.input.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.push(buf.len());
        (self.write)(buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = bufs.iter().map(|buf| buf.len()).sum();
        self.written.push(n);
        (self.write)(n)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn session(io: Script) -> Pump<Script> {
    let mut pump = Pump::new(io, MAGIC);
    pump.begin_session();
    pump
}

fn read(pump: &mut Pump<Script>, room: usize) -> Option<Vec<u8>> {
    let mut into = vec![0; room];
    match pump.poll_read(&mut context(), &mut into) {
        Poll::Ready(n) => Some(into[..n.unwrap()].to_vec()),
        Poll::Pending => None,
    }
}

fn hello() -> Marker {
    Marker { kind: MarkerKind::Hello, nonce: [5; 16], generation: 1 }
}

#[test]
fn a_marker_ends_the_session_and_what_follows_stays() {
    // Both ways of reading: through the input, and into the reader's own buffer.
    for room in [12, READ_CHUNK] {
        let bytes = [b"session".as_slice(), &hello().encode(MAGIC), b"next"].concat();
        let mut pump = session(Script::new(bytes));
        assert_eq!(read(&mut pump, room), Some(vec![]));
        assert!(pump.is_interrupted());
        let marker = pump.poll_marker(&mut context());
        assert!(matches!(marker, Poll::Ready(Ok(marker)) if marker == hello()));
        pump.begin_session();
        assert_eq!(read(&mut pump, room), Some(b"next".to_vec()));
    }
}

#[test]
fn a_marker_behind_the_one_that_starts_a_session_ends_it() {
    let mut pump = Pump::new(Script::new([hello().encode(MAGIC); 2].concat()), MAGIC);
    assert!(pump.poll_marker(&mut context()).is_ready());
    pump.begin_session();
    assert!(pump.is_interrupted());
    assert!(pump.poll_marker(&mut context()).is_ready());
}

#[test]
fn a_marker_is_found_while_the_session_does_not_read() {
    let mut bytes = vec![0; 3 * RELIEF_CHUNK];
    bytes.extend(hello().encode(MAGIC));
    let mut pump = session(Script::new(bytes));
    pump.relieve(&mut context());
    assert!(pump.is_interrupted());
    assert!(pump.poll_marker(&mut context()).is_ready());
}

#[test]
fn relief_is_bounded_and_given_back() {
    let mut pump = session(Script::new(vec![1; RELIEF_LIMIT + (1 << 20)]));
    pump.relieve(&mut context());
    assert!(pump.input.len() >= RELIEF_LIMIT && pump.input.len() <= RELIEF_LIMIT + RELIEF_CHUNK);
    let mut left = RELIEF_LIMIT + (1 << 20);
    while let Some(bytes) = read(&mut pump, 1 << 20) {
        left -= bytes.len();
    }
    assert_eq!(left, 0);
    assert!(pump.input.capacity() <= READ_CHUNK);
}

#[test]
fn a_session_that_waits_for_input_is_not_relieved() {
    let mut pump = session(Script::new(vec![]));
    assert_eq!(read(&mut pump, 12), None);
    pump.io.input = vec![1; 10].into();
    pump.relieve(&mut context());
    assert!(pump.input.is_empty());
    pump.begin_round();
    pump.relieve(&mut context());
    assert_eq!(pump.input.len(), 10);
}

#[test]
fn last_words_are_read_after_writing_has_failed() {
    let mut pump = session(Script::new(&b"exit 7"[..]));
    pump.io.write = |_| Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
    let _ = pump.poll_write(&mut context(), b"x");
    assert!(matches!(pump.poll_flush(&mut context()), Poll::Ready(Ok(()))));
    assert_eq!(read(&mut pump, 12), Some(b"exit 7".to_vec()));
    assert_eq!(read(&mut pump, 12), Some(vec![]));
    let end = pump.take_end().unwrap().unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn small_writes_leave_together_and_large_ones_uncopied() {
    let mut pump = session(Script::new(vec![]));
    for bytes in [&[0; 12][..], &[0; 100], &[0; 12]] {
        assert!(pump.poll_write(&mut context(), bytes).is_ready());
    }
    assert!(pump.io.written.is_empty());
    assert!(pump.poll_flush(&mut context()).is_ready());
    assert_eq!(pump.io.written, [124]);
    let _ = pump.poll_write(&mut context(), &[0; 12]);
    let _ = pump.poll_write(&mut context(), &[0; 60_000]);
    assert_eq!(pump.io.written, [124, 60_012]);
}

#[test]
fn a_blocked_byte_stream_makes_the_session_wait() {
    let mut pump = session(Script::new(vec![]));
    pump.io.write = |_| Poll::Pending;
    let mut accepted = 0;
    while pump.poll_write(&mut context(), &[0; 1000]).is_ready() {
        accepted += 1000;
        assert!(!pump.write_waits());
    }
    assert!(pump.write_waits());
    assert!(accepted <= JOIN_LIMIT + 1000);
}

/// What yamux sees of a pump when its pings are sent, as those of other implementations are.
struct Bare(SharedPump<DuplexStream>);

impl futures_util::io::AsyncRead for Bare {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_read(cx, buf)
    }
}

impl futures_util::io::AsyncWrite for Bare {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// One end: it sends `to_send` bytes on a stream of its own, and counts what it receives.
struct End {
    pump: SharedPump<DuplexStream>,
    connection: yamux::Connection<Bare>,
    own: yamux::Stream,
    theirs: Option<yamux::Stream>,
    to_send: usize,
    received: usize,
}

impl End {
    fn new(io: DuplexStream, mode: yamux::Mode, to_send: usize) -> Self {
        let pump = Arc::new(Mutex::new(Pump::new(io, MAGIC)));
        lock(&pump).begin_session();
        let bare = Bare(pump.clone());
        let mut connection = yamux::Connection::new(bare, yamux::Config::default(), mode);
        let Poll::Ready(Ok(own)) = connection.poll_new_outbound(&mut context()) else {
            panic!("no stream")
        };
        Self { pump, connection, own, theirs: None, to_send, received: 0 }
    }

    fn poll(&mut self, cx: &mut Context<'_>, relieved: bool) {
        let chunk = [0; 16 << 10];
        while self.to_send > 0 {
            let n = chunk.len().min(self.to_send);
            match Pin::new(&mut self.own).poll_write(cx, &chunk[..n]) {
                Poll::Ready(n) => self.to_send -= n.unwrap(),
                Poll::Pending => break,
            }
        }
        lock(&self.pump).begin_round();
        while let Poll::Ready(stream) = self.connection.poll_next_inbound(cx) {
            self.theirs = Some(stream.unwrap().unwrap());
        }
        if relieved {
            lock(&self.pump).relieve(cx);
        }
        let mut into = [0; 16 << 10];
        if let Some(stream) = &mut self.theirs {
            while let Poll::Ready(n) = Pin::new(&mut *stream).poll_read(cx, &mut into) {
                self.received += n.unwrap();
            }
        }
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Lets both ends send 4 MiB to each other, until all has arrived or nothing moves any more.
/// Whether all arrived.
fn bulk_both_ways(relieved: bool) -> bool {
    const LEN: usize = 4 << 20;
    let (near, far) = duplex(4 << 10);
    let mut ends =
        [End::new(near, yamux::Mode::Client, LEN), End::new(far, yamux::Mode::Server, LEN)];
    let flags: [Arc<Flag>; 2] = Default::default();
    for flag in &flags {
        flag.0.store(true, Ordering::SeqCst);
    }
    loop {
        let mut moved = false;
        for (end, flag) in ends.iter_mut().zip(&flags) {
            if flag.0.swap(false, Ordering::SeqCst) {
                moved = true;
                end.poll(&mut Context::from_waker(&Waker::from(flag.clone())), relieved);
            }
        }
        if !moved {
            return ends.iter().all(|end| end.received == LEN);
        }
    }
}

#[test]
fn yamux_waits_for_itself_without_relief() {
    // When this fails yamux has been mended, and the cure can go.
    assert!(!bulk_both_ways(false));
}

#[test]
fn relief_cures_the_deadlock() {
    assert!(bulk_both_ways(true));
}
