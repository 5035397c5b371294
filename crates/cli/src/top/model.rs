//! What `banger top` knows, and what follows of what is pressed and of what comes. Nothing here reads,
//! writes or waits: keys and [`Update`]s go in, [`Command`]s come out.
//!
//! ```text
//!            /            text, Enter, Esc
//!   Table ◀────▶ Filter
//!     │  ?
//!     ├──▶ Help ── any key ──▶ Table
//!     │  d, q
//!     ├──▶ Question ── y ──▶ done;  n, Esc ──▶ Table
//!     │  l
//!     └──▶ Console ── q, Esc ──▶ Table
//! ```
//!
//! What is chosen is a VM by its id, and not a line: a list that changes under somebody's hand never
//! makes a key mean another VM.

mod messages;
mod question;

use std::collections::{BTreeMap, BTreeSet};

use banger_proto::VmId;
use banger_proto::api::{PortView, StateName, VmEvent, VmStats, VmView};
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(crate) use self::messages::{Act, Command, Update};
pub(crate) use self::question::Question;
use super::console::Console;
use super::journal::{Journal, Kind, render_change};
use super::keys::Key;

/// Lines that a page is.
const PAGE: isize = 10;

/// Longest text to filter by: no name is longer.
const MAX_FILTER: usize = 63;

/// What has the keys, and the middle of the screen.
#[derive(Debug)]
pub(crate) enum Mode {
    Table,
    /// The table, with a text that is typed.
    Filter,
    Help,
    /// The table, with a question.
    Question(Question),
    Console(Box<Console>),
}

/// Whether there is a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nothing came yet.
    Asking,
    /// It is there.
    Up,
    /// It went away, and why.
    Away(String),
}

/// All that is known.
#[derive(Debug)]
pub(crate) struct Model {
    /// The time, for ages.
    pub(crate) now: Timestamp,
    /// Where the clock is that events are told by.
    pub(crate) zone: TimeZone,
    /// Whether there is a daemon.
    pub(crate) link: Link,
    /// What has the keys.
    pub(crate) mode: Mode,
    /// What happened.
    pub(crate) journal: Journal,
    /// Only VMs with this in their name are shown.
    pub(crate) filter: String,
    vms: Vec<VmView>,
    usage: BTreeMap<VmId, VmStats>,
    selected: Option<VmId>,
    /// What was last learnt of the chosen VM's ports.
    ports: Option<(VmId, Result<Vec<PortView>, String>)>,
    /// The VM whose ports are asked for.
    asked_ports: Option<VmId>,
    /// What goes on in the background.
    acting: BTreeSet<(VmId, Act)>,
}

impl Model {
    /// Nothing is known yet.
    pub(crate) fn new(now: Timestamp, zone: TimeZone) -> Self {
        Self {
            now,
            zone,
            link: Link::Asking,
            mode: Mode::Table,
            journal: Journal::default(),
            filter: String::new(),
            vms: Vec::new(),
            usage: BTreeMap::new(),
            selected: None,
            ports: None,
            asked_ports: None,
            acting: BTreeSet::new(),
        }
    }

    /// All VMs, those that are not shown included.
    pub(crate) fn all(&self) -> &[VmView] {
        &self.vms
    }

