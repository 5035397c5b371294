//! A life of a VM as a client sees it, every answer held against the description of the interface:
//! a status, a type or a field that is not described fails.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use banger_proto::api::VERSION_HEADER;
use banger_testkit::{Boot, Interface, TestDaemon, TestEnv};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::in_time;

/// Makes calls and checks what is answered.
struct Recorder {
    daemon: TestDaemon,
    interface: Interface,
    /// Calls that were answered with success.
    seen: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Recorder {
    async fn start(env: &TestEnv) -> Self {
        let daemon = TestDaemon::start(env).await;
        let interface = Interface::of(daemon.client.get("/v1/openapi.json").await);
        Self { daemon, interface, seen: BTreeSet::new(), wrong: Vec::new() }
    }

    /// Makes a call whose answer ends by itself: its last value.
    async fn call(&mut self, method: Method, path: &str, body: Value, status: u16) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, &[], body, status).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
        status: u16,
    ) -> Value {
        let answer = self.daemon.client.send(method.clone(), path, headers, body).await;
        let got = answer.status();
        let kind = answer.headers().get(CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap());
        let kind = kind.to_owned();
        let body = in_time(answer.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(got, status, "{method} {path}: {}", String::from_utf8_lossy(&body));
        self.check(&method, path, status, &kind, &body);
        let last = body.split_inclusive(|byte| *byte == b'\n').next_back().unwrap_or_default();
        serde_json::from_slice(last).unwrap_or_default()
    }

    fn check(&mut self, method: &Method, path: &str, status: u16, kind: &str, body: &[u8]) {
        match self.interface.check_answer(method.as_str(), path, status, kind, body) {
            Ok(call) if status == 200 => drop(self.seen.insert(call)),
            Ok(_) => {}
            Err(why) => self.wrong.push(why),
        }
    }

    async fn get(&mut self, path: &str) -> Value {
        self.call(Method::GET, path, Value::Null, 200).await
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, body, 200).await
    }

    async fn refused(&mut self, method: Method, path: &str, body: Value, status: u16) {
        let problem = self.call(method, path, body, status).await;
        assert!(problem["code"].is_string() && problem["op_id"].is_string(), "{problem}");
    }

    /// A long request that ends with `event`.
    async fn work(&mut self, method: Method, path: &str, body: Value, event: &str) -> Value {
        let last = self.call(method, path, body, 200).await;
        assert_eq!(last["event"], event, "{path}: {last}");
        last
    }
}

fn git(top: &Path, args: &[&str]) {
    let output = Command::new("git")
        .current_dir(top)
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {output:?}");
}

/// What is asked of the VM `web`, which runs and has a workspace.
async fn use_vm(calls: &mut Recorder) {
    const PATCH: Method = Method::PATCH;
    for path in ["/v1/vms", "/v1/vms/web", "/v1/vms/web/logs", "/v1/vms/web/logs?tail=1"] {
        calls.get(path).await;
    }
    for path in ["ping", "health?timeout_ms=60000", "ports", "workspace", "workspace/patch"] {
        calls.get(&format!("/v1/vms/web/{path}")).await;
    }
    calls.get("/v1/stats?interval_ms=100&vms=web").await;
    calls.call(PATCH, "/v1/vms/web", json!({ "env": { "A": "b" } }), 200).await;
    calls.refused(PATCH, "/v1/vms/web", json!({ "vcpu": 0 }), 400).await;
    calls.post("/v1/vms/web/wait", json!({ "until": "ready" })).await;
    let never = json!({ "until": "stopped", "timeout_seconds": 0 });
    calls.refused(Method::POST, "/v1/vms/web/wait", never, 504).await;
    calls.refused(Method::POST, "/v1/vms/web/exec", json!({ "argv": ["id"] }), 400).await;
    calls.refused(Method::GET, "/v1/vms/web/ssh", Value::Null, 400).await;

    let tar = calls.daemon.client.send(Method::GET, "/v1/vms/web/files?path=repo", &[], "").await;
    let tar = in_time(tar.into_body().collect()).await.unwrap().to_bytes();
    calls.get("/v1/vms/web/files?path=repo").await;
    calls.refused(Method::GET, "/v1/vms/web/files?path=nope", Value::Null, 404).await;
    calls.send(Method::PUT, "/v1/vms/web/files?path=copy", &[], tar, 200).await;

    let prepare = "/v1/vms/web/workspace/prepare";
    calls.work(Method::POST, prepare, json!({ "force": true }), "workspace_ready").await;
}

