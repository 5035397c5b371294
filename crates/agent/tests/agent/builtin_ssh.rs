//! The agent's own SSH server with OpenSSH's clients: `ssh`, `scp` and `sftp` as they are.

use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use banger_agent::{Context, Hosted, serve_ssh};
use banger_proto::guest::Service;
use rustix::process::Pid;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::host::{Stream, config, within};

/// Bytes of what counts as large: many windows, and more than any buffer on the way.
const LARGE: usize = 50 << 20;

/// A guest whose server listens for the client on a port of this host.
struct Guest {
    dir: TempDir,
    port: u16,
    context: Arc<Context>,
    /// One task for each connection.
    connections: tokio::task::JoinHandle<()>,
    ended: tokio::sync::mpsc::UnboundedReceiver<()>,
}

fn keygen(path: &Path, kind: &[&str]) -> String {
    let status = std::process::Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-t"])
        .args(kind)
        .arg("-f")
        .arg(path)
        .status();
    assert!(status.expect("ssh-keygen").success());
    std::fs::read_to_string(format!("{}.pub", path.display())).unwrap()
}

impl Guest {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let host = keygen(&at("host"), &["ed25519"]);
        let words: Vec<_> = host.split(' ').take(2).collect();
        std::fs::write(at("known_hosts"), format!("guest {}\n", words.join(" "))).unwrap();
        let user = keygen(&at("user"), &["ed25519"]);
        let restricted = format!("# a comment\ncommand=\"/bin/true\" {}", at_restricted(&dir));
        std::fs::write(at("authorized_keys"), format!("{restricted}{user}")).unwrap();
        std::fs::create_dir(at("home")).unwrap();

        let hosted = Hosted::default().with_own_program(env!("CARGO_BIN_EXE_banger-agent"));
        let context = Context::hosted(hosted);
        let mut config = config();
        config.env.insert("HOME".to_owned(), at("home").display().to_string());
        let service = Service::Configure(Box::new(config));
        Stream::open(&context, &service).await.accepted::<serde_json::Value>().await;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let host_key = std::fs::read_to_string(at("host")).unwrap();
        let (keys, served) = (at("authorized_keys"), Arc::clone(&context));
        let (tell, ended) = tokio::sync::mpsc::unbounded_channel();
        let connections = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (context, host_key) = (Arc::clone(&served), host_key.clone());
                let (keys, tell) = (keys.clone(), tell.clone());
                tasks.spawn(async move {
                    serve_ssh(&context, &host_key, &keys, stream).await.unwrap();
                    let _ = tell.send(());
                });
            }
        });
        Self { dir, port, context, connections, ended }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A client with nothing of this host's own configuration.
    fn client(&self, program: &str) -> Command {
        let mut client = Command::new(program);
        client.args(["-F", "none"]);
        let option = |name: &str, value: &str| format!("-o{name}={value}");
        let known = self.path("known_hosts").display().to_string();
        client.args([
            option("Port", &self.port.to_string()),
            option("HostKeyAlias", "guest"),
            option("UserKnownHostsFile", &known),
            option("GlobalKnownHostsFile", "/dev/null"),
            option("StrictHostKeyChecking", "yes"),
            option("IdentityFile", &self.path("user").display().to_string()),
            option("IdentitiesOnly", "yes"),
            option("BatchMode", "yes"),
            option("LogLevel", "INFO"),
        ]);
        client.env_remove("SSH_AUTH_SOCK").kill_on_drop(true);
        client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        client
    }

    fn ssh(&self, args: &[&str]) -> Command {
        let mut ssh = self.client("ssh");
        ssh.arg("root@127.0.0.1").args(args);
        ssh
    }

    async fn run(&self, args: &[&str]) -> Output {
        within(self.ssh(args).output()).await.unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.connections.abort();
    }
}

