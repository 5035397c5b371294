//! The image's own program: its output and end on the console, its state, its stop.

use std::io::{BufRead, BufReader, PipeReader};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use banger_agent::{Context, Hosted};
use banger_proto::guest::{
    Configured, GuestConfig, Health, Service, ServiceSpec, ServiceState, ShutdownRequest,
};

use crate::host::{Stream, config, within};

/// A guest with a service.
struct Guest {
    hosted: Hosted,
    context: Arc<Context>,
    console: Option<BufReader<PipeReader>>,
    watch: Stream,
    /// As the configuration told it.
    first: ServiceState,
}

impl Guest {
    /// Starts `argv`, which ends on `SIGQUIT`.
    async fn start(argv: &[&str]) -> Self {
        let (console, far) = std::io::pipe().unwrap();
        let hosted = Hosted::default().with_console(OwnedFd::from(far).into());
        let context = Context::hosted(hosted.clone());
        let spec = ServiceSpec {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            cwd: Some("/".into()),
            user: None,
            stop_signal: 3,
        };
        let config = GuestConfig { service: Some(spec), ..config() };
        let mut watch = Stream::open(&context, &Service::Watch).await;
        assert_eq!(watch.accepted::<Health>().await.service, None);
        let configure = Service::Configure(Box::new(config));
        let configured: Configured = Stream::open(&context, &configure).await.accepted().await;
        let first = configured.service.expect("a service");
        Self { hosted, context, console: Some(BufReader::new(console)), watch, first }
    }

    /// The console's next line.
    async fn line(&mut self) -> String {
        let mut console = self.console.take().unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            console.read_line(&mut line).map(|_| (console, line))
        });
        let (console, line) = within(read).await.unwrap().unwrap();
        self.console = Some(console);
        line.trim_end().to_owned()
    }

    /// How the service is once it does not run any more.
    async fn ended(&mut self) -> ServiceState {
        loop {
            let health: Health = self.watch.next().await.unwrap().parse().unwrap();
            match health.service {
                Some(ServiceState::Running { .. }) | None => {}
                Some(ended) => return ended,
            }
        }
    }

    /// Asks the guest to end, giving its service `grace_ms`.
    async fn shut_down(&self, grace_ms: u64) {
        let request = ShutdownRequest { reboot: false, service_grace_ms: Some(grace_ms) };
        let mut stream = Stream::open(&self.context, &Service::Shutdown(request)).await;
        stream.accepted::<serde_json::Value>().await;
    }

    async fn powered_off(&self) {
        within(async {
            while self.hosted.powered_off().is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn exited(code: u8) -> ServiceState {
    ServiceState::Exited { code: Some(code), signal: None }
}

#[tokio::test]
async fn output_and_end_are_on_the_console() {
    let mut guest =
        Guest::start(&["sh", "-c", "echo out; echo err >&2; echo $FROM_GUEST $PWD; exit 3"]).await;
    assert!(matches!(guest.first, ServiceState::Running { .. }), "{:?}", guest.first);
    let end = "banger-agent: the image's program exited with code 3";
    for expected in ["out", "err", "guest /", end] {
        assert_eq!(guest.line().await, expected);
    }
    assert_eq!(guest.ended().await, exited(3));
    let health: Health = Stream::open(&guest.context, &Service::Health).await.accepted().await;
    assert_eq!(health.service, Some(exited(3)));
}

#[tokio::test]
async fn what_cannot_be_started_is_told() {
    let mut guest = Guest::start(&["/no/such/program"]).await;
    let reason = "banger: /no/such/program: no such file or directory".to_owned();
    assert_eq!(guest.first, ServiceState::Failed { reason: reason.clone() });
    assert_eq!(
        guest.line().await,
        format!("banger-agent: the image's program did not run: {reason}")
    );
    // It holds nothing up.
    guest.shut_down(1_000_000).await;
    guest.powered_off().await;
}

#[tokio::test]
async fn its_own_signal_comes_before_the_power_off() {
    let script = "trap 'kill $!; echo bye; exit 4' QUIT; tail -f /dev/null & echo ready; wait";
    let mut guest = Guest::start(&["sh", "-c", script]).await;
    assert_eq!(guest.line().await, "ready");
    guest.shut_down(1_000_000).await;
    assert_eq!(guest.line().await, "bye");
    assert_eq!(guest.ended().await, exited(4));
    guest.powered_off().await;
}

#[tokio::test]
async fn one_that_does_not_end_is_killed_with_its_group() {
    let script = "trap '' QUIT; tail -f /dev/null & echo ready; wait";
    let mut guest = Guest::start(&["sh", "-c", script]).await;
    assert_eq!(guest.line().await, "ready");
    guest.shut_down(1).await;
    assert_eq!(guest.ended().await, ServiceState::Exited { code: None, signal: Some(9) });
    assert_eq!(guest.line().await, "banger-agent: the image's program was ended by signal 9");
    guest.powered_off().await;
}

#[tokio::test]
async fn a_process_it_leaves_does_not_hold_its_end() {
    let mut guest = Guest::start(&["sh", "-c", "tail -f /dev/null & echo $!"]).await;
    let left = guest.line().await.parse().unwrap();
    assert_eq!(guest.ended().await, exited(0));
    let left = rustix::process::Pid::from_raw(left).unwrap();
    rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_copy_starts_what_does_not_run_and_leaves_what_does() {
    let script = "trap 'exit 4' QUIT; tail -f /dev/null & echo $FROM_GUEST; wait";
    let mut guest = Guest::start(&["sh", "-c", script]).await;
    assert_eq!(guest.line().await, "guest");
    let copy = GuestConfig {
        env: [("FROM_GUEST".to_owned(), "copy".to_owned())].into(),
        service: guest.hosted.configured().unwrap().service,
        ..config()
    };
    let context = Arc::clone(&guest.context);
    let renew = async |copy: &GuestConfig| {
        let service = Service::Renew(Box::new(copy.clone()));
        let mut stream = Stream::open(&context, &service).await;
        stream.accepted::<Configured>().await.service
    };
    let first = Some(guest.first.clone());
    assert_eq!(renew(&copy).await, first, "it goes on");
    assert_eq!(renew(&GuestConfig { service: None, ..copy.clone() }).await, first, "it goes on");
    let Some(ServiceState::Running { pid }) = first else { panic!("{first:?}") };
    let process = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::QUIT).unwrap();
    assert_eq!(guest.ended().await, exited(4));
    assert_eq!(guest.line().await, "banger-agent: the image's program exited with code 4");

    let again = renew(&copy).await;
    assert!(matches!(again, Some(ServiceState::Running { pid: new }) if new != pid), "{again:?}");
    assert_eq!(guest.line().await, "copy");
    guest.shut_down(1_000_000).await;
    guest.powered_off().await;
}
