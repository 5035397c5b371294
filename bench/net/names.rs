//! How fast names are answered: the daemon's name server on a runtime like the daemon's, on one
//! processor, and who asks on another one, by UDP over the loopback with many questions under way.
//!
//! Every answer is checked. Beside the server a task counts how late the runtime's other work comes to
//! its turn. Prints one line of JSON; the script beside this file judges it.

use std::error::Error;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use banger_daemon::dns::{Names, Record, Zone};
use banger_daemon::lifecycle::build_runtime;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::Timespec;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// VMs with names.
const VMS: u8 = 250;
/// Questions under way.
const WINDOW: usize = 128;
/// How often the other work wants its turn.
const TURN: Duration = Duration::from_millis(1);
/// The share of all that a 99th percentile is not below.
const MOST: f64 = 0.99;

fn main() -> Result<()> {
    let seconds: u64 = std::env::args().nth(1).map_or(Ok(2), |text| text.parse())?;
    let runs: usize = std::env::args().nth(2).map_or(Ok(5), |text| text.parse())?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        pin(1)?;
        build_runtime()?.block_on(serve(&tell))
    });
    let server = told.recv()?;
    pin(0)?;
    let mut rates = Vec::new();
    let mut latencies = Vec::new();
    let mut lost = 0;
    for _ in 0..runs {
        let asked = ask(server, Duration::from_secs(seconds))?;
        rates.push(asked.per_second);
        lost += asked.lost;
        latencies.extend(asked.latencies);
    }
    latencies.sort();
    let mut late = LATENESS.lock().map_err(|_| "poisoned")?.clone();
    late.sort();
    println!(
        "{}",
        serde_json::json!({
            "per_second": rates,
            "lost": lost,
            "window": WINDOW,
            "latency_us": {"median": part(&latencies, 0.5), "p99": part(&latencies, MOST)},
            "other_work_late_us": {
                "median": part(&late, 0.5),
                "p99": part(&late, MOST),
            },
        })
    );
    Ok(())
}

/// How late each turn of the other work was.
static LATENESS: std::sync::Mutex<Vec<Duration>> = std::sync::Mutex::new(Vec::new());

/// The value that `share` of all do not exceed, in microseconds.
fn part(all: &[Duration], share: f64) -> Option<f64> {
    let place = (all.len().checked_sub(1)? as f64 * share) as usize;
    all.get(place).map(|value| value.as_secs_f64() * 1e6)
}

/// Keeps this thread on a processor; where there is one only, on that.
fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu % std::thread::available_parallelism()?.get());
    Ok(sched_setaffinity(None, &set)?)
}

fn guest(vm: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, 0, vm)
}

async fn serve(tell: &mpsc::Sender<SocketAddr>) -> Result<()> {
    let records = (1..=VMS)
        .map(|vm| {
            let name = format!("vm-{vm}").parse()?;
            Ok(Record { name, guest: None, host: Some(guest(vm)), nat: false })
        })
        .collect::<Result<Vec<_>>>()?;
    let names = Names::default();
    names.publish(Zone::new(records, None));
    let server = names.serve_host(Some((Ipv4Addr::LOCALHOST, 0).into())).ok_or("no port")?;
    tell.send(server.address())?;
    loop {
        let since = tokio::time::Instant::now();
        tokio::time::sleep(TURN).await;
        let late = since.elapsed().saturating_sub(TURN);
        LATENESS.lock().map_err(|_| "poisoned")?.push(late);
    }
}

/// What one run found.
struct Asked {
    per_second: f64,
    lost: usize,
    latencies: Vec<Duration>,
}

/// The question for the address of `vm`, under that number.
fn question(id: u16, vm: u8) -> Vec<u8> {
    let label = format!("vm-{vm}");
    let mut packet = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    packet.push(u8::try_from(label.len()).unwrap_or_default());
    packet.extend_from_slice(label.as_bytes());
    packet.extend_from_slice(b"\x02vm\0\0\x01\0\x01");
    packet
}

fn ask(server: SocketAddr, lasting: Duration) -> Result<Asked> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    let questions: Vec<_> = (1..=VMS).map(|vm| question(0, vm)).collect();
    // When the question with the number of each place was asked, and for which VM.
    let mut asked: Vec<Option<(Instant, u8)>> = vec![None; WINDOW];
    let mut free: Vec<u16> = (0..u16::try_from(WINDOW)?).collect();
    let (mut latencies, mut lost, mut next) = (Vec::new(), 0, 0_u8);
    let mut reply = [0; 512];
    let since = Instant::now();
    while since.elapsed() < lasting {
        while let Some(id) = free.pop() {
            next = next % VMS + 1;
            let mut packet = questions[usize::from(next) - 1].clone();
            packet[..2].copy_from_slice(&id.to_be_bytes());
            socket.send(&packet)?;
            asked[usize::from(id)] = Some((Instant::now(), next));
        }
        loop {
            let length = match socket.recv(&mut reply) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            let id = u16::from_be_bytes([reply[0], reply[1]]);
            let place = asked.get_mut(usize::from(id)).and_then(Option::take);
            let (when, vm) = place.ok_or("an answer to nothing")?;
            // One answer, no failure, and its address at the end.
            let good = reply[3] & 0xf == 0 && reply[6..8] == [0, 1];
            if !good || reply[length - 4..length] != guest(vm).octets() {
                return Err(format!("a wrong answer for vm-{vm}").into());
            }
            latencies.push(when.elapsed());
            free.push(id);
        }
        if free.is_empty() {
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&second))? == 0 {
                // Nothing comes any more: what is under way is lost.
                for (id, place) in asked.iter_mut().enumerate() {
                    if place.take().is_some() {
                        lost += 1;
                        free.push(u16::try_from(id)?);
                    }
                }
            }
        }
    }
    let per_second = latencies.len() as f64 / since.elapsed().as_secs_f64();
    Ok(Asked { per_second, lost, latencies })
}