/// A key that may log in, with restrictions that nobody here understands.
fn at_restricted(dir: &TempDir) -> String {
    keygen(&dir.path().join("restricted"), &["ed25519"])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that no compression and no repetition hides a mistake in.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut block = Sha256::digest(b"seed");
    while bytes.len() < length {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    bytes.truncate(length);
    bytes
}

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
async fn old_algorithms_are_not_spoken() {
    let guest = Guest::new().await;
    for weak in [
        ["-oCiphers=aes256-ctr", "no matching cipher"],
        ["-oKexAlgorithms=diffie-hellman-group14-sha256", "no matching key exchange"],
        ["-oHostKeyAlgorithms=rsa-sha2-512", "no matching host key"],
    ] {
        let mut ssh = guest.client("ssh");
        ssh.args([weak[0], "root@127.0.0.1", "true"]);
        let ran = within(ssh.output()).await.unwrap();
        assert_eq!(ran.status.code(), Some(255));
        assert!(text(&ran.stderr).contains(weak[1]), "{}", text(&ran.stderr));
    }
}

/// Sends all of `bytes` to a client while reading all it answers.
async fn round_trip(mut client: Command, bytes: &[u8]) -> Vec<u8> {
    let mut client = client.stdin(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let send = async {
        input.write_all(bytes).await.unwrap();
        drop(input);
    };
    let mut back = Vec::new();
    let (_, read, ended) =
        within(async { tokio::join!(send, output.read_to_end(&mut back), client.wait()) }).await;
    read.unwrap();
    assert!(ended.unwrap().success());
    back
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
async fn only_the_key_lets_in_and_only_as_root() {
    let guest = Guest::new().await;
    let attempt = async |user: &str, options: &[&str]| {
        let mut ssh = guest.client("ssh");
        // The first value that ssh is given counts.
        let mut all = Command::new("ssh");
        all.args(options).args(ssh.as_std_mut().get_args());
        all.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        let ran = within(all.arg(format!("{user}@127.0.0.1")).arg("true").output()).await.unwrap();
        (ran.status.code(), text(&ran.stderr))
    };
    let identity = |name: &str| format!("-oIdentityFile={}", guest.path(name).display());
    keygen(&guest.path("stranger"), &["ed25519"]);
    let denied = |said: &str| said.contains("Permission denied (publickey).");
    for (user, options) in [
        ("nobody", vec![]),
        ("dev", vec![]),
        ("root", vec![identity("stranger"), "-oIdentityFile=none".to_owned()]),
        ("root", vec!["-oPreferredAuthentications=password".to_owned()]),
        ("root", vec!["-oPreferredAuthentications=keyboard-interactive".to_owned()]),
    ] {
        let mut options: Vec<_> = options.iter().map(String::as_str).collect();
        if options.first().is_some_and(|option| option.contains("stranger")) {
            options.pop();
            std::fs::rename(guest.path("user"), guest.path("kept")).unwrap();
        }
        let (code, said) = attempt(user, &options).await;
        assert_eq!(code, Some(255), "{user} {options:?}");
        assert!(denied(&said), "{user} {options:?}: {said}");
        let _ = std::fs::rename(guest.path("kept"), guest.path("user"));
    }
    // The line of this one has options, so it does not count.
    std::fs::rename(guest.path("restricted"), guest.path("user")).unwrap();
    std::fs::rename(guest.path("restricted.pub"), guest.path("user.pub")).unwrap();
    assert!(denied(&attempt("root", &[]).await.1));
}

#[tokio::test]
async fn users_keys_may_be_of_other_kinds() {
    let guest = Guest::new().await;
    let kinds: [&[&str]; 3] =
        [&["rsa", "-b", "2048"], &["ecdsa", "-b", "256"], &["ecdsa", "-b", "384"]];
    for kind in kinds {
        for name in ["user", "user.pub"] {
            std::fs::remove_file(guest.path(name)).unwrap();
        }
        let public = keygen(&guest.path("user"), kind);
        std::fs::write(guest.path("authorized_keys"), public).unwrap();
        let ran = guest.run(&["true"]).await;
        assert_eq!(ran.status.code(), Some(0), "{kind:?}: {}", text(&ran.stderr));
    }
}

#[tokio::test]
async fn files_and_trees_are_copied_with_modes_and_times() {
    let guest = Guest::new().await;
    let here = guest.path("here");
    std::fs::create_dir_all(here.join("sub")).unwrap();
    std::fs::write(here.join("sub/large"), noise(3 << 20)).unwrap();
    std::fs::write(here.join("script with space"), "#!/bin/sh\n").unwrap();
    let set = |name: &str, mode: u32, time: u64| {
        let file = std::fs::File::open(here.join(name)).unwrap();
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
        file.set_modified(time).unwrap();
    };
    set("sub/large", 0o640, 1_000_000_000);
    set("script with space", 0o755, 1_234_567_890);
    set("sub", 0o710, 1_111_111_111);
    let remote = |name: &str| format!("root@127.0.0.1:{}", guest.path(name).display());
    for (from, to) in
        [(here.display().to_string(), remote("there")), (remote("there"), path(&guest, "back"))]
    {
        let mut scp = guest.client("scp");
        let ran = within(scp.args(["-p", "-r", &from, &to]).output()).await.unwrap();
        assert!(ran.status.success(), "{}", text(&ran.stderr));
    }
    let trees = [path(&guest, "here"), path(&guest, "back")];
    let diff = std::process::Command::new("diff").arg("-r").args(trees).status();
    assert!(diff.unwrap().success());
    let list = |top: &str| {
        let find = ["-mindepth", "1", "-printf", "%P %m %Ts\\n"];
        let found = std::process::Command::new("find").arg(guest.path(top)).args(find).output();
        let mut lines: Vec<_> = text(&found.unwrap().stdout).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(list("back"), list("here"));
    assert_eq!(list("back").len(), 3);
}

fn path(guest: &Guest, name: &str) -> String {
    guest.path(name).display().to_string()
}

#[tokio::test]
async fn sftp_does_everything_a_client_asks_for() {
    let guest = Guest::new().await;
    std::fs::write(guest.path("local"), "0123456789").unwrap();
    let top = guest.path("top");
    std::fs::create_dir(&top).unwrap();
    let odd = std::ffi::OsString::from_vec(b"not \xff utf-8".to_vec());
    std::fs::write(top.join(&odd), "").unwrap();
    let (local, got, top_name) =
        (path(&guest, "local"), path(&guest, "got"), top.display().to_string());
    let batch = format!(
        "cd {top_name}\npwd\nput -p {local} a\nmkdir d\nrename a d/b\n\
         ln d/b d/hard\nln -s b d/soft\nchmod 600 d/b\nls -la d\nls\n\
         get d/soft {got}\nrm d/hard\n-rmdir d\n-get missing\nrm d/b\nrm d/soft\nrmdir d\n\
         put {local} kept\nchown 7 kept\nchgrp 8 kept\n"
    );
    std::fs::write(guest.path("batch"), batch).unwrap();
    let mut sftp = guest.client("sftp");
    sftp.args(["-b", &path(&guest, "batch"), "root@127.0.0.1"]);
    let ran = within(sftp.output()).await.unwrap();
    let (said, wrong) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{wrong}");
    assert!(said.contains(&format!("Remote working directory: {top_name}")), "{said}");
    assert!(said.contains("-rw-------    2"), "{said}");
    assert!(said.contains("lrwxrwxrwx"), "{said}");
    assert!(wrong.contains("rmdir") && wrong.contains("missing"), "{wrong}");
    assert_eq!(std::fs::read_to_string(guest.path("got")).unwrap(), "0123456789");
    let left: Vec<_> =
        std::fs::read_dir(&top).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.len() == 2 && left.contains(&odd) && left.contains(&"kept".into()), "{left:?}");
    let kept = std::fs::metadata(top.join("kept")).unwrap();
    assert_eq!((kept.uid(), kept.gid()), (7, 8));
}

/// A port nobody uses a moment ago.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Answers one connection with what it sent, after it has sent all.
async fn answer_backwards(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    all.reverse();
    stream.write_all(&all).await.unwrap();
}

async fn ask(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    back
}

/// Starts a client that forwards, and waits until it does.
async fn forward(guest: &Guest, options: &[&str]) -> Child {
    let mut ssh = guest.client("ssh");
    ssh.args(["-oExitOnForwardFailure=yes"]).args(options);
    ssh.args(["root@127.0.0.1", "echo up; cat"]).stdin(Stdio::piped());
    let mut client = ssh.spawn().unwrap();
    let mut up = [0; 3];
    within(client.stdout.as_mut().unwrap().read_exact(&mut up)).await.unwrap();
    client
}

#[tokio::test]
async fn ports_are_forwarded_both_ways() {
    let guest = Guest::new().await;
    let sent = noise(3 << 20);
    let mut reversed = sent.clone();
    reversed.reverse();
    for way in ["-L", "-R"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().port();
        let port = free_port().await;
        let spec = format!("127.0.0.1:{port}:localhost:{target}");
        let mut client = forward(&guest, &[way, &spec]).await;
        let answer = tokio::spawn(answer_backwards(listener));
        assert!(within(ask(port, &sent)).await == reversed, "{way}");
        within(answer).await.unwrap();
        // Nobody listens there any more, which is the client's to be told.
        assert_eq!(within(ask_quietly(port)).await, 0);
        drop(client.stdin.take());
        assert!(within(client.wait()).await.unwrap().success());
    }
}

/// Bytes that come from a port whose other end does not exist.
async fn ask_quietly(port: u16) -> usize {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap_or(0)
}

#[tokio::test]
async fn agents_are_not_forwarded() {
    let guest = Guest::new().await;
    let mut ssh = guest.client("ssh");
    ssh.args(["-A", "root@127.0.0.1", "echo ${SSH_AUTH_SOCK:-none}"]);
    let ran = within(ssh.output()).await.unwrap();
    assert_eq!(text(&ran.stdout), "none\n");
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
        within(tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line)).await.unwrap();
        let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        within(client.kill()).await.unwrap();
        within(guest.ended.recv()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&told).unwrap(), "hup\n", "{terminal}");
        assert!(rustix::process::test_kill_process(pid).is_err(), "{terminal}");
        assert_eq!(guest.context_commands().await, 0);
    }
}

impl Guest {
    /// Commands that run.
    async fn context_commands(&self) -> u32 {
        let mut stream = Stream::open(&self.context, &Service::Health).await;
        stream.accepted::<banger_proto::guest::Health>().await.commands
    }
}

#[tokio::test]
async fn what_is_no_ssh_is_not_waited_for() {
    let mut guest = Guest::new().await;
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[b'x'; 300],
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for bytes in garbage {
        let mut stream = TcpStream::connect(("127.0.0.1", guest.port)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        // Its connection ends, though this side stays open.
        let _ = within(stream.read_to_end(&mut said)).await;
        assert!(said.starts_with(b"SSH-2.0-banger"));
        drop(stream);
        within(guest.ended.recv()).await.unwrap();
    }
}
