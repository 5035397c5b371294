//! The guest link under load: a virtio-serial port with thousands of small streams and bulk in
//! both directions at once, every byte accounted for.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use banger_e2e::Home;
use banger_link::framed::framed;
use banger_proto::guest::frame::Kind;
use banger_proto::guest::{Health, InitState, Service};
use banger_proto::supervisor::LINK_SOCKET;
use sha2::{Digest, Sha256};
use tokio::net::UnixStream;

/// Small requests at least, each a stream of its own; more while bulk goes on.
const SMALL: usize = 3000;
/// Bytes of each bulk transfer.
const BULK: usize = 6 << 20;

/// Bytes that no layer can guess or compress, from a generator that the seed chooses (Numerical
/// Recipes' linear congruential one).
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..BULK).map(|_| next()).collect()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs `argv` in the VM with `input`; its standard output.
fn pipe(home: &Home, argv: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = home.banger_command([&["vm", "exec", "soak", "--"], argv].concat());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("banger starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut output = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("it takes all"));
        child.stdout.take().expect("piped").read_to_end(&mut output).expect("output");
    });
    assert!(child.wait().expect("it ends").success(), "{argv:?}");
    output
}

/// Asks for the guest's health, each time on a stream of its own and several at a time, until
/// `done` and at least [`SMALL`] times; how often.
async fn ask_often(link: &Path, boot_id: &str, done: &AtomicBool) -> usize {
    const AT_ONCE: usize = 4;
    let mut asked = 0;
    while asked < SMALL || !done.load(Ordering::Relaxed) {
        let answers = (0..AT_ONCE).map(|_| ask(link));
        for health in futures_util::future::join_all(answers).await {
            assert_eq!((health.boot_id.as_str(), health.state), (boot_id, InitState::Running));
        }
        asked += AT_ONCE;
    }
    asked
}

async fn ask(link: &Path) -> Health {
    let stream = UnixStream::connect(link).await.expect("a link");
    let (mut reader, mut writer) = framed(stream);
    writer.send_json(Kind::Open, &Service::Health).await.expect("it takes a request");
    let answer = reader.next().await.expect("frames").expect("an answer");
    assert_eq!(answer.kind, Kind::Accepted);
    assert_eq!(reader.next().await.expect("an end"), None);
    answer.parse().expect("health")
}

#[test]
fn the_link_loses_nothing_under_load() {
    let home = Home::new();
    let _ = home.create("soak", &["--wait", "system"]);
    let shown = home.show("soak");
    let boot_id = shown["guest"]["boot_id"].as_str().expect("boot id").to_owned();
    let vm: PathBuf = home.runtime_dir().join("vms").join(shown["id"].as_str().expect("id"));
    let link = vm.join(LINK_SOCKET);

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let small = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("runtime").block_on(ask_often(&link, &boot_id, &done))
        });
        let bulk = [
            // In, and its digest back.
            scope.spawn(|| {
                let input = noise(1);
                let said = pipe(&home, &["sha256sum"], &input);
                assert_eq!(said, format!("{}  -\n", digest(&input)).into_bytes());
            }),
            // Out, of what was brought in before.
            scope.spawn(|| {
                let input = noise(2);
                assert!(pipe(&home, &["sh", "-c", "cat >/tmp/noise"], &input).is_empty());
                assert_eq!(digest(&pipe(&home, &["cat", "/tmp/noise"], b"")), digest(&input));
            }),
            // Both at once on one stream.
            scope.spawn(|| {
                let input = noise(3);
                assert_eq!(digest(&pipe(&home, &["cat"], &input)), digest(&input));
            }),
        ];
        let ended: Vec<_> = bulk.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Relaxed);
        let asked = small.join().expect("every small request was answered");
        assert!(asked >= SMALL);
        assert!(ended.iter().all(Result::is_ok), "a transfer failed");
    });
    // One and the same boot: nothing had to begin anew.
    assert_eq!(home.show("soak")["guest"]["boot_id"], boot_id.as_str());
    home.banger(["vm", "delete", "-f", "soak"]).expect_code(0);
    home.expect_nothing_left();
}