/// What is asked of the jobs of `plain`, which runs.
async fn use_jobs(calls: &mut Recorder) {
    let job = calls.post("/v1/vms/plain/jobs", json!({ "argv": ["sleep", "1000000"] })).await;
    let job = format!("/v1/vms/plain/jobs/{}", job["id"].as_str().unwrap());
    calls.get(&job).await;
    calls.get("/v1/vms/plain/jobs").await;
    calls.refused(Method::GET, "/v1/vms/plain/jobs/nope", Value::Null, 404).await;
    calls.post(&format!("{job}/kill"), json!({ "signal": 9 })).await;
}

/// What is asked of images, kernels and the host.
async fn use_host(calls: &mut Recorder, env: &TestEnv) {
    for path in ["/v1/daemon", "/v1/openapi.json", "/v1/doctor", "/v1/images", "/v1/kernels"] {
        calls.get(path).await;
    }
    calls.post("/v1/doctor", Value::Null).await;
    calls.post("/v1/system/gc", json!({ "dry_run": true })).await;
    let (image, kernel) =
        (&env.config.default_image_name.value, &env.config.default_kernel_name.value);
    let (image, kernel) = (format!("/v1/images/{image}"), format!("/v1/kernels/{kernel}"));
    for path in [&image, &kernel] {
        calls.get(path).await;
        calls.refused(Method::DELETE, path, Value::Null, 409).await;
    }
    for path in ["/v1/images/nope", "/v1/kernels/nope"] {
        calls.refused(Method::GET, path, Value::Null, 404).await;
        calls.refused(Method::DELETE, path, Value::Null, 404).await;
    }
    // Nothing of these is to be had here.
    let post = Method::POST;
    for path in ["/v1/images/import", "/v1/kernels/import"] {
        let nope = json!({ "name": "nope", "path": "/nope" });
        calls.work(post.clone(), path, nope, "failed").await;
    }
    for path in ["/v1/images/pull", "/v1/images/build", "/v1/kernels/pull"] {
        calls.work(post.clone(), path, json!({ "name": "nope.invalid/x" }), "failed").await;
    }
    let upload = "/v1/images/upload?name=mine";
    let made = calls.work(post.clone(), upload, Value::Null, "image_ready").await;
    let own = json!({ "name": "own", "rootfs": made["image"]["path"] });
    calls.post("/v1/images/register", own.clone()).await;
    calls.refused(post.clone(), "/v1/images/register", own, 409).await;
    calls.work(post.clone(), "/v1/images/own/promote", Value::Null, "image_ready").await;
    calls.work(post, "/v1/images/nope/promote", Value::Null, "failed").await;
    calls.call(Method::DELETE, "/v1/images/own", Value::Null, 200).await;
    calls.post("/v1/images/prune", Value::Null).await;
}

/// What is wrong with the requests themselves.
async fn err(calls: &mut Recorder) {
    let (get, post) = (Method::GET, Method::POST);
    calls.refused(post.clone(), "/v1/vms", json!({ "nmae": "web" }), 400).await;
    calls.work(post, "/v1/vms", json!({ "name": "web" }), "failed").await;
    calls.refused(get.clone(), "/v1/vms/nope", Value::Null, 404).await;
    calls.refused(get.clone(), "/v1/stats?vms=nope", Value::Null, 404).await;
    // In the query and in the path, too, as a problem.
    for path in ["/v1/stats?interval_ms=x", "/v1/vms/web/ping?timeout_ms=x", "/v1/events?since=x"] {
        calls.refused(get.clone(), path, Value::Null, 400).await;
    }
    let no_name = "/v1/vms/web/snapshots/A%20B";
    calls.refused(Method::DELETE, no_name, Value::Null, 400).await;
    calls.send(get, "/v1/vms", &[(VERSION_HEADER, "2")], "", 426).await;
}

