//! What comes from the daemon: streams that are opened again when they end, and what is asked for
//! once.
//!
//! ```text
//! events ──▶ a change; then the list anew, one at a time ┐
//! stats ───▶ numbers, one report a second ───────────────┤
//! ports ───▶ of the chosen VM ───────────────────────────┼──▶ next()
//! console ─▶ of the VM that is looked at ────────────────┤
//! acts ────▶ how they went ──────────────────────────────┘
//! ```
//!
//! Nothing of this wakes a VM or counts as use of one. A daemon that went away is waited for and
//! never started: whoever stopped it meant it. What has not been shown yet holds up what comes
//! behind it, up to the daemon.

use std::pin::Pin;
use std::time::Duration;

use banger_proto::VmId;
use banger_proto::api::{StatsReport, VmEvent, VmList, VmPorts};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::model::{Command, Update};
use crate::client::{Client, Events};
use crate::cmd::top as commands;
use crate::errors::CliError;
use crate::reference::vm_path;

/// Updates that may wait to be shown.
const QUEUE: usize = 16;

/// How long after the first failure the daemon is asked again; doubled with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest that becomes.
const LAST_PAUSE: Duration = Duration::from_secs(4);

/// How long a VM has to be chosen before its ports are asked for: who scrolls past asks nothing.
const PORTS_SETTLE: Duration = Duration::from_millis(250);
/// How long what was learnt of ports is good. The daemon asks whether HTTP is answered there, and
/// programs may write down each time.
const PORTS_INTERVAL: Duration = Duration::from_secs(30);

/// Lines of a console that are shown at first.
const CONSOLE_TAIL: u32 = 500;

/// Something that is done in the background.
type Work = Pin<Box<dyn Future<Output = Update>>>;

/// All that comes. Dropping it ends it all.
#[derive(Debug)]
pub(crate) struct Feed {
    client: Client,
    sender: mpsc::Sender<Update>,
    updates: mpsc::Receiver<Update>,
    acts: FuturesUnordered<Work>,
    ports: Option<AbortOnDropHandle<()>>,
    console: Option<AbortOnDropHandle<()>>,
    _streams: [AbortOnDropHandle<()>; 2],
}

impl Feed {
    /// Begins to ask.
    pub(crate) fn open(client: Client) -> Self {
        let (sender, updates) = mpsc::channel(QUEUE);
        let streams = [
            spawn(watch(client.clone(), sender.clone())),
            spawn(measure(client.clone(), sender.clone())),
        ];
        let acts = FuturesUnordered::new();
        Self { client, sender, updates, acts, ports: None, console: None, _streams: streams }
    }

    /// What comes next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Update {
        tokio::select! {
            // The sender is here: this end is never told.
            Some(update) = self.updates.recv() => update,
            Some(update) = self.acts.next(), if !self.acts.is_empty() => update,
            else => std::future::pending().await,
        }
    }

    /// Begins what goes on in the background.
    pub(crate) fn begin(&mut self, command: Command) {
        let (client, sender) = (self.client.clone(), self.sender.clone());
        match command {
            Command::Act(vm, act) => self.acts.push(Box::pin(async move {
                let id = vm.id.clone();
                let done = commands::act(client, *vm, act).await;
                Update::Done(id, act, done.map_err(|error| error.lines()))
            })),
            Command::Ports(vm) => self.ports = vm.map(|vm| spawn(ask_ports(client, sender, vm))),
            Command::Console(vm) => {
                self.console = vm.map(|vm| spawn(read_console(client, sender, vm)));
            }
            // Those have the foreground.
            Command::Quit | Command::Shell(_) => {}
        }
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Time until the next try.
#[derive(Debug)]
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(LAST_PAUSE);
    }
}

/// Follows what happens, for ever.
async fn watch(client: Client, updates: mpsc::Sender<Update>) {
    let (mut pause, mut last) = (Pause::new(), None);
    loop {
        let Err(error) = follow_events(&client, &updates, &mut last, &mut pause).await else {
            return;
        };
        if updates.send(Update::Away(error.lines())).await.is_err() {
            return;
        }
        pause.wait().await;
    }
}

/// Follows what happens after the change `last` as long as that can be. Ends without an error when
/// nobody wants to know any more.
async fn follow_events(
    client: &Client,
    updates: &mpsc::Sender<Update>,
    last: &mut Option<u64>,
    pause: &mut Pause,
) -> Result<(), CliError> {
    let since = last.map(|seq| format!("?since={seq}")).unwrap_or_default();
    let mut events: Events<VmEvent> = client.follow(&format!("/v1/events{since}")).await?;
    let load = || Box::pin(client.get::<VmList>("/v1/vms"));
    let mut loading = None;
    // What is listed now may be older than a change that was told meanwhile.
    let mut stale = false;
    loop {
        let update = tokio::select! {
            event = events.next() => {
                let event = event?;
                *last = Some(event.seq());
                stale = loading.is_some();
                loading = Some(loading.unwrap_or_else(load));
                Update::Event(event)
            }
            list = async { Some(loading.as_mut()?.await) }, if loading.is_some() => {
                let Some(list) = list.transpose()? else { continue };
                *pause = Pause::new();
                loading = stale.then(load);
                if std::mem::take(&mut stale) {
                    continue;
                }
                Update::Vms(list.vms)
            }
        };
        if updates.send(update).await.is_err() {
            return Ok(());
        }
    }
}

/// Follows what VMs use, for ever. That the daemon went away is told by [`watch`].
async fn measure(client: Client, updates: mpsc::Sender<Update>) {
    let mut pause = Pause::new();
    loop {
        let why = match client.follow::<StatsReport>("/v1/stats?follow=true").await {
            Ok(mut reports) => {
                while let Ok(report) = reports.next().await {
                    pause = Pause::new();
                    if updates.send(Update::Usage(report)).await.is_err() {
                        return;
                    }
                }
                None
            }
            Err(error) => (!error.is_lost()).then(|| error.lines()),
        };
        if updates.send(Update::NoUsage(why)).await.is_err() {
            return;
        }
        pause.wait().await;
    }
}

async fn ask_ports(client: Client, updates: mpsc::Sender<Update>, vm: VmId) {
    sleep(PORTS_SETTLE).await;
    loop {
        let asked = client.get::<VmPorts>(&vm_path(&vm, "/ports")).await;
        let ports = asked.map(|told| told.ports).map_err(|error| error.lines().join("; "));
        if updates.send(Update::Ports(vm.clone(), ports)).await.is_err() {
            return;
        }
        sleep(PORTS_INTERVAL).await;
    }
}

async fn read_console(client: Client, updates: mpsc::Sender<Update>, vm: VmId) {
    let why = match follow_console(&client, &updates, &vm).await {
        Ok(()) => "the VM is down".to_owned(),
        Err(error) => error.lines().join("; "),
    };
    // Nobody who wants to know is as good as an end.
    let _ = updates.send(Update::ConsoleEnded(vm, why)).await;
}

async fn follow_console(
    client: &Client,
    updates: &mpsc::Sender<Update>,
    vm: &VmId,
) -> Result<(), CliError> {
    let path = vm_path(vm, &format!("/logs?follow=true&tail={CONSOLE_TAIL}"));
    let mut console = client.read(&path).await?;
    while let Some(bytes) = console.next().await? {
        if updates.send(Update::Console(vm.clone(), bytes)).await.is_err() {
            break;
        }
    }
    Ok(())
}
