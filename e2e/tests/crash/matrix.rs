//! One cell after the other: a step, and who is killed at it.

mod rest;
mod saved;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Output};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use banger_e2e::{Home, Repository, is_at_home, is_gone_within, kill_and_wait};
use banger_proto::supervisor::LINK_SOCKET;

use super::follower::Follower;
use super::guest::kill_agent;
use super::load::Load;
use super::network;
use super::operation::{Guest, Operation, Rest, VM, make};
use super::page;
use super::victim::Victim;

/// How long a command may take after somebody was killed.
const PATIENCE: Duration = Duration::from_secs(300);
/// Every how manieth cell is filled by a kill: 1 for all of them.
const EVERY: &str = "BANGER_CRASH_EVERY";
/// Of a run that has little time.
const SOME: usize = 3;
/// Operations with no more steps than this are done in full.
const FEW: usize = 4;
/// A row of the table: a step, and what became of the VM by victim; of one that was not there
/// when the step was entered, nothing.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) step: String,
    pub(crate) rests: BTreeMap<&'static str, Rest>,
}

/// Fills the table of `operation`, and says so in `docs/reliability.md`. Only every third cell, on the
/// diagonals of the table, is filled by a kill unless [`EVERY`] says otherwise, and the others with what is
/// expected: each step has its kills, and each victim dies at every third step, in a third of the time.
///
/// On another host there is no image with a system of its own, in which agents are killed.
pub(crate) fn run(operation: Operation) {
    let mut rows = Vec::new();
    let bench = Bench::set_up(operation, Guest::Small);
    let load = Load::wanted().then(|| Load::start(&bench.home, &bench.socket));
    let steps = bench.survey();
    assert!(!steps.is_empty(), "no step is entered");
    let every = std::env::var(EVERY).map_or(SOME, |every| every.parse().expect(EVERY));
    let killed = |index: usize, victim: Victim| {
        (every == SOME && steps.len() <= FEW) || (index + victim as usize).is_multiple_of(every)
    };
    for (index, (step, present)) in steps.iter().enumerate() {
        let fill = |victim: &Victim| {
            let rest = match killed(index, *victim) {
                true => bench.kill_at(index, step, *victim),
                false => operation.expect(step, *victim),
            };
            (victim.as_str(), rest)
        };
        rows.push(Row { step: step.clone(), rests: present.iter().map(fill).collect() });
    }
    drop(load);
    bench.finish();

    let agents = |(_, (step, present)): &(usize, &(String, Vec<Victim>))| {
        present.contains(&Victim::Vmm) && !is_before_system(step)
    };
    let with_agent: Vec<_> = steps.iter().enumerate().filter(agents).collect();
    if operation.kills_agents() && !is_at_home() {
        for (index, (step, _)) in with_agent {
            rows[index].rests.insert(Victim::Agent.as_str(), operation.expect(step, Victim::Agent));
        }
    } else if operation.kills_agents() && !with_agent.is_empty() {
        let bench = Bench::set_up(operation, Guest::System);
        for (index, (step, _)) in with_agent {
            let rest = match killed(index, Victim::Agent) {
                true => bench.kill_at(index, step, Victim::Agent),
                false => operation.expect(step, Victim::Agent),
            };
            rows[index].rests.insert(Victim::Agent.as_str(), rest);
        }
        bench.finish();
    }
    page::publish(operation, &rows);
}

/// Whether the guest's own system has not been started at this step, so that its agent is still
/// process 1.
fn is_before_system(step: &str) -> bool {
    matches!(step, "report" | "keep" | "greet" | "configure")
}

/// Where cells are filled.
struct Bench {
    operation: Operation,
    guest: Guest,
    home: Arc<Home>,
    repository: Repository,
    socket: PathBuf,
    /// The VM's id, as it was listed last.
    id: RefCell<Option<String>>,
    /// How large its disk is made next, MiB.
    mib: Cell<u32>,
}

impl Bench {
    fn set_up(operation: Operation, guest: Guest) -> Self {
        let home = match guest {
            Guest::System => Home::new(),
            Guest::Small => Home::with_small_image(),
        };
        // Steps that only some users have are taken here, too.
        std::fs::write(home.path().join("home/synced"), "a file\n").expect("a file");
        home.configure("[[file_sync]]\nhost = \"~/synced\"\nguest = \"~/synced\"\n");
        let repository = Repository::create(&home.path().join("repository"));
        let socket = home.path().join("steps.sock");
        let (home, id, mib) = (Arc::new(home), RefCell::default(), Cell::new(256));
        Self { operation, guest, home, repository, socket, id, mib }
    }