    /// The VMs that are shown, oldest first.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &VmView> {
        self.vms.iter().filter(|vm| vm.name.as_str().contains(&self.filter))
    }

    /// Which of them is chosen.
    pub(crate) fn position(&self) -> Option<usize> {
        self.shown().position(|vm| Some(&vm.id) == self.selected.as_ref())
    }

    /// The VM that is chosen.
    pub(crate) fn chosen(&self) -> Option<&VmView> {
        self.shown().find(|vm| Some(&vm.id) == self.selected.as_ref())
    }

    /// What `vm` uses, while that is known.
    pub(crate) fn usage(&self, vm: &VmView) -> Option<&VmStats> {
        self.usage.get(&vm.id)
    }

    /// What listens in the chosen VM, once that is known.
    pub(crate) fn ports(&self) -> Option<Result<&[PortView], &str>> {
        let (vm, ports) = self.ports.as_ref()?;
        let ports = ports.as_deref().map_err(String::as_str);
        (self.selected.as_ref() == Some(vm)).then_some(ports)
    }

    /// What follows of a key.
    pub(crate) fn press(&mut self, key: Key) -> Vec<Command> {
        let mut commands = match &mut self.mode {
            Mode::Question(_) => self.answer(key),
            _ if key == Key::Interrupt => self.leave(),
            Mode::Table => self.press_in_table(key),
            Mode::Filter => self.type_filter(key),
            Mode::Help => {
                self.mode = Mode::Table;
                vec![]
            }
            Mode::Console(console) => {
                match key {
                    Key::Char('q') | Key::Escape => {
                        self.mode = Mode::Table;
                        return vec![Command::Console(None)];
                    }
                    Key::Up | Key::Char('k') => console.scroll(1),
                    Key::Down | Key::Char('j') => console.scroll(-1),
                    Key::PageUp => console.scroll(PAGE),
                    Key::PageDown | Key::Char(' ') => console.scroll(-PAGE),
                    Key::Home | Key::Char('g') => console.jump(true),
                    Key::End | Key::Char('G') => console.jump(false),
                    _ => {}
                }
                vec![]
            }
        };
        commands.extend(self.follow_choice());
        commands
    }

    /// What follows of what came.
    pub(crate) fn take(&mut self, update: Update) -> Vec<Command> {
        match update {
            Update::Vms(vms) => {
                self.link = Link::Up;
                self.replace(vms);
            }
            Update::Event(event) => self.take_event(&event),
            Update::Usage(report) => {
                self.usage = report.vms.into_iter().map(|vm| (vm.id.clone(), vm)).collect();
            }
            Update::NoUsage(why) => {
                self.usage.clear();
                if let Some(lines) = why {
                    self.fail(lines);
                }
            }
            Update::Away(lines) => {
                // Numbers and addresses of now are not told by what was; the VMs themselves go on.
                self.usage.clear();
                self.ports = None;
                self.link = Link::Away(lines.join("; "));
            }
            Update::Ports(vm, ports) => self.ports = Some((vm, ports)),
            Update::Console(vm, bytes) => {
                if let Some(console) = self.console_of(&vm) {
                    console.take(&bytes);
                }
            }
            Update::ConsoleEnded(vm, why) => {
                if let Some(console) = self.console_of(&vm) {
                    console.ended = Some(why);
                }
            }
            Update::Done(vm, act, result) => {
                self.acting.remove(&(vm, act));
                if let Err(lines) = result {
                    self.fail(lines);
                }
            }
        }
        self.follow_choice().into_iter().collect()
    }

    /// Notes something that was asked for elsewhere.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.journal.add(Some(self.now), Kind::Note, text);
    }

    /// Notes that it failed.
    pub(crate) fn fail(&mut self, lines: Vec<String>) {
        self.journal.fail(self.now, lines);
    }

    fn press_in_table(&mut self, key: Key) -> Vec<Command> {
        match key {
            Key::Up | Key::Char('k') => self.step(-1),
            Key::Down | Key::Char('j') => self.step(1),
            Key::PageUp => self.step(-PAGE),
            Key::PageDown => self.step(PAGE),
            Key::Home | Key::Char('g') => self.step(isize::MIN),
            Key::End | Key::Char('G') => self.step(isize::MAX),
            Key::Escape => self.set_filter(String::new()),
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Char('?') => self.mode = Mode::Help,
            Key::Char('q') => return self.leave(),
            key => {
                let Some(vm) = self.chosen().cloned() else { return vec![] };
                return self.press_on(vm, key);
            }
        }
        vec![]
    }

    /// A key that means the chosen VM.
    fn press_on(&mut self, vm: VmView, key: Key) -> Vec<Command> {
        match (key, vm.state) {
            (Key::Enter | Key::Char('e'), _) => vec![Command::Shell(Box::new(vm))],
            (Key::Char('l'), _) => {
                let id = vm.id.clone();
                self.mode = Mode::Console(Box::new(Console::new(vm.id, vm.name)));
                vec![Command::Console(Some(id))]
            }
            (Key::Char('s'), StateName::Stopped | StateName::Error) => self.act(vm, Act::Start),
            (Key::Char('s'), StateName::Stopping) => self.refuse(&vm, "is on its way down"),
            // Of one that is being started, too: a stop cuts that short.
            (Key::Char('s'), _) => self.act(vm, Act::Stop),
            (Key::Char('p'), StateName::Running) => self.act(vm, Act::Pause),
            (Key::Char('p'), StateName::Paused) => self.act(vm, Act::Resume),
            (Key::Char('p'), _) => self.refuse(&vm, "does not run"),
            (Key::Char('d'), _) => {
                self.mode = Mode::Question(Question::Delete(Box::new(vm)));
                vec![]
            }
            _ => vec![],
        }
    }

    fn refuse(&mut self, vm: &VmView, why: &str) -> Vec<Command> {
        self.note(format!("{} {why}", vm.name));
        vec![]
    }

    fn act(&mut self, vm: VmView, act: Act) -> Vec<Command> {
        if !self.acting.insert((vm.id.clone(), act)) {
            return self.refuse(&vm, &format!("is {} already", act.being_done()));
        }
        self.note(format!("{} {}", act.doing(), vm.name));
        vec![Command::Act(Box::new(vm), act)]
    }

    fn type_filter(&mut self, key: Key) -> Vec<Command> {
        let mut filter = self.filter.clone();
        match key {
            Key::Escape => {
                self.mode = Mode::Table;
                filter.clear();
            }
            Key::Enter | Key::Up | Key::Down => self.mode = Mode::Table,
            Key::Backspace => drop(filter.pop()),
            Key::Char(c) if filter.len() < MAX_FILTER => filter.push(c),
            _ => {}
        }
        self.set_filter(filter);
        vec![]
    }

    fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.choose_shown(0);
    }

    /// Asks before what would be undone by leaving.
    fn leave(&mut self) -> Vec<Command> {
        let unfinished = self.acting.iter().filter(|(_, act)| act.needs_us());
        let unfinished: Vec<_> = unfinished.map(|(vm, act)| (self.name_of(vm), *act)).collect();
        if unfinished.is_empty() {
            return vec![Command::Quit];
        }
        self.mode = Mode::Question(Question::Leave(unfinished));
        vec![]
    }

    fn answer(&mut self, key: Key) -> Vec<Command> {
        let answer = match key {
            Key::Char('y' | 'Y') => true,
            Key::Char('n' | 'N' | 'q') | Key::Escape | Key::Enter | Key::Interrupt => false,
            // Neither yes nor no: what was meant is asked still.
            _ => return vec![],
        };
        match std::mem::replace(&mut self.mode, Mode::Table) {
            Mode::Question(Question::Delete(vm)) if answer => {
                // As it is now: it may have been started meanwhile.
                let now = self.vms.iter().find(|other| other.id == vm.id).cloned();
                self.act(now.unwrap_or(*vm), Act::Delete)
            }
            // Twice Ctrl-C is a yes to leaving, and never to anything else.
            Mode::Question(Question::Leave(_)) if answer || key == Key::Interrupt => {
                vec![Command::Quit]
            }
            Mode::Question(Question::Delete(_)) if key == Key::Interrupt => self.leave(),
            _ => vec![],
        }
    }

    fn name_of(&self, vm: &VmId) -> String {
        let found = self.vms.iter().find(|other| other.id == *vm);
        found.map_or_else(|| vm.to_string(), |vm| vm.name.to_string())
    }

    fn console_of(&mut self, vm: &VmId) -> Option<&mut Console> {
        match &mut self.mode {
            Mode::Console(console) if console.vm == *vm => Some(console),
            _ => None,
        }
    }

    fn take_event(&mut self, event: &VmEvent) {
        let (id, at) = match event {
            VmEvent::State { vm, at, .. } | VmEvent::Deleted { vm, at, .. } => (vm, at),
            VmEvent::Position { .. } | VmEvent::Missed { .. } => return,
        };
        let known = self.vms.iter_mut().find(|vm| vm.id == *id);
        let before = known.as_ref().map(|vm| vm.state);
        if let Some(text) = render_change(event, before) {
            let at = at.parse().unwrap_or(self.now);
            self.journal.add(Some(at), Kind::Change, text);
        }
        match event {
            VmEvent::State { state, paused_idle_seconds, ended, .. } => {
                if let Some(vm) = known {
                    vm.state = *state;
                    vm.paused_idle_seconds = *paused_idle_seconds;
                    vm.ended.clone_from(ended);
                }
            }
            _ => {
                let left = self.vms.iter().filter(|vm| vm.id != *id).cloned().collect();
                self.replace(left);
            }
        }
    }

    fn replace(&mut self, vms: Vec<VmView>) {
        let place = self.position().unwrap_or(0);
        self.vms = vms;
        self.choose_shown(place);
        if let Mode::Question(Question::Delete(vm)) = &self.mode
            && !self.vms.iter().any(|other| other.id == vm.id)
        {
            self.mode = Mode::Table;
        }
    }

    /// Keeps what is chosen as long as it is shown; else what is now in its place is.
    fn choose_shown(&mut self, place: usize) {
        if self.chosen().is_none() {
            self.choose(place);
        }
    }

    fn step(&mut self, by: isize) {
        self.choose(self.position().unwrap_or(0).saturating_add_signed(by));
    }

    /// Chooses the VM at this place, or the last one.
    fn choose(&mut self, place: usize) {
        let shown: Vec<&VmId> = self.shown().map(|vm| &vm.id).collect();
        self.selected = shown.get(place).or(shown.last()).map(|id| (*id).clone());
    }

    /// Ports are asked of the chosen VM alone, while its guest is at work anyway.
    fn follow_choice(&mut self) -> Option<Command> {
        let asks = self.link == Link::Up && !matches!(self.mode, Mode::Console(_));
        let running = self.chosen().filter(|vm| asks && vm.state == StateName::Running);
        let wanted = running.map(|vm| vm.id.clone());
        if wanted == self.asked_ports {
            return None;
        }
        self.ports = None;
        self.asked_ports.clone_from(&wanted);
        Some(Command::Ports(wanted))
    }
}

#[cfg(test)]
pub(in crate::top) mod tests;
