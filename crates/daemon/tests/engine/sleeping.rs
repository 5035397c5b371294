//! VMs that fall asleep when nobody uses them, and wake for who does.

use std::net::SocketAddr;

use banger_proto::api::{
    AttachToJob, ChangeCause, CreateVm, EndReason, ExecVm, JobView, Publish, SetVm, StateName,
    VmChange, VmCondition, VmPorts, VmView, WaitVm,
};
use banger_proto::guest::JobOutput;
use banger_proto::{Code, Period, Problem};
use banger_testkit::{Boot, TestDaemon, TestEnv};
use futures_util::future::join_all;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener};
use tokio::task::JoinHandle;

use super::idle::until_stopped;
use super::pause::look;
use super::{create_fails, delete, in_time, named, show, until};

fn second() -> Period {
    1.try_into().expect("a period")
}

/// A request for a VM that is paused after a second, the shortest period.
fn pausing() -> CreateVm {
    CreateVm { idle_pause_seconds: Some(1), ..named("web") }
}

/// One that is stopped after a second.
fn stopping() -> CreateVm {
    CreateVm { idle_stop_seconds: Some(1), ..named("web") }
}

/// Makes a VM whose guest is quiet, also after its next `starts`.
async fn quiet(env: &TestEnv, daemon: &TestDaemon, asked: CreateVm, starts: u32) -> VmView {
    for _ in 0..=starts {
        env.world.next_boot(Boot::Quiet);
    }
    daemon.client.events("/v1/vms", asked).await.ready().await
}

fn shell(script: &str) -> ExecVm {
    ExecVm { argv: ["sh", "-c", script].map(str::to_owned).to_vec(), ..Default::default() }
}

async fn says_hi(daemon: &TestDaemon) -> Result<(), Problem> {
    let (said, _) = daemon.client.exec("web", &shell("echo hi")).await?.finish().await;
    assert_eq!(said, "hi\n");
    Ok(())
}

async fn until_paused(daemon: &TestDaemon) -> VmView {
    until(daemon, "web", |vm| vm.paused_idle_seconds.is_some()).await
}

async fn post(daemon: &TestDaemon, what: &str) -> VmView {
    daemon.client.call(Method::POST, &format!("/v1/vms/web/{what}"), ()).await.ok()
}

/// How often it came to be in this state because of this.
fn count(history: &[VmChange], state: StateName, cause: ChangeCause) -> usize {
    history.iter().filter(|change| (change.state, change.cause) == (state, cause)).count()
}

/// A server in the guest that says hello to each.
async fn greeter() -> (u16, JoinHandle<()>) {
    greeter_at(0).await
}

async fn greeter_at(port: u16) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let serving = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.expect("a connection");
            // Who only knocks may be gone.
            let _ = client.write_all(b"hello").await;
        }
    });
    (port, serving)
}

