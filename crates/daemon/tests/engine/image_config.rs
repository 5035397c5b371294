//! What an image says about running it, as far as the daemon is concerned: real commands, in the
//! test's own system.

use banger_proto::Code;
use banger_proto::api::{
    Entrypoint, EntrypointOptions, ExecVm, RunConfig, StateName, StopVm, VmView,
};
use banger_proto::guest::ServiceState;
use banger_testkit::{Boot, TestDaemon, TestEnv};
use hyper::Method;

use super::{assert_nothing_left, create, create_fails, delete, named, show, until};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A program that says `ready`, and `bye` on `SIGQUIT`.
fn image() -> RunConfig {
    let script = "trap 'kill $!; echo bye; exit 4' QUIT; tail -f /dev/null & \
                  echo ready $GREETING $PWD $*; wait";
    RunConfig {
        env: [("GREETING".to_owned(), "hello".to_owned())].into(),
        working_dir: Some("/usr".into()),
        entrypoint: words(&["sh", "-c", script, "entry"]),
        cmd: words(&["default"]),
        stop_signal: Some("SIGQUIT".into()),
        ..RunConfig::default()
    }
}

fn service(args: &[&str]) -> Option<Entrypoint> {
    let args = words(args);
    Some(Entrypoint::Service(EntrypointOptions { args, ..EntrypointOptions::default() }))
}

async fn log(daemon: &TestDaemon, vm: &str) -> String {
    let answer = daemon.client.call(Method::GET, &format!("/v1/vms/{vm}/logs"), ()).await;
    String::from_utf8(answer.body.to_vec()).expect("text")
}

#[tokio::test]
async fn commands_run_where_the_image_says() {
    let env = TestEnv::new();
    env.set_image_run(&image());
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let config = env.world.configured(&vm.id).unwrap();
    assert_eq!((config.working_dir.as_deref(), config.service), (Some("/usr"), None));
    let run =
        async |asked: ExecVm| daemon.client.exec("web", &asked).await.unwrap().finish().await.0;
    let script = words(&["sh", "-c", "echo $PWD $GREETING"]);
    let asked = || ExecVm { argv: script.clone(), ..ExecVm::default() };
    assert_eq!(run(asked()).await, "/usr hello\n");
    assert_eq!(run(ExecVm { cwd: Some("/".into()), ..asked() }).await, "/ hello\n");
    // The image's own program with other arguments, as a command that is hung up on.
    let asked = ExecVm { entrypoint: true, argv: words(&["a", "b"]), ..ExecVm::default() };
    let mut running = daemon.client.exec("web", &asked).await.unwrap();
    let said = running.reader.next().await.unwrap().unwrap().payload;
    assert_eq!(said, b"ready hello /usr a b\n");
    drop(running);
    daemon.stop().await;
}

