//! The SSH service with the test host's own OpenSSH, server and client.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use banger_agent::{Context, Hosted, SshPlaces};
use banger_proto::Code;
use banger_proto::guest::frame::Kind;
use banger_proto::guest::{GuestConfig, Service, SshKeys};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpListener;

use crate::host::{Stream, config, within};
use crate::trusted::trusted_dir;

/// A guest that lets one key in, and that key.
struct Guest {
    context: Arc<Context>,
    dir: TempDir,
    port: u16,
}

fn keygen(path: &Path) -> String {
    let words = ["-q", "-t", "ed25519", "-N", "", "-f"];
    let status = std::process::Command::new("ssh-keygen").args(words).arg(path).status();
    assert!(status.expect("ssh-keygen").success());
    std::fs::read_to_string(format!("{}.pub", path.display())).unwrap()
}

async fn configure(hosted: Hosted, ssh: Option<SshKeys>) -> Arc<Context> {
    let context = Context::hosted(hosted);
    let asked = GuestConfig { ssh, ..config() };
    let service = Service::Configure(Box::new(asked));
    Stream::open(&context, &service).await.accepted::<serde_json::Value>().await;
    context
}

impl Guest {
    async fn new() -> Self {
        let dir = trusted_dir(env!("CARGO_TARGET_TMPDIR"));
        let at = |name: &str| dir.path().join(name);
        let user_key = keygen(&at("user"));
        let host_key = keygen(&at("host"));
        std::fs::create_dir(at(".ssh")).unwrap();
        std::fs::write(at(".ssh/authorized_keys"), &user_key).unwrap();
        let words: Vec<_> = host_key.split(' ').take(2).collect();
        std::fs::write(at("known_hosts"), format!("guest {}\n", words.join(" "))).unwrap();
        let places = SshPlaces { dir: at("run/ssh"), authorized_keys: at(".ssh/authorized_keys") };
        let keys = SshKeys {
            host_key: std::fs::read_to_string(at("host")).unwrap(),
            authorized_keys: vec![user_key],
        };
        let context = configure(Hosted::default().with_ssh_places(places), Some(keys)).await;
        let port = listen(Arc::clone(&context)).await;
        Self { context, dir, port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Words for a client that trusts nothing but what it was given.
    fn options(&self) -> Vec<String> {
        let mut words = vec!["-F".to_owned(), "none".to_owned()];
        for option in [
            format!("IdentityFile={}", self.path("user").display()),
            format!("UserKnownHostsFile={}", self.path("known_hosts").display()),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "HostKeyAlias=guest".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "BatchMode=yes".to_owned(),
            format!("Port={}", self.port),
        ] {
            words.extend(["-o".to_owned(), option]);
        }
        words
    }

    async fn run(&self, program: &str, words: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(program);
        command.args(self.options()).args(words).stdin(Stdio::null()).kill_on_drop(true);
        within(command.output()).await.expect("a client")
    }

    fn user(&self) -> String {
        let output = std::process::Command::new("id").arg("-un").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Lets the client in by TCP, as the host does by a program.
async fn listen(context: Arc<Context>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut guest = Stream::open(&context, &Service::Ssh).await;
            guest.accepted::<serde_json::Value>().await;
            tokio::spawn(async move {
                let mut guest = guest.reader.into_inner().unsplit(guest.writer.into_inner());
                let _ = copy_bidirectional(&mut client, &mut guest).await;
            });
        }
    });
    port
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_client_with_the_key_runs_commands() {
    let guest = Guest::new().await;
    let target = format!("{}@127.0.0.1", guest.user());
    let output = guest.run("ssh", &[&target, "echo $FROM_GUEST; cat; exit 7"]).await;
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "guest\n");

    std::fs::write(guest.path("batch"), format!("get {}\n", guest.path("user.pub").display()))
        .unwrap();
    let (batch, got) = (guest.path("batch"), guest.path("got"));
    std::fs::create_dir(&got).unwrap();
    let script = format!("cd '{}' && exec sftp \"$@\"", got.display());
    let mut words = vec!["-c".to_owned(), script, "sh".to_owned()];
    words.extend(guest.options());
    words.extend(["-b".to_owned(), batch.display().to_string(), target]);
    let output = within(tokio::process::Command::new("sh").args(words).output()).await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        std::fs::read(got.join("user.pub")).unwrap(),
        std::fs::read(guest.path("user.pub")).unwrap()
    );
}