    fn finish(self) {
        self.remove_vm();
        if self.operation == Operation::Fork {
            self.home.banger(["vm", "delete", "-f", VM]).expect_code(0);
        }
        self.home.expect_nothing_left();
        network::expect_ends_with_daemon(&self.home);
    }

    /// Does the operation with nobody killed: its steps, and who is there at each.
    fn survey(&self) -> Vec<(String, Vec<Victim>)> {
        let follower = self.prepare();
        let command = self.spawn();
        let pid = command.id();
        let mut present = Vec::new();
        let (steps, output) = follower.collect(command, || {
            self.look();
            self.settle_processes();
            let here = |victim: &Victim| self.find(*victim, pid).is_some();
            present.push(Victim::HOST.into_iter().filter(here).collect::<Vec<_>>());
        });
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        drop(follower);
        self.expect_rest(self.operation.leads_to());
        let of_step = |(step, mut present): (String, Vec<Victim>)| {
            present.retain(|victim| victim.takes_part(self.operation, &step));
            (step, present)
        };
        steps.into_iter().zip(present).map(of_step).collect()
    }

    /// Kills `victim`; returns when it is gone.
    fn kill(&self, victim: Victim, step: &str, command: u32) {
        self.look();
        if victim == Victim::Agent {
            let id = self.id.borrow().clone().expect("a VM");
            return kill_agent(&self.home.runtime_dir().join("vms").join(id).join(LINK_SOCKET));
        }
        self.settle_processes();
        let supervisor = self.find(Victim::Supervisor, command);
        kill_and_wait(self.find(victim, command).expect("somebody to kill"));
        let unkept = self.operation != Operation::Snapshot && is_unkept(step);
        if let Some(supervisor) = supervisor.filter(|_| victim.is_of_vm() && unkept) {
            // It gives up by itself; the step is to find that it has.
            assert!(is_gone_within(supervisor, PATIENCE), "a supervisor without a VMM");
        }
    }

