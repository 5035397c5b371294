//! Commands, their bytes and their ends.

use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::io::AsyncBufReadExt as _;

use super::*;

/// Bytes of what counts as large: many windows, and more than any buffer on the way.
const LARGE: usize = 50 << 20;

#[tokio::test]
async fn commands_have_their_output_and_their_exit() {
    let guest = Guest::new().await;
    let ran = guest.run(&["echo out; echo err >&2; exit 7"]).await;
    assert_eq!((text(&ran.stdout), text(&ran.stderr)), ("out\n".into(), "err\n".into()));
    assert_eq!(ran.status.code(), Some(7));
    assert_eq!(guest.run(&["true"]).await.status.code(), Some(0));
    // The shell of the command line tells of a signal as a code; one that dies of it, as such.
    assert_eq!(guest.run(&["sh -c 'kill -9 $$'; exit $?"]).await.status.code(), Some(137));
    assert_eq!(guest.run(&["kill -9 $$"]).await.status.code(), Some(255));
    assert_eq!(guest.run(&["/no/such/thing"]).await.status.code(), Some(127));
    let ran = guest.run(&["echo $FROM_GUEST $USER; pwd -P"]).await;
    assert!(text(&ran.stdout).starts_with("guest root\n"), "{ran:?}");
}

#[tokio::test]
async fn every_cipher_works_and_keys_are_changed_on_the_way() {
    let guest = Guest::new().await;
    let ciphers =
        ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com"];
    for cipher in ciphers {
        let mut ssh = guest.client("ssh");
        // New keys after each megabyte, in both directions.
        ssh.args(["-c", cipher, "-oRekeyLimit=1M", "root@127.0.0.1", "cat"]);
        let sent = noise(8 << 20);
        assert!(round_trip(ssh, &sent).await == sent, "{cipher}");
    }
}

#[tokio::test]
async fn large_data_comes_whole_both_ways() {
    let guest = Guest::new().await;
    let bytes = noise(LARGE);
    let file = guest.path("file");
    let ssh = guest.ssh(&[&format!("cat > {}", file.display())]);
    assert_eq!(round_trip(ssh, &bytes).await, b"");
    assert!(std::fs::read(&file).unwrap() == bytes, "what was sent");
    let back = guest.run(&[&format!("cat {}", file.display())]).await;
    assert!(back.stdout == bytes, "what was fetched");
    let sum = round_trip(guest.ssh(&["sha256sum"]), &bytes).await;
    let wanted: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text(&sum).starts_with(&wanted));
}

/// A command that writes far more than it reads must get room for that while its input waits.
#[tokio::test]
async fn a_command_may_write_more_than_it_reads() {
    let guest = Guest::new().await;
    let lines = "x\n".repeat(200_000);
    let filter = "while read line; do printf '%0200d\\n' 0; done";
    let back = round_trip(guest.ssh(&[&format!("bash -c \"{filter}\"")]), lines.as_bytes()).await;
    assert_eq!(back.len(), 200_000 * 201);
}

#[tokio::test]
async fn a_stuck_channel_stops_no_other() {
    let guest = Guest::new().await;
    let socket = guest.path("control");
    let control = format!("-oControlPath={}", socket.display());
    let mut master = guest.client("ssh");
    // Reads nothing of what it is sent, as long as nobody lets it.
    let stuck = "echo ready; read line < gate; cat | wc -c";
    let gate = guest.path("home/gate");
    let made = std::process::Command::new("mkfifo").arg(&gate).status().unwrap();
    assert!(made.success());
    let stuck = format!("cd {}; {stuck}", guest.path("home").display());
    master.args([&control, "-oControlMaster=yes", "root@127.0.0.1", &stuck]);
    let mut master = master.stdin(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (master.stdin.take().unwrap(), master.stdout.take().unwrap());
    let mut ready = [0; 6];
    within(output.read_exact(&mut ready)).await.unwrap();
    let flood = tokio::spawn(async move {
        input.write_all(&noise(4 << 20)).await.unwrap();
    });
    for round in 0..3 {
        let mut other = guest.client("ssh");
        other.args([&control, "root@127.0.0.1", &format!("echo other {round}")]);
        let ran = within(other.output()).await.unwrap();
        assert_eq!(text(&ran.stdout), format!("other {round}\n"));
    }
    std::fs::write(&gate, "go\n").unwrap();
    let mut counted = String::new();
    within(output.read_to_string(&mut counted)).await.unwrap();
    within(flood).await.unwrap();
    assert_eq!(counted.trim(), (4 << 20).to_string());
    assert!(within(master.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_terminal_is_one() {
    let guest = Guest::new().await;
    let mut ssh = guest.client("ssh");
    ssh.args(["-tt", "-oSetEnv=LC_TEST=yes LD_PRELOAD=no", "root@127.0.0.1"]);
    ssh.arg("tty; echo $TERM $LC_TEST $LD_PRELOAD; stty size; kill -HUP $$");
    ssh.env("TERM", "vt100");
    let ran = within(ssh.output()).await.unwrap();
    let said = text(&ran.stdout);
    assert!(said.starts_with("/dev/pts/"), "{said}");
    assert!(said.contains("vt100 yes\r\n"), "{said}");
    assert_eq!(ran.status.code(), Some(255));
}

#[tokio::test]
async fn a_terminal_follows_the_clients() {
    let guest = Guest::new().await;
    let near = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::unlockpt(&near).unwrap();
    let far = rustix::pty::ioctl_tiocgptpeer(&near, OpenptFlags::RDWR | OpenptFlags::NOCTTY);
    let size = |ws_row, ws_col| Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&near, size(31, 97)).unwrap();
    let mut ssh = guest.client("ssh");
    ssh.args(["-tt", "root@127.0.0.1"]);
    ssh.arg("trap 'stty size; exit 3' WINCH; stty size; sleep 1000 & wait");
    let mut client = ssh.stdin(far.unwrap()).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(within(lines.next_line()).await.unwrap().as_deref(), Some("31 97"));
    rustix::termios::tcsetwinsize(&near, size(42, 120)).unwrap();
    // It is not the client's controlling terminal, so nobody else tells it.
    let pid = Pid::from_raw(client.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::WINCH).unwrap();
    assert_eq!(within(lines.next_line()).await.unwrap().as_deref(), Some("42 120"));
    assert_eq!(within(client.wait()).await.unwrap().code(), Some(3));
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_commands_along() {
    let mut guest = Guest::new().await;
    // Tells of the hang-up, and leaves something that does not care about it.
    let told = guest.path("told");
    let command = format!(
        "trap 'echo hup > {}; exit' HUP; echo $$; while :; do read x; done",
        told.display()
    );
    for terminal in ["-tt", "-T"] {
        let _ = std::fs::remove_file(&told);
        let mut ssh = guest.client("ssh");
        let mut client =
            ssh.args([terminal, "root@127.0.0.1", &command]).stdin(Stdio::piped()).spawn().unwrap();
        let mut lines = tokio::io::BufReader::new(client.stdout.take().unwrap());
        let mut line = String::new();
        within(lines.read_line(&mut line)).await.unwrap();
        let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        within(client.kill()).await.unwrap();
        within(guest.ended.recv()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&told).unwrap(), "hup\n", "{terminal}");
        assert!(rustix::process::test_kill_process(pid).is_err(), "{terminal}");
        assert_eq!(guest.context_commands().await, 0);
    }
}