#[tokio::test]
async fn other_keys_and_passwords_do_not_let_in() {
    let guest = Guest::new().await;
    std::fs::remove_file(guest.path("user")).unwrap();
    keygen(&guest.path("user"));
    let target = format!("{}@127.0.0.1", guest.user());
    let output = guest.run("ssh", &[&target, "true"]).await;
    assert_eq!(output.status.code(), Some(255));
    let said = text(&output.stderr);
    assert!(said.contains("Permission denied (publickey)"), "{said}");
}

#[tokio::test]
async fn a_guest_with_another_host_key_is_not_spoken_to() {
    let guest = Guest::new().await;
    let other = keygen(&guest.path("other"));
    std::fs::write(guest.path("known_hosts"), format!("guest {other}")).unwrap();
    let target = format!("{}@127.0.0.1", guest.user());
    let output = guest.run("ssh", &[&target, "true"]).await;
    assert_eq!(output.status.code(), Some(255));
    let said = text(&output.stderr);
    assert!(said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"), "{said}");
}

#[tokio::test]
async fn a_copy_shows_a_key_of_its_own() {
    let guest = Guest::new().await;
    let target = format!("{}@127.0.0.1", guest.user());
    assert!(guest.run("ssh", &[&target, "true"]).await.status.success());

    let own = keygen(&guest.path("own"));
    let host_key = std::fs::read_to_string(guest.path("own")).unwrap();
    let keys = SshKeys { host_key, authorized_keys: Vec::new() };
    let copy = GuestConfig { ssh: Some(keys), ..config() };
    let renew = Service::Renew(Box::new(copy));
    Stream::open(&guest.context, &renew).await.accepted::<serde_json::Value>().await;
    std::fs::write(guest.path("known_hosts"), format!("guest {own}")).unwrap();
    let output = guest.run("ssh", &[&target, "true"]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));

    let renew = Service::Renew(Box::new(config()));
    Stream::open(&guest.context, &renew).await.accepted::<serde_json::Value>().await;
    let problem = Stream::open(&guest.context, &Service::Ssh).await.refused().await;
    assert_eq!(problem.code, Code::Conflict, "it has none");
}

#[tokio::test]
async fn the_servers_files_are_its_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let guest = Guest::new().await;
    let target = format!("{}@127.0.0.1", guest.user());
    assert!(guest.run("ssh", &[&target, "true"]).await.status.success());
    let mode = |name: &str| guest.path(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("run/ssh"), mode("run/ssh/host_key")], [0o700, 0o600]);
}

#[tokio::test]
async fn the_connection_ends_when_the_client_has_said_all() {
    let guest = Guest::new().await;
    let mut stream = Stream::open(&guest.context, &Service::Ssh).await;
    stream.accepted::<serde_json::Value>().await;
    let mut greeting = [0; 8];
    within(stream.reader.bytes().read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"SSH-2.0-");
    within(stream.writer.bytes().shutdown()).await.unwrap();
    let mut rest = Vec::new();
    within(stream.reader.bytes().read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let guest = Guest::new().await;
    let places =
        SshPlaces { dir: guest.path("again"), authorized_keys: guest.path(".ssh/authorized_keys") };
    let keys = SshKeys { host_key: "no key".into(), authorized_keys: Vec::new() };
    let context = configure(Hosted::default().with_ssh_places(places), Some(keys)).await;
    let problem = Stream::open(&context, &Service::Ssh).await.refused().await;
    assert!(problem.message.contains("ended before it had begun"), "{problem:?}");
    assert!(problem.causes.iter().any(|cause| cause.contains("host_key")), "{problem:?}");
}

#[tokio::test]
async fn a_guest_without_keys_refuses() {
    let context = configure(Hosted::default(), None).await;
    let mut stream = Stream::open(&context, &Service::Ssh).await;
    assert_eq!(stream.refused().await.code, Code::Conflict);
    let mut unconfigured = Stream::open(&Context::hosted(Hosted::default()), &Service::Ssh).await;
    let frame = unconfigured.next().await.unwrap();
    assert_eq!(frame.kind, Kind::Refused);
}
