//! SSH into a guest with the real agent, and the test host's own server and client.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use banger_proto::api::{CreateVm, EndReason, UPGRADE_SSH};
use banger_proto::{Code, Problem};
use banger_testkit::{Boot, TestDaemon, TestEnv, trusted_dir};
use http_body_util::BodyExt;
use hyper::header::{CONNECTION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpListener;

use super::idle::until_stopped;
use super::{create, delete, in_time, named};

/// A guest whose server lets in who runs the test.
async fn with_guest(env: &TestEnv) -> (TestDaemon, tempfile::TempDir) {
    with_guest_as(env, named("web")).await
}

async fn with_guest_as(env: &TestEnv, asked: CreateVm) -> (TestDaemon, tempfile::TempDir) {
    let dir = trusted_dir(env!("CARGO_TARGET_TMPDIR"));
    let daemon = TestDaemon::start(env).await;
    env.world.next_boot(Boot::WithSsh(dir.path().into()));
    daemon.client.events("/v1/vms", asked).await.ready().await;
    let public = fs_err::read(env.paths.ssh_dir().join("id_ed25519.pub")).expect("a key");
    fs_err::write(dir.path().join("authorized_keys"), public).expect("a file");
    (daemon, dir)
}

async fn connect(daemon: &TestDaemon, vm: &str) -> Result<TokioIo<Upgraded>, Problem> {
    let headers = [(CONNECTION.as_str(), "upgrade"), (UPGRADE.as_str(), UPGRADE_SSH)];
    let path = format!("/v1/vms/{vm}/ssh");
    let answer = daemon.client.send(Method::GET, &path, &headers, "").await;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let body = in_time(answer.into_body().collect()).await.expect("a body").to_bytes();
        return Err(serde_json::from_slice(&body).expect("a problem"));
    }
    Ok(TokioIo::new(hyper::upgrade::on(answer).await.expect("an upgrade")))
}

fn known_hosts(env: &TestEnv) -> String {
    fs_err::read_to_string(env.paths.known_hosts()).expect("a file")
}

/// Private keys in a directory, which nobody else may read.
fn keys_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    let files = entries.map(|entry| entry.expect("an entry"));
    let texts = files.filter_map(|file| Some((fs_err::read_to_string(file.path()).ok()?, file)));
    let keys = texts.filter(|(text, _)| text.contains("PRIVATE KEY"));
    keys.map(|(text, file)| {
        let mode = file.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
        text
    })
    .collect()
}

/// Runs the client against a port that leads to `vm`.
async fn ssh(env: &TestEnv, daemon: &TestDaemon, words: &[&str]) -> std::process::Output {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port().to_string();
    let identity: PathBuf = env.paths.ssh_dir().join("id_ed25519");
    let mut client = tokio::process::Command::new("ssh");
    client.args(["-F", "none", "-p", &port, "-oHostKeyAlias=web.vm", "-oBatchMode=yes"]);
    client.args(["-oStrictHostKeyChecking=yes", "-oIdentitiesOnly=yes"]);
    let option = |name: &str, path: &Path| format!("-o{name}=\"{}\"", path.display());
    client.arg(option("IdentityFile", &identity));
    client.arg(option("UserKnownHostsFile", &env.paths.known_hosts()));
    client.arg("127.0.0.1").args(words).kill_on_drop(true);
    let bridge = async {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut guest = connect(daemon, "web").await.expect("a server");
        let _ = copy_bidirectional(&mut client, &mut guest).await;
        std::future::pending::<()>().await;
    };
    in_time(async {
        tokio::select! {
            output = client.output() => output.expect("a client"),
            () = bridge => unreachable!("it waits for ever"),
        }
    })
    .await
}

#[tokio::test]
async fn the_client_knows_the_vm_and_gets_in() {
    let env = TestEnv::new();
    let (daemon, _dir) = with_guest(&env).await;
    let output = ssh(&env, &daemon, &["echo hello; exit 7"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(7), &b"hello\n"[..]), "{said}");
}

/// What goes over it, a session or ports only, the host does not know: the connection is the use.
#[tokio::test]
async fn a_connection_holds_its_vm() {
    let env = TestEnv::new();
    let asked = CreateVm { idle_stop_seconds: Some(1), ..named("web") };
    let (daemon, _dir) = with_guest_as(&env, asked).await;
    // Longer than the period: would the VM go down, the session would not come to its end.
    let output = ssh(&env, &daemon, &["sleep 2; echo done"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"done\n"[..]), "{said}");
    let stopped = until_stopped(&daemon, "web").await;
    assert!(matches!(stopped.ended, Some(EndReason::Idle(_))), "{:?}", stopped.ended);
    daemon.stop().await;
}

#[tokio::test]
async fn a_connection_ends_in_both_directions() {
    let env = TestEnv::new();
    let (daemon, _dir) = with_guest(&env).await;
    let mut guest = connect(&daemon, "web").await.unwrap();
    let mut greeting = [0; 8];
    in_time(guest.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"SSH-2.0-");
    in_time(guest.shutdown()).await.unwrap();
    in_time(guest.read_to_end(&mut Vec::new())).await.unwrap();
}

#[tokio::test]
async fn a_vm_is_known_as_long_as_it_is_there() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let web = create(&daemon, "web").await;
    let first = known_hosts(&env);
    assert!(first.starts_with(&format!("web.vm,{}.vm ssh-ed25519 ", web.id)), "{first}");
    let told = env.world.configured(&web.id).unwrap().ssh.unwrap();
    assert!(told.host_key.contains("OPENSSH PRIVATE KEY"));
    let identity = fs_err::read_to_string(env.paths.ssh_dir().join("id_ed25519.pub")).unwrap();
    assert_eq!(told.authorized_keys, [identity.trim_end()]);

    // What a file of before says does not outlive the daemon's start.
    daemon.stop().await;
    let stranger = "gone.vm,ffffffffffff.vm ssh-ed25519 AAAA ffffffffffff\n";
    fs_err::write(env.paths.known_hosts(), stranger).unwrap();
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(known_hosts(&env), first);

    let directory = env.paths.vm_state_dir(&web.id);
    assert!(keys_in(&directory).contains(&told.host_key));
    delete(&daemon, "web").await;
    assert_eq!(known_hosts(&env), "");
    assert_eq!(keys_in(&directory), Vec::<String>::new());
    let again = create(&daemon, "web").await;
    let pinned = |text: &str| text.split(' ').nth(2).map(str::to_owned);
    assert_ne!(pinned(&known_hosts(&env)), pinned(&first), "another VM has another key");
    let told_again = env.world.configured(&again.id).unwrap().ssh.unwrap();
    assert_ne!(told_again.host_key, told.host_key);
}

#[tokio::test]
async fn what_cannot_be_connected_to_says_why() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    // The tests' guests have places for SSH only where they are given some.
    assert_eq!(connect(&daemon, "web").await.unwrap_err().code, Code::Conflict);
    assert_eq!(connect(&daemon, "none").await.unwrap_err().code, Code::NotFound);
    daemon.client.call(Method::POST, "/v1/vms/web/kill", ()).await;
    let stopped = connect(&daemon, "web").await.unwrap_err();
    assert_eq!(stopped.hints, ["banger vm start web"]);
    let plain = daemon.client.call(Method::GET, "/v1/vms/web/ssh", ()).await.problem();
    assert!(plain.message.contains(UPGRADE_SSH), "{plain:?}");
}
