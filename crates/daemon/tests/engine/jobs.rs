//! Jobs: they and what they wrote outlive clients and daemons, and lies about them do no harm.

use banger_proto::api::{AttachToJob, ExecVm, JobList, JobView, SignalJob, StateName, VmView};
use banger_proto::guest::frame::Kind;
use banger_proto::guest::{ExecExit, JobOutput, JobState};
use banger_proto::{Code, Problem};
use banger_testkit::{Boot, ExecStream, Hostile, TestDaemon, TestEnv, Then, frame};
use hyper::Method;
use serde_json::json;

use super::{create, in_time, named, show};

fn shell(script: &str) -> ExecVm {
    ExecVm { argv: ["sh", "-c", script].map(str::to_owned).to_vec(), ..Default::default() }
}

async fn start(daemon: &TestDaemon, asked: ExecVm) -> JobView {
    daemon.client.call(Method::POST, "/v1/vms/web/jobs", asked).await.ok()
}

async fn jobs(daemon: &TestDaemon) -> Vec<JobView> {
    daemon.client.get::<JobList>("/v1/vms/web/jobs").await.jobs
}

fn from_start() -> AttachToJob {
    AttachToJob { from: Some(JobOutput::Start), no_follow: false, input: false }
}

async fn attach(daemon: &TestDaemon, job: &str, asked: &AttachToJob) -> ExecStream {
    let path = format!("/v1/vms/web/jobs/{job}/attach");
    daemon.client.upgrade(&path, asked).await.expect("a job")
}

async fn refused(daemon: &TestDaemon, method: Method, path: &str) -> Problem {
    daemon.client.call(method, path, json!({})).await.problem()
}