/// Connects as soon as somebody listens, and hears what is said.
async fn hear(at: SocketAddr) -> String {
    in_time(async {
        let mut said = String::new();
        let mut client = loop {
            match TcpStream::connect(at).await {
                Ok(client) => break client,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        // A reset is heard as nothing.
        let _ = client.read_to_string(&mut said).await;
        said
    })
    .await
}

#[tokio::test]
async fn an_idle_vm_is_paused_and_goes_on_for_who_uses_it() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = quiet(&env, &daemon, pausing(), 0).await;
    assert_eq!((vm.idle_pause_seconds, vm.idle_stop_seconds), (Some(second()), None));
    let paused = until_paused(&daemon).await;
    assert_eq!((paused.state, paused.paused_idle_seconds), (StateName::Paused, Some(second())));
    assert!(env.world.is_paused(&vm.id));
    says_hi(&daemon).await.unwrap();
    let awake = show(&daemon, "web").await;
    let last: Vec<_> = awake.history.iter().rev().take(2).map(|c| (c.state, c.cause)).collect();
    let (idle, wake) = (ChangeCause::Idle, ChangeCause::Wake);
    assert_eq!(last, [(StateName::Running, wake), (StateName::Paused, idle)]);

    // A command that is longer than the period holds what it has woken, until it ends.
    until_paused(&daemon).await;
    let command = daemon.client.exec("web", &shell("sleep 2; echo done")).await.unwrap();
    assert_eq!(command.finish().await.0, "done\n");
    until_paused(&daemon).await;
    let history = show(&daemon, "web").await.history;
    assert_eq!(count(&history, StateName::Paused, idle), 3);
    assert_eq!(env.world.launches(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn whatever_is_wanted_of_its_guest_wakes_it() {
    let env = TestEnv::new();
    let file = env.dir().join("file");
    fs_err::write(&file, "content").unwrap();
    let daemon = TestDaemon::start(&env).await;
    let vm = quiet(&env, &daemon, pausing(), 0).await;
    let (port, serving) = greeter().await;
    env.world.listen(&vm.id, [port]);
    let at = SocketAddr::from((vm.loopback.unwrap(), port));
    assert_eq!(hear(at).await, "hello");

    until_paused(&daemon).await;
    let job: JobView =
        daemon.client.call(Method::POST, "/v1/vms/web/jobs", shell("echo job")).await.ok();
    until_paused(&daemon).await;
    // By the beginning of its id, for which its guest is asked.
    let path = format!("/v1/vms/web/jobs/{}/attach", &job.id.as_str()[..4]);
    let asked = AttachToJob { from: Some(JobOutput::Start), no_follow: false, input: false };
    assert_eq!(daemon.client.upgrade(&path, &asked).await.unwrap().finish().await.0, "job\n");
    until_paused(&daemon).await;
    let path = format!("/v1/vms/web/files?path={}", file.display());
    assert!(daemon.client.call(Method::GET, &path, ()).await.status.is_success());
    until_paused(&daemon).await;
    let path = format!("/v1/vms/web/files?path={}", env.dir().display());
    daemon.client.call(Method::PUT, &path, ()).await;
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    until_paused(&daemon).await;
    // The test's guests have no SSH server and no repository, which they say themselves.
    let headers = [("connection", "upgrade"), ("upgrade", "banger-ssh")];
    daemon.client.send(Method::GET, "/v1/vms/web/ssh", &headers, "").await;
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    until_paused(&daemon).await;
    let refused = daemon.client.call(Method::GET, "/v1/vms/web/workspace", ()).await.problem();
    assert!(refused.message.contains("workspace"), "{refused:?}");
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    until_paused(&daemon).await;
    let prepare = "/v1/vms/web/workspace/prepare";
    let refused = daemon.client.call(Method::POST, prepare, json!({})).await.problem();
    assert!(refused.message.contains("workspace"), "{refused:?}");
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    until_paused(&daemon).await;
    assert_eq!(hear(at).await, "hello");
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    serving.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn who_wants_something_at_once_shares_one_wake() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    quiet(&env, &daemon, CreateVm { idle_stop_seconds: Some(3), ..pausing() }, 1).await;
    let ten = async || {
        for done in join_all((0..10).map(|_| says_hi(&daemon))).await {
            done.unwrap();
        }
    };
    until_paused(&daemon).await;
    ten().await;
    let history = show(&daemon, "web").await.history;
    assert_eq!(count(&history, StateName::Running, ChangeCause::Wake), 1);
    // First it is paused, then stopped; that wakes it as well.
    let stopped = until_stopped(&daemon, "web").await;
    assert_eq!(stopped.ended, Some(EndReason::Idle(3.try_into().unwrap())));
    assert_eq!(count(&show(&daemon, "web").await.history, StateName::Paused, ChangeCause::Idle), 2);
    ten().await;
    let history = show(&daemon, "web").await.history;
    assert_eq!(count(&history, StateName::Running, ChangeCause::Wake), 2);
    assert_eq!(env.world.launches(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn a_start_that_fails_is_the_answer_of_all_who_waited_and_of_nobody_else() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    quiet(&env, &daemon, stopping(), 0).await;
    until_stopped(&daemon, "web").await;
    env.world.next_boot(Boot::Refused("no memory".to_owned()));
    for refused in join_all((0..10).map(|_| says_hi(&daemon))).await {
        let refused = refused.unwrap_err();
        assert_eq!(refused.message, "cannot start VM `web`");
        assert_eq!(refused.causes, ["no memory"]);
    }
    assert_eq!(env.world.launches(), 2);
    assert_eq!(show(&daemon, "web").await.ended, Some(EndReason::Idle(second())));
    says_hi(&daemon).await.unwrap();

    // One that began is kept for a post-mortem, as after any start.
    post(&daemon, "stop").await;
    delete(&daemon, "web").await;
    quiet(&env, &daemon, stopping(), 0).await;
    until_stopped(&daemon, "web").await;
    let exit = banger_proto::supervisor::VmmExit {
        code: Some(0),
        signal: None,
        killed: false,
        stderr: String::new(),
    };
    env.world.next_boot(Boot::Dies { exit, console: "panic\n".to_owned() });
    for refused in join_all((0..3).map(|_| says_hi(&daemon))).await {
        assert_eq!(refused.unwrap_err().message, "VM `web` ended before it was ready");
    }
    let failed = says_hi(&daemon).await.unwrap_err();
    assert_eq!(failed.message, "VM `web` does not run: it is error");
    daemon.stop().await;
}

#[tokio::test]
async fn looking_wakes_nobody_and_answers() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = quiet(&env, &daemon, pausing(), 0).await;
    let (port, serving) = greeter().await;
    env.world.listen(&vm.id, [port]);
    let at = SocketAddr::from((vm.loopback.unwrap(), port));
    assert_eq!(hear(at).await, "hello");
    until_paused(&daemon).await;
    look(&daemon).await;
    let refused = daemon.client.call(Method::GET, "/v1/vms/web/ping", ()).await.problem();
    assert!(refused.causes[0].starts_with("it was idle for 1s"), "{refused:?}");
    // Where it is reached is known still.
    let ports: VmPorts = daemon.client.get("/v1/vms/web/ports").await;
    assert_eq!((ports.ports[0].endpoint, &ports.ports[0].url), (Some(at), &None));
    let _: serde_json::Value = daemon.client.get("/v1/doctor").await;
    // Commands run in it as in any that is ready.
    for until in [VmCondition::Ready, VmCondition::System] {
        let asked = WaitVm { until, timeout_seconds: Some(30) };
        let ready: VmView = daemon.client.call(Method::POST, "/v1/vms/web/wait", asked).await.ok();
        assert_eq!(ready.state, StateName::Paused);
    }
    assert!(env.world.is_paused(&vm.id));
    let history = show(&daemon, "web").await.history;
    assert_eq!(count(&history, StateName::Running, ChangeCause::Wake), 0);
    serving.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_paused_or_stopped_by_hand_stays_so() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = quiet(&env, &daemon, CreateVm { idle_stop_seconds: Some(2), ..pausing() }, 2).await;
    // Also one that sleeps already.
    until_paused(&daemon).await;
    assert_eq!(post(&daemon, "pause").await.paused_idle_seconds, None);
    let refused = says_hi(&daemon).await.unwrap_err();
    assert_eq!(
        (refused.code, &refused.hints[..]),
        (Code::Conflict, &["banger vm resume web".to_owned()][..])
    );
    assert!(env.world.is_paused(&vm.id));
    let asked = WaitVm { until: VmCondition::Stopped, timeout_seconds: Some(3) };
    let late = daemon.client.call(Method::POST, "/v1/vms/web/wait", asked).await.problem();
    assert_eq!(late.code, Code::Timeout, "it is not stopped, either");

    let (port, serving) = greeter().await;
    let at = SocketAddr::from((vm.loopback.unwrap(), port));
    for by_hand in ["stop", "kill"] {
        daemon.client.events("/v1/vms/web/start", json!({})).await.ready().await;
        env.world.listen(&vm.id, [port]);
        assert_eq!(hear(at).await, "hello");
        let slept = until_stopped(&daemon, "web").await;
        assert_eq!((slept.loopback, slept.ended.is_some()), (vm.loopback, true));
        drop(TcpListener::bind(at).await.expect_err("a port that wakes it"));
        let stopped = post(&daemon, by_hand).await;
        assert!(!matches!(stopped.ended, Some(EndReason::Idle(_))), "{by_hand}: {stopped:?}");
        assert_eq!(stopped.loopback, None);
        drop(TcpListener::bind(at).await.expect("a port that nobody has"));
        let refused = says_hi(&daemon).await.unwrap_err();
        assert_eq!(refused.message, "VM `web` does not run: it is stopped");
        assert_eq!(refused.hints, ["banger vm start web"]);
    }
    serving.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn ports_of_one_that_is_stopped_start_it() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let host = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (port, mut serving) = greeter().await;
    let published = Publish { address: [127, 0, 0, 1].into(), host, guest: port };
    let asked = CreateVm { publish: [published].into(), ..stopping() };
    let vm = quiet(&env, &daemon, asked, 3).await;
    let own = SocketAddr::from((vm.loopback.unwrap(), port));
    env.world.listen(&vm.id, [port]);
    assert_eq!(hear(own).await, "hello");
    for at in [own, published.endpoint()] {
        until_stopped(&daemon, "web").await;
        let refused = daemon.client.call(Method::GET, "/v1/vms/web/ports", ()).await.problem();
        assert!(refused.causes[1].contains(&own.to_string()), "{refused:?}");
        // Several come at once, and one to a port that never was there.
        let others = SocketAddr::from((vm.loopback.unwrap(), port ^ 1));
        assert!(TcpStream::connect(others).await.is_err());
        // What listens in the guest takes longer than the guest.
        serving.abort();
        let _ = serving.await;
        let listens = async {
            until(&daemon, "web", |vm| vm.state == StateName::Running).await;
            says_hi(&daemon).await.unwrap();
            let greeter = greeter_at(port).await;
            env.world.listen(&vm.id, [port]);
            greeter
        };
        let heard = tokio::join!(hear(at), hear(at), hear(at), listens);
        assert_eq!((&*heard.0, &*heard.1, &*heard.2), ("hello", "hello", "hello"));
        (_, serving) = heard.3;
    }
    assert_eq!(env.world.launches(), 3);

    // They are there under another daemon, too.
    until_stopped(&daemon, "web").await;
    daemon.stop().await;
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(show(&daemon, "web").await.state, StateName::Stopped);
    let listens = async {
        until(&daemon, "web", |vm| vm.state == StateName::Running).await;
        env.world.listen(&vm.id, [port]);
    };
    assert_eq!(tokio::join!(hear(own), listens).0, "hello");
    serving.abort();
    delete(&daemon, "web").await;
    drop(TcpListener::bind(own).await.expect("a port that nobody has"));
    drop(TcpListener::bind(published.endpoint()).await.expect("a port that nobody has"));
    daemon.stop().await;
}

/// Where the guest had not listened before, so that no socket of the host is taken for one of its own.
#[tokio::test]
async fn who_wakes_a_guest_waits_until_something_listens_in_it() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let (port, serving) = greeter().await;
    serving.abort();
    let _ = serving.await;
    let host = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let published = Publish { address: [127, 0, 0, 1].into(), host, guest: port };
    let asked = CreateVm { publish: [published].into(), ..stopping() };
    let vm = quiet(&env, &daemon, asked, 1).await;
    until_stopped(&daemon, "web").await;
    let listens = async {
        until(&daemon, "web", |vm| vm.state == StateName::Running).await;
        says_hi(&daemon).await.unwrap();
        let greeter = greeter_at(port).await;
        env.world.listen(&vm.id, [port]);
        greeter
    };
    let (heard, (_, serving)) = tokio::join!(hear(published.endpoint()), listens);
    assert_eq!(heard, "hello");
    serving.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn who_comes_while_it_is_being_stopped_waits_and_starts_it() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = quiet(&env, &daemon, stopping(), 1).await;
    let (port, serving) = greeter().await;
    env.world.listen(&vm.id, [port]);
    let at = SocketAddr::from((vm.loopback.unwrap(), port));
    assert_eq!(hear(at).await, "hello");
    // Its stop is held where the guest would be asked to power off.
    let steps = UnixListener::bind(&env.steps).unwrap();
    let held = in_time(async {
        loop {
            let mut step = BufReader::new(steps.accept().await.unwrap().0);
            let mut line = String::new();
            step.read_line(&mut line).await.unwrap();
            if line.starts_with("idle.power-off") {
                return step;
            }
        }
    })
    .await;
    assert_eq!(show(&daemon, "web").await.state, StateName::Stopping);
    let comes = async { tokio::join!(says_hi(&daemon), hear(at)) };
    let goes_on = async {
        drop(steps);
        fs_err::remove_file(&env.steps).unwrap();
        drop(held);
        until(&daemon, "web", |vm| vm.state == StateName::Running).await;
        env.world.listen(&vm.id, [port]);
    };
    let ((said, heard), ()) = tokio::join!(comes, goes_on);
    said.unwrap();
    assert_eq!(heard, "hello");
    assert_eq!(env.world.launches(), 2);
    serving.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn whether_it_falls_asleep_is_changed_at_once() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = quiet(&env, &daemon, named("web"), 0).await;
    assert_eq!((vm.idle_pause_seconds, vm.idle_stop_seconds), (None, None));
    let set = async |asked: SetVm| -> VmView {
        daemon.client.call(Method::PATCH, "/v1/vms/web", asked).await.ok()
    };
    let changed = set(SetVm { idle_pause_seconds: Some(1), ..SetVm::default() }).await;
    assert_eq!(changed.idle_pause_seconds, Some(second()));
    until_paused(&daemon).await;
    // While it sleeps already, too.
    set(SetVm { idle_stop_seconds: Some(2), ..SetVm::default() }).await;
    until_stopped(&daemon, "web").await;
    daemon.stop().await;
}

#[tokio::test]
async fn the_configuration_says_it_for_all() {
    let mut env = TestEnv::new();
    env.config.idle_pause_after.value = Period::try_from(300).ok();
    let daemon = TestDaemon::start(&env).await;
    let made = async |asked: CreateVm| {
        let vm = daemon.client.events("/v1/vms", asked).await.ready().await;
        vm.idle_pause_seconds.map(Period::seconds)
    };
    assert_eq!(made(named("configured")).await, Some(300));
    let never = CreateVm { idle_pause_seconds: Some(0), ..named("never") };
    assert_eq!(made(never).await, None);
    let both = CreateVm { ephemeral: true, idle_pause_seconds: Some(60), ..named("both") };
    assert_eq!(create_fails(&daemon, both).await.code, Code::BadRequest);
    daemon.stop().await;
}

#[tokio::test]
async fn it_sleeps_on_under_another_daemon() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let asked = CreateVm { idle_stop_seconds: Some(3), ..pausing() };
    let vm = quiet(&env, &daemon, asked, 1).await;
    let (port, serving) = greeter().await;
    env.world.listen(&vm.id, [port]);
    let at = SocketAddr::from((vm.loopback.unwrap(), port));
    assert_eq!(hear(at).await, "hello");
    until_paused(&daemon).await;
    daemon.stop().await;
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(show(&daemon, "web").await.paused_idle_seconds, Some(second()));
    assert!(env.world.is_paused(&vm.id));
    says_hi(&daemon).await.unwrap();
    until_paused(&daemon).await;
    daemon.kill().await;
    // Its ports are where they were, though it cannot tell.
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(hear(at).await, "hello");
    serving.abort();
    until_paused(&daemon).await;
    daemon.kill().await;
    // It goes on counting, and is stopped in the end.
    let daemon = TestDaemon::start(&env).await;
    until_stopped(&daemon, "web").await;
    daemon.kill().await;
    let daemon = TestDaemon::start(&env).await;
    says_hi(&daemon).await.unwrap();
    assert_eq!(env.world.launches(), 2);
    daemon.stop().await;
}

/// What the daemon's name server says `web.vm` is.
async fn resolve(daemon: &TestDaemon) -> Vec<String> {
    let status: banger_proto::api::DaemonStatus = daemon.client.get("/v1/daemon").await;
    let server: SocketAddr = status.dns.listen.expect("a name server").parse().expect("an address");
    let name = Name::from_ascii("web.vm.").expect("a name");
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(name, RecordType::A));
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.send_to(&question.to_vec().expect("bytes"), server).await.expect("a socket");
    let mut answer = [0; 512];
    let length = in_time(socket.recv(&mut answer)).await.expect("a socket");
    let answer = Message::from_vec(&answer[..length]).expect("an answer");
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

#[tokio::test]
async fn its_name_is_known_and_wakes_it_where_nothing_else_would() {
    for system in [false, true] {
        let env = TestEnv::new();
        if system {
            env.network.be_the_systems();
        }
        let daemon = TestDaemon::start(&env).await;
        let vm =
            quiet(&env, &daemon, CreateVm { idle_stop_seconds: Some(2), ..pausing() }, 1).await;
        let at = if system { vm.address } else { vm.loopback }.unwrap().to_string();
        until_paused(&daemon).await;
        assert_eq!(resolve(&daemon).await, [at.as_str()]);
        if system {
            until(&daemon, "web", |vm| vm.state == StateName::Running).await;
        } else {
            assert_eq!(show(&daemon, "web").await.state, StateName::Paused);
        }
        until_stopped(&daemon, "web").await;
        // Another one does not get what it has.
        let other = daemon.client.events("/v1/vms", named("other")).await.ready().await;
        assert!(other.loopback != vm.loopback && other.address != vm.address);
        assert_eq!(resolve(&daemon).await, [at.as_str()]);
        if system {
            until(&daemon, "web", |vm| vm.state == StateName::Running).await;
            assert_eq!(show(&daemon, "web").await.address, vm.address);
        } else {
            assert_eq!(show(&daemon, "web").await.state, StateName::Stopped);
        }
        post(&daemon, "stop").await;
        assert_eq!(resolve(&daemon).await, [] as [&str; 0]);
        daemon.stop().await;
    }
}
