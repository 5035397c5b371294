//! The agent's own SSH server with OpenSSH's clients: `ssh`, `scp` and `sftp` as they are.

mod access;
mod commands;
mod files;
mod forwards;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use banger_agent::{Context, Hosted, serve_ssh};
use banger_proto::guest::Service;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::host::{Stream, config, within};

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

fn path(guest: &Guest, name: &str) -> String {
    guest.path(name).display().to_string()
}

impl Guest {
    /// Commands that run.
    async fn context_commands(&self) -> u32 {
        let mut stream = Stream::open(&self.context, &Service::Health).await;
        stream.accepted::<banger_proto::guest::Health>().await.commands
    }
}