#[tokio::test]
async fn a_service_lives_and_ends_with_its_vm() {
    let env = TestEnv::new();
    env.set_image_run(&image());
    let daemon = TestDaemon::start(&env).await;
    let mut asked = named("web");
    asked.entrypoint = service(&["given"]);
    let vm = daemon.client.events("/v1/vms", &asked).await.ready().await;
    let guest = vm.guest.expect("a guest");
    assert!(matches!(guest.service, Some(ServiceState::Running { .. })), "{guest:?}");
    while !log(&daemon, "web").await.contains("ready hello /usr given\n") {}

    // Its stop signal comes before the power-off, at every boot.
    for _ in 0..2 {
        let stopped: VmView = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await.ok();
        assert_eq!(stopped.state, StateName::Stopped);
        let text = log(&daemon, "web").await;
        let end = "bye\nbanger-agent: the image's program exited with code 4\n";
        assert!(text.ends_with(end), "{text}");
        daemon.client.events("/v1/vms/web/start", serde_json::json!({})).await.ready().await;
        while !log(&daemon, "web").await.contains("ready hello /usr given\n") {}
    }
    delete(&daemon, "web").await;
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_service_is_shown_to_its_end() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    for (name, argv, ended) in [
        ("brief", ["sh", "-c", "exit 3"], ServiceState::Exited { code: Some(3), signal: None }),
        (
            "killed",
            ["sh", "-c", "kill -9 $$"],
            ServiceState::Exited { code: None, signal: Some(9) },
        ),
    ] {
        env.set_image_run(&RunConfig { cmd: words(&argv), ..RunConfig::default() });
        let mut asked = named(name);
        asked.entrypoint = service(&[]);
        daemon.client.events("/v1/vms", &asked).await.ready().await;
        let shown = |vm: &VmView| vm.guest.as_ref().and_then(|guest| guest.service.clone());
        until(&daemon, name, |vm| shown(vm) == Some(ended.clone())).await;
    }
    // One that cannot be started is a notice at the boot, and does not keep the VM from living.
    env.set_image_run(&RunConfig { cmd: words(&["/no/such"]), ..RunConfig::default() });
    let mut asked = named("absent");
    asked.entrypoint = service(&[]);
    let mut events = daemon.client.events("/v1/vms", &asked).await;
    let notice = events.find(|event| match event {
        banger_proto::api::Event::Notice { text } if text.contains("/no/such") => {
            Some(text.clone())
        }
        _ => None,
    });
    let notice = notice.await;
    assert!(notice.contains("no such file or directory"), "{notice}");
    assert_eq!(events.ready().await.state, StateName::Running);
    daemon.stop().await;
}

#[tokio::test]
async fn a_service_that_will_not_end_does_not_hold_the_stop() {
    let env = TestEnv::new();
    let script = "trap '' TERM; echo ready; while read line; do :; done; tail -f /dev/null";
    env.set_image_run(&RunConfig { cmd: words(&["sh", "-c", script]), ..RunConfig::default() });
    let daemon = TestDaemon::start(&env).await;
    let mut asked = named("web");
    asked.entrypoint = service(&[]);
    daemon.client.events("/v1/vms", &asked).await.ready().await;
    while !log(&daemon, "web").await.contains("ready\n") {}
    let asked = StopVm { grace_seconds: Some(1) };
    let stopped: VmView = daemon.client.call(Method::POST, "/v1/vms/web/stop", asked).await.ok();
    assert_eq!(stopped.state, StateName::Stopped);
    let text = log(&daemon, "web").await;
    assert!(text.ends_with("the image's program was ended by signal 9\n"), "{text}");
    daemon.stop().await;
}

#[tokio::test]
async fn an_image_without_a_program_is_refused_before_the_boot() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    for entrypoint in [service(&["args"]), Some(Entrypoint::Attached)] {
        let problem =
            create_fails(&daemon, banger_proto::api::CreateVm { entrypoint, ..named("web") });
        let problem = problem.await;
        assert_eq!(problem.code, Code::BadRequest);
        assert!(problem.message.contains("neither an entrypoint nor a command"), "{problem:?}");
        assert_nothing_left(&env, &daemon).await;
    }
    // Nor is it there for a VM that has been made without asking for it.
    create(&daemon, "web").await;
    let asked = ExecVm { entrypoint: true, ..ExecVm::default() };
    assert_eq!(daemon.client.exec("web", &asked).await.unwrap_err().code, Code::BadRequest);
    daemon.stop().await;
}

#[tokio::test]
async fn an_image_without_a_shell_says_what_it_has() {
    let env = TestEnv::new();
    let root = env.dir().join("root");
    fs_err::create_dir(&root).unwrap();
    env.world.next_boot(Boot::InDirectory(root));
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    let problem = daemon.client.exec("web", &ExecVm::default()).await.unwrap_err();
    assert_eq!(problem.code, Code::NotFound);
    assert!(problem.message.starts_with("image `"), "{problem:?}");
    assert!(problem.message.ends_with("` has no shell"), "{problem:?}");
    assert!(problem.hints[0].ends_with("banger vm exec web -- COMMAND"), "{problem:?}");
    assert!(problem.hints[1].ends_with("--entrypoint"), "{problem:?}");
    daemon.stop().await;
}