#[tokio::test]
async fn a_job_and_its_output_outlive_the_daemon() {
    let env = TestEnv::new();
    let gate = env.dir().join("gate");
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    // It begins, waits for the file, and writes more than any buffer on the way holds.
    let script = format!(
        "echo begun; until test -e {0}; do sleep 0.01; done; head -c 2000000 /dev/zero; exit 5",
        gate.display()
    );
    let job = start(&daemon, shell(&script)).await;
    assert_eq!((job.state, job.ended_at.as_deref()), (JobState::Running, None));
    let mut follower = attach(&daemon, job.id.as_str(), &from_start()).await;
    let first = in_time(follower.reader.next()).await.unwrap().unwrap();
    assert_eq!((first.kind, &first.payload[..]), (Kind::Stdout, &b"begun\n"[..]));
    daemon.kill().await;
    fs_err::write(&gate, "").unwrap();

    let daemon = TestDaemon::start(&env).await;
    let begins = &job.id.as_str()[..4];
    let (stdout, exit) = attach(&daemon, begins, &from_start()).await.finish().await;
    assert_eq!((stdout.len(), exit.code), (6 + 2_000_000, Some(5)));
    let ended: JobView = daemon.client.get(&format!("/v1/vms/web/jobs/{begins}")).await;
    assert_eq!(ended.state, JobState::Exited { code: Some(5), signal: None });
    assert_eq!((ended.command.len(), ended.ended_at.is_some()), (3, true));
    assert_eq!(jobs(&daemon).await, [ended]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_job_is_killed_by_its_id_and_unknown_ones_are_told() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    let job = start(&daemon, shell("sleep 1000")).await;
    let follower = attach(&daemon, job.id.as_str(), &from_start()).await;
    let path = format!("/v1/vms/web/jobs/{}/kill", job.id);
    let asked = SignalJob { signal: Some(9) };
    let killed: JobView = daemon.client.call(Method::POST, &path, asked).await.ok();
    assert_eq!(killed.id, job.id);
    assert_eq!(follower.finish().await.1, ExecExit { code: None, signal: Some(9) });

    let problem = refused(&daemon, Method::POST, &path).await;
    assert_eq!(problem.message, format!("job `{}` has ended", job.id));
    for unknown in ["/v1/vms/web/jobs/ffffffffffff/kill", "/v1/vms/web/jobs/..%2F..%2Fx/kill"] {
        let problem = refused(&daemon, Method::POST, unknown).await;
        assert_eq!(problem.code, Code::NotFound, "{problem:?}");
        assert_eq!(problem.hints, ["its jobs: banger vm jobs web"]);
    }
    let nowhere = ExecVm { cwd: Some("/no/such".into()), ..shell("true") };
    let problem = daemon.client.call(Method::POST, "/v1/vms/web/jobs", nowhere).await.problem();
    assert_eq!(problem.code, Code::NotFound);
    assert_eq!(jobs(&daemon).await.len(), 1);

    let stopped = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await;
    let _: VmView = stopped.ok();
    let problem = refused(&daemon, Method::GET, "/v1/vms/web/jobs").await;
    assert_eq!(problem.hints, ["banger vm start web"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_job_keeps_its_vm_from_being_idle() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Quiet);
    let asked = banger_proto::api::CreateVm { idle_stop_seconds: Some(1), ..named("web") };
    daemon.client.events("/v1/vms", asked).await.ready().await;
    // Longer than the period, and nobody attached: would the VM go down, the file would not come.
    let done = env.dir().join("done");
    let script = format!("sleep 2.5; touch {}", done.display());
    start(&daemon, shell(&script)).await;
    in_time(async { while show(&daemon, "web").await.state != StateName::Stopped {} }).await;
    assert!(done.exists());
    daemon.stop().await;
}

/// A daemon whose VM `web` lies about a service of jobs.
async fn with_liar(
    env: &TestEnv,
    service: &'static str,
    frames: &[Vec<u8>],
    then: Then,
) -> TestDaemon {
    let daemon = TestDaemon::start(env).await;
    let hostile = Hostile { service, answer: frames.concat(), then };
    env.world.next_boot(Boot::Hostile(hostile));
    create(&daemon, "web").await;
    daemon
}

fn lie(id: &str, command: &str) -> serde_json::Value {
    json!({ "id": id, "argv": vec![command; 100], "pid": 1, "state": "running",
        "started_unix_ms": u64::MAX, "ended_unix_ms": u64::MAX })
}

#[tokio::test]
async fn words_of_jobs_are_bounded_and_harmless() {
    let nasty = "\u{1b}]0;owned\u{7}\u{202e}".repeat(200);
    let accepted = frame(Kind::Accepted, b"{}");
    let job = frame(Kind::Event, lie("0123456789ab", &nasty).to_string().as_bytes());
    let env = TestEnv::new();
    let whole = [accepted, job, frame(Kind::End, b"")];
    let daemon = with_liar(&env, "list_jobs", &whole, Then::Sleeps).await;
    let listed = jobs(&daemon).await;
    let told = serde_json::to_string(&listed).unwrap();
    assert!(told.len() < 256 << 10, "{}", told.len());
    assert!(!told.contains("u001b") && !told.contains('\u{202e}'), "{told}");
    assert_eq!(listed[0].started_at, "1970-01-01T00:00:00Z");
    daemon.stop().await;
}

#[tokio::test]
async fn lists_that_are_none_end() {
    let accepted = || frame(Kind::Accepted, b"{}");
    let job = |id: &str| frame(Kind::Event, lie(id, "x").to_string().as_bytes());
    for (what, frames, then) in [
        ("no end", vec![accepted()], Then::Floods(job("0123456789ab"))),
        ("an id that is none", vec![accepted(), job("../../etc")], Then::Sleeps),
        ("nonsense", vec![accepted(), frame(Kind::Event, b"\xff")], Then::Sleeps),
        ("another frame", vec![accepted(), frame(Kind::Exit, b"{}")], Then::Sleeps),
        ("a cut", vec![accepted(), job("0123456789ab")], Then::Ends),
    ] {
        let env = TestEnv::new();
        let daemon = with_liar(&env, "list_jobs", &frames, then).await;
        let problem = in_time(refused(&daemon, Method::GET, "/v1/vms/web/jobs")).await;
        assert_eq!(problem.message, "cannot ask VM `web` about its jobs", "{what}: {problem:?}");
        daemon.stop().await;
    }
}

#[tokio::test]
async fn an_agent_that_is_too_old_is_told() {
    let refusal = Problem::new(Code::UnknownMethod, "no service `start_job`");
    let refusal = frame(Kind::Refused, &serde_json::to_vec(&refusal).unwrap());
    let env = TestEnv::new();
    let daemon = with_liar(&env, "start_job", &[refusal], Then::Ends).await;
    let asked = shell("true");
    let problem = daemon.client.call(Method::POST, "/v1/vms/web/jobs", asked).await.problem();
    assert_eq!(problem.message, "the agent of VM `web` is too old for jobs");
    assert_eq!(problem.hints, ["it gets a new one when it starts: banger vm restart web"]);
    daemon.stop().await;
}
