//! The form of the interface: versions, users, op ids, errors, the description.

use std::os::unix::fs::PermissionsExt;

use banger_proto::api::{DaemonStatus, ExecVm, OP_ID_HEADER, VERSION_HEADER};
use banger_proto::{Code, OpId};
use banger_testkit::{TestDaemon, TestEnv};
use hyper::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{create, in_time};

#[tokio::test]
async fn every_answer_carries_version_and_op_id() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let chosen = [(OP_ID_HEADER, "0123456789ab"), (VERSION_HEADER, "1")];
    let answer = daemon.client.send(Method::GET, "/v1/vms/nope", &chosen, "").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(answer.headers()[VERSION_HEADER], "1");
    assert_eq!(answer.headers()[OP_ID_HEADER], "0123456789ab");
    let problem = daemon.client.call(Method::GET, "/v1/vms/nope", ()).await;
    let op: OpId = problem.headers[OP_ID_HEADER].to_str().unwrap().parse().unwrap();
    let problem = problem.problem();
    assert_eq!((problem.code, problem.op_id), (Code::NotFound, Some(op)));
    daemon.stop().await;
}

#[tokio::test]
async fn a_refusal_is_heard_by_who_is_still_sending() {
    const LENGTH: usize = 8 << 20;
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let mut connection = UnixStream::connect(env.paths.daemon_socket()).await.unwrap();
    let head = format!(
        "PUT /v1/vms/nope/files?path=x HTTP/1.1\r\nHost: banger\r\n\
         Connection: close\r\nContent-Length: {LENGTH}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    // Far more than what waits in a socket: it is taken, or the write fails.
    in_time(connection.write_all(&vec![0; LENGTH])).await.unwrap();
    let mut answer = String::new();
    in_time(connection.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("no VM `nope`"), "{answer}");
    daemon.stop().await;
}

#[tokio::test]
async fn another_version_is_told_what_to_do() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    for (version, hint) in
        [("2", "banger daemon stop"), ("0", "update the client"), ("x", "client")]
    {
        let answer =
            daemon.client.send(Method::GET, "/v1/vms", &[(VERSION_HEADER, version)], "").await;
        assert_eq!(answer.status(), StatusCode::UPGRADE_REQUIRED);
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        let problem: banger_proto::Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.code, Code::BadVersion);
        assert!(problem.hints[0].contains(hint), "{problem:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn only_the_owner_is_answered() {
    let env = TestEnv::new();
    let stranger = rustix::process::getuid().as_raw() + 1;
    let daemon = TestDaemon::start_for(&env, stranger).await;
    let problem = daemon.client.call(Method::GET, "/v1/vms", ()).await.problem();
    assert_eq!(problem.code, Code::Unauthorized);
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_unknown_or_malformed_is_a_problem() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let call = async |method, path, body| daemon.client.call(method, path, body).await.problem();
    let json = serde_json::json!({});
    assert_eq!(call(Method::GET, "/v1/nope", json.clone()).await.code, Code::UnknownMethod);
    assert_eq!(call(Method::PUT, "/v1/vms", json.clone()).await.code, Code::UnknownMethod);
    let unknown_field = serde_json::json!({ "nmae": "web" });
    let problem = call(Method::POST, "/v1/vms", unknown_field).await;
    assert_eq!(problem.code, Code::BadRequest);
    assert!(problem.causes[0].contains("nmae"), "{problem:?}");
    create(&daemon, "web").await;
    let problem = call(Method::POST, "/v1/vms/web/exec", json).await;
    assert_eq!(problem.code, Code::BadRequest);
    assert!(problem.message.contains("Upgrade: banger-frames"), "{problem:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_command_that_is_refused_is_a_problem() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    let request = ExecVm { user: Some("nobody-like-this".into()), ..Default::default() };
    let problem = daemon.client.exec("web", &request).await.unwrap_err();
    assert!(problem.message.contains("nobody-like-this"), "{problem:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_command() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    let argv = ["sleep", "1000000"].map(str::to_owned).to_vec();
    let request = ExecVm { argv, stdin: true, ..Default::default() };
    let session = daemon.client.exec("web", &request).await.unwrap();
    let status: DaemonStatus = daemon.client.get("/v1/daemon").await;
    assert_eq!((status.vms, status.vms_running, status.busy), (1, 1, 1));
    drop(session);
    in_time(async { while daemon.client.get::<DaemonStatus>("/v1/daemon").await.busy > 0 {} })
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn names_are_answered_as_long_as_the_daemon_runs() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let status: DaemonStatus = daemon.client.get("/v1/daemon").await;
    assert_eq!(status.dns.problem, None);
    let listen: std::net::SocketAddr = status.dns.listen.unwrap().parse().unwrap();
    assert!(std::net::UdpSocket::bind(listen).is_err(), "nobody is at {listen}");
    daemon.stop().await;
    in_time(async {
        while std::net::UdpSocket::bind(listen).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_socket_goes_with_the_daemon() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let socket = env.paths.daemon_socket();
    assert!(socket.exists());
    let stopped = daemon.client.call(Method::POST, "/v1/daemon/stop", ()).await;
    assert_eq!(stopped.ok::<serde_json::Value>(), serde_json::json!({}));
    daemon.ended().await;
    assert!(!socket.exists());
    // What a killed daemon leaves does not keep the next one from starting.
    let daemon = TestDaemon::start(&env).await;
    daemon.kill().await;
    assert!(env.paths.database().metadata().unwrap().permissions().mode() & 0o077 == 0);
    TestDaemon::start(&env).await.stop().await;
}

#[tokio::test]
async fn the_description_names_every_call() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let description: serde_json::Value = daemon.client.get("/v1/openapi.json").await;
    let paths: Vec<_> = description["paths"].as_object().unwrap().keys().cloned().collect();
    insta::assert_snapshot!(paths.join("\n"));
    assert!(description["components"]["schemas"]["CreateVm"].is_object());
    daemon.stop().await;
}