/// What is kept of `plain`, and what becomes of it.
async fn end_vm(calls: &mut Recorder) {
    let post = Method::POST;
    calls.post("/v1/vms/plain/snapshots", json!({ "name": "one" })).await;
    calls.refused(post.clone(), "/v1/vms/plain/snapshots", json!({ "name": "one" }), 409).await;
    calls.get("/v1/snapshots").await;
    calls.refused(Method::GET, "/v1/snapshots?vm=nope", Value::Null, 404).await;
    calls.work(post.clone(), "/v1/vms/plain/snapshots/one/restore", json!({}), "vm_ready").await;
    calls.call(Method::DELETE, "/v1/vms/plain/snapshots/one", Value::Null, 200).await;
    calls.refused(Method::DELETE, "/v1/vms/plain/snapshots/one", Value::Null, 404).await;
    calls.post("/v1/vms/plain/fork", json!({ "names": ["copy"] })).await;
    calls.call(Method::DELETE, "/v1/vms/copy", Value::Null, 200).await;
    calls.post("/v1/vms/plain/pause", Value::Null).await;
    calls.post("/v1/vms/plain/resume", Value::Null).await;
    calls.work(post.clone(), "/v1/vms/plain/restart", json!({}), "vm_ready").await;
    calls.work(post.clone(), "/v1/vms/plain/start", json!({}), "vm_ready").await;
    calls.post("/v1/vms/plain/stop", json!({ "grace_seconds": 0 })).await;
    calls.refused(Method::GET, "/v1/vms/plain/ping", Value::Null, 409).await;
    calls.refused(post.clone(), "/v1/vms/plain/pause", Value::Null, 409).await;
    calls.work(post, "/v1/vms/plain/start", json!({}), "vm_ready").await;
    calls.post("/v1/vms/plain/kill", Value::Null).await;
    calls.get("/v1/vms/plain").await;
    calls.call(Method::DELETE, "/v1/vms/plain", Value::Null, 200).await;
}

#[tokio::test]
async fn every_answer_is_as_it_is_described() {
    let env = TestEnv::new();
    let (host, guest) = (env.dir().join("repo"), env.dir().join("guest"));
    for directory in [&host, &guest.join("root")] {
        fs_err::create_dir_all(directory).unwrap();
    }
    git(&host, &["init", "-q", "-b", "main"]);
    fs_err::write(host.join("page"), "one\n").unwrap();
    git(&host, &["add", "."]);
    git(&host, &["commit", "-q", "-m", "one"]);

    let mut calls = Recorder::start(&env).await;
    let mut news = calls.daemon.client.follow::<Value>("/v1/events").await;
    env.world.next_boot(Boot::InDirectory(guest.clone()));
    let asked = json!({ "name": "web", "workspace": { "path": host } });
    calls.work(Method::POST, "/v1/vms", asked, "vm_ready").await;
    calls.work(Method::POST, "/v1/vms", json!({ "name": "plain" }), "vm_ready").await;
    use_vm(&mut calls).await;
    use_jobs(&mut calls).await;
    fs_err::write(guest.join("root/repo/page"), "two\n").unwrap();
    let branch = json!({ "name": "from-web" });
    calls.refused(Method::POST, "/v1/vms/web/workspace/branch", branch, 409).await;
    calls.post("/v1/vms/web/workspace/apply", Value::Null).await;
    use_host(&mut calls, &env).await;
    err(&mut calls).await;
    end_vm(&mut calls).await;

    // The stream that does not end: its lines up to the last change.
    let mut lines = Vec::new();
    while lines
        .last()
        .is_none_or(|line: &Value| line["name"] != "plain" || line["event"] != "deleted")
    {
        lines.push(in_time(news.next()).await.unwrap());
    }
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    calls.check(&Method::GET, "/v1/events", 200, "application/x-ndjson", body.as_bytes());
    calls.post("/v1/daemon/stop", Value::Null).await;

    assert!(calls.wrong.is_empty(), "{}", calls.wrong.join("\n"));
    let all = calls.interface.calls().into_iter().map(|(call, _)| call);
    let unseen: Vec<_> = all.filter(|call| !calls.seen.contains(call)).collect();
    // Three are sessions; a branch needs commits in the guest, and both VMs use the one kernel.
    insta::assert_snapshot!(unseen.join("\n"), @"
    DELETE /v1/kernels/{kernel}
    POST /v1/vms/{vm}/exec
    POST /v1/vms/{vm}/jobs/{job}/attach
    GET /v1/vms/{vm}/ssh
    POST /v1/vms/{vm}/workspace/branch
    ");
    calls.daemon.ended().await;
}
