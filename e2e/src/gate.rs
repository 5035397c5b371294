//! A gate in front of a server: counts what passes, and stops it at an exact byte.
//!
//! ```text
//!                requests, noted before they are passed on
//!   client ───────────────────────▶ gate ───────────────────▶ server
//!          ◀───────────────────────      ◀───────────────────
//!            answers, counted; after `hold_after(n)` bytes of
//!            them nothing passes until `cut` ends those that wait
//! ```
//!
//! So a test knows what was asked for without racing with a server's log, and can kill a program
//! at the same point of a download every time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How long a test waits for a gate to fill up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A gate. It lives as long as the program of the test.
#[derive(Debug)]
pub struct Gate {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The first lines of all requests, with the `Range` asked for.
    requests: Vec<String>,
    /// Bytes of answers that have passed.
    passed: u64,
    /// How many of them have been asked about.
    taken: u64,
    /// How many bytes may pass; all when absent.
    limit: Option<u64>,
    /// Whether something waits at the gate.
    waiting: bool,
    /// Whether a client has ended a connection since the gate was closed.
    left: bool,
    /// How often everything was cut. A connection ends when this changes.
    cuts: u64,
}

impl Gate {
    /// Puts a gate in front of the server at `address` (`127.0.0.1:PORT`).
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn before(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("its address").to_string();
        let shared = Arc::<Shared>::default();
        let (target, state) = (address.to_owned(), shared.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(&target) {
                    serve(&client, &server, &state);
                }
            }
        });
        Self { address: own, shared }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Lets `bytes` more of the answers pass, and nothing after them.
    pub fn hold_after(&self, bytes: u64) {
        let mut state = self.shared.lock();
        state.limit = Some(state.passed + bytes);
        state.waiting = false;
        state.left = false;
    }

    /// Ends the connections that wait, and lets everything pass from then on.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.limit = None;
        state.cuts += 1;
        self.shared.changed.notify_all();
    }

    /// Waits until something is held back.
    ///
    /// # Panics
    /// When nothing is within two minutes.
    #[track_caller]
    pub fn wait_until_held(&self) {
        self.wait_until("something is held back", |state| state.waiting);
    }

    /// Waits until a client ends its connection, after the gate was told to hold back.
    ///
    /// # Panics
    /// When none does within two minutes.
    #[track_caller]
    pub fn wait_until_left(&self) {
        self.wait_until("a client goes away", |state| state.left);
    }

    #[track_caller]
    fn wait_until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let state = self.shared.lock();
        let waiting = |state: &mut State| !holds(state);
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, waiting);
        let (state, timeout) = waited.expect("no thread of the gate panics");
        assert!(!timeout.timed_out(), "not after {} bytes: {what}", state.passed);
    }

    /// Takes the requests since the last call: `GET /v2/… bytes=100-`, the range only where one
    /// was asked for.
    #[must_use]
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().requests)
    }

    /// Takes the number of bytes of answers, heads included, that have passed since the last call.
    #[must_use]
    pub fn take_passed(&self) -> u64 {
        let mut state = self.shared.lock();
        let new = state.passed - state.taken;
        state.taken = state.passed;
        new
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the gate panics")
    }

    /// Waits until some of `wanted` bytes may pass and says how many; none once the connection,
    /// which began after so many `cuts`, is over.
    fn admit(&self, wanted: usize, cuts: u64) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.cuts != cuts {
                return None;
            }
            let left = state.limit.map_or(u64::MAX, |limit| limit.saturating_sub(state.passed));
            let admitted = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
            if admitted > 0 {
                state.passed += admitted as u64;
                return Some(admitted);
            }
            state.waiting = true;
            self.changed.notify_all();
            state = self.changed.wait(state).expect("no thread of the gate panics");
        }
    }
}

/// Carries one connection until either side ends it.
fn serve(client: &TcpStream, server: &TcpStream, shared: &Arc<Shared>) {
    let (Ok(mut from_client), Ok(mut to_client)) = (client.try_clone(), client.try_clone()) else {
        return;
    };
    let (Ok(mut to_server), Ok(mut from_server)) = (server.try_clone(), server.try_clone()) else {
        return;
    };
    let requests = shared.clone();
    std::thread::spawn(move || {
        let mut head = Vec::new();
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut bytes) {
            head.extend_from_slice(&bytes[..count]);
            note_requests(&mut head, &requests);
            if to_server.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Both);
        requests.lock().left = true;
        requests.changed.notify_all();
    });
    let (answers, cuts) = (shared.clone(), shared.lock().cuts);
    std::thread::spawn(move || {
        let mut bytes = [0; 64 << 10];
        while let Ok(count @ 1..) = from_server.read(&mut bytes) {
            if pass(&bytes[..count], &mut to_client, &answers, cuts).is_none() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
}

/// Passes an answer's `bytes` on as they are admitted; nothing once the connection is over.
fn pass(mut bytes: &[u8], client: &mut TcpStream, shared: &Shared, cuts: u64) -> Option<()> {
    while !bytes.is_empty() {
        let admitted = shared.admit(bytes.len(), cuts)?;
        client.write_all(&bytes[..admitted]).ok()?;
        bytes = &bytes[admitted..];
    }
    Some(())
}

/// Notes the complete request heads in `received` and takes them out. Requests that download
/// have no bodies.
fn note_requests(received: &mut Vec<u8>, shared: &Shared) {
    while let Some(end) = received.windows(4).position(|part| part == b"\r\n\r\n") {
        let head: Vec<u8> = received.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let mut noted = lines.next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
        for line in lines {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("range")
            {
                noted.push(' ');
                noted.push_str(value.trim());
            }
        }
        shared.lock().requests.push(noted);
    }
}