    /// Does the operation, kills `victim` when the step after `passed` others is about to happen,
    /// and tells what has become of the VM. Everything that must hold then is asserted.
    fn kill_at(&self, passed: usize, step: &str, victim: Victim) -> Rest {
        eprintln!("{}.{step}: {} is killed", self.operation.as_str(), victim.as_str());
        self.mib.set(self.mib.get() + 64);
        let follower = self.prepare();
        let unwritten = format!("{step} {}", victim.as_str());
        if self.operation == Operation::Stop {
            let write = format!("echo {unwritten} > /root/unwritten");
            self.home.exec(VM, &["sh", "-c", &write]).expect_code(0);
        }
        let command = self.spawn();
        let held = follower.hold(passed);
        assert_eq!(held.step, step);
        self.kill(victim, step, command.id());
        drop((held, follower));
        let output = wait(command);
        // Under load, somebody else may have started the next one by now, which is what a command
        // that starts a daemon wants.
        let restarted = self.operation == Operation::Recover && Load::wanted();
        if victim == Victim::Daemon && !restarted {
            assert!(!output.status.success(), "the daemon was killed, and nobody noticed");
        }
        if victim != Victim::Cli && !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("banger: "), "a failure without a word: {stderr}");
        }

        let rest = self.operation.expect(step, victim);
        if victim.is_of_network() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let done = rest == self.operation.leads_to();
            assert_eq!(output.status.success(), done, "{stderr}");
        }
        self.expect_rest(rest);
        self.expect_network(victim, rest);
        self.expect_saved();
        // Something may have gone for good only with the VM, or with its power.
        self.prepare_vm();
        self.expect_network(victim, self.operation.needs());
        if self.operation.keeps_unwritten(victim) {
            let read = self.home.exec(VM, &["cat", "/root/unwritten"]).expect_code(0);
            assert_eq!(read.stdout.trim_end(), unwritten);
        }
        // The next command works.
        let again = wait(self.spawn());
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        self.expect_rest(self.operation.leads_to());
        if self.operation == Operation::Set {
            self.expect_disk();
        }
        self.expect_network(victim, self.operation.leads_to());
        rest
    }

    /// Makes everything ready for the operation, and follows the daemon that will do it.
    fn prepare(&self) -> Follower {
        self.prepare_vm();
        // Others' VMs keep the network there.
        let others = self.operation == Operation::Fork || Load::wanted();
        match self.operation.needs().is_up() || others {
            true => drop(self.home.banger(["daemon", "stop"]).expect_code(0)),
            false => network::expect_ends_with_daemon(&self.home),
        }
        if self.operation == Operation::Recover {
            self.leave_unfinished();
            return Follower::listen(&self.socket, self.operation.as_str(), VM);
        }
        let (operation, vm) = (self.operation.told_as(), self.operation.vm());
        let follower = Follower::listen(&self.socket, operation, vm);
        assert!(wait(self.followed(&["daemon", "start"])).status.success());
        follower
    }

    /// Brings the VM to where the operation begins.
    fn prepare_vm(&self) {
        let needs = self.operation.needs();
        if needs == Rest::Absent {
            self.remove_vm();
            if self.operation == Operation::Fork {
                self.prepare_parent();
            }
            return;
        }
        if self.state().is_none() {
            make(&self.home, self.guest);
        }
        self.home.banger(["vm", "start", VM]).expect_code(0);
        let marker = self.home.exec(VM, &["cat", "/root/marker"]).expect_code(0);
        assert_eq!(marker.stdout, "kept\n");
        match needs {
            Rest::Stopped => drop(self.home.banger(["vm", "stop", VM]).expect_code(0)),
            Rest::Paused => drop(self.home.banger(["vm", "pause", VM]).expect_code(0)),
            _ => {}
        }
        if self.operation.has_snapshots() {
            self.prepare_snapshots();
        }
        self.expect_rest(needs);
    }

    /// A creation whose daemon is killed when its guest is about to be greeted.
    fn leave_unfinished(&self) {
        let follower = Follower::listen(&self.socket, "create", VM);
        let create = Operation::Create.args(self.guest, self.repository.arg(), self.mib.get());
        let command = self.followed(&create.iter().map(String::as_str).collect::<Vec<_>>());
        loop {
            let entered = follower.hold(0);
            if entered.step == "greet" {
                let _ = self.state();
                kill_and_wait(self.find(Victim::Daemon, command.id()).expect("a daemon"));
                break;
            }
        }
        drop(follower);
        assert!(!wait(command).status.success());
    }

    /// `banger` whose daemon is followed, if it starts one.
    fn followed(&self, args: &[&str]) -> Child {
        self.home.spawn_banger_with(args, &[("BANGER_STEPS", &self.socket)])
    }

    fn spawn(&self) -> Child {
        let args = self.operation.args(self.guest, self.repository.arg(), self.mib.get());
        self.followed(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn remove_vm(&self) {
        if self.state().is_some() {
            self.home.banger(["vm", "delete", "-f", self.operation.vm()]).expect_code(0);
        }
        self.expect_rest(Rest::Absent);
    }

    /// The VM's state, if it is there. Remembers its id.
    fn state(&self) -> Option<String> {
        let vm = self.home.list().into_iter().find(|vm| vm["name"] == self.operation.vm())?;
        *self.id.borrow_mut() = vm["id"].as_str().map(str::to_owned);
        Some(vm["state"].as_str()?.to_owned())
    }

    /// Learns the VM's id while a step is held. A daemon that recovers cannot be asked yet; its
    /// VM's is known from before.
    fn look(&self) {
        if self.operation != Operation::Recover {
            let _ = self.state();
        }
    }

    /// A supervisor that was just started is about to start its VMM, and one whose VMM has ended
    /// is about to end: waits until both are there, or neither.
    fn settle_processes(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(supervisor) = self.find(Victim::Supervisor, 0)
            && self.find(Victim::Vmm, 0).is_none()
        {
            assert!(Instant::now() < deadline, "a supervisor without a VMM");
            let _ = is_gone_within(supervisor, Duration::from_millis(50));
        }
    }

    fn find(&self, victim: Victim, command: u32) -> Option<i32> {
        victim.find(&self.home, self.id.borrow().as_deref(), command)
    }
}

/// Whether a supervisor at this step has not been told yet to go on without its daemon.
fn is_unkept(step: &str) -> bool {
    matches!(step, "report" | "keep")
}

/// Waits for a command's end.
fn wait(command: Child) -> Output {
    let (sender, output) = channel();
    std::thread::spawn(move || {
        // Whoever waits has given up by then, if this fails.
        let _ = sender.send(command.wait_with_output().expect("its output"));
    });
    output.recv_timeout(PATIENCE).expect("the command ends")
}
