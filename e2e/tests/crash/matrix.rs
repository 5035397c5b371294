//! One cell after the other: a step, and who is killed at it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Output};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use banger_e2e::{Changes, Home, OciImage, Repository, files, is_gone_within, kill_and_wait};
use serde_json::json;

use super::follower::Follower;
use super::load::Load;
use super::operation::{Operation, Rest, VM, make};
use super::page;
use super::victim::Victim;

/// How long a command may take after somebody was killed.
const PATIENCE: Duration = Duration::from_secs(300);
/// Name of the image.
pub(crate) const IMAGE: &str = "small";

/// A row of the table: a step, and what became of the VM by victim; of one that was not there
/// when the step was entered, nothing.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) step: String,
    pub(crate) rests: BTreeMap<&'static str, Rest>,
}

/// Fills the table of `operation`, and says so in `docs/reliability.md`.
pub(crate) fn run(operation: Operation) {
    let bench = Bench::set_up(operation);
    let load = Load::wanted().then(|| Load::start(&bench.home, IMAGE));
    let steps = bench.survey();
    assert!(!steps.is_empty(), "no step is entered");
    let mut rows = Vec::new();
    for (index, (step, present)) in steps.iter().enumerate() {
        let mut rests = BTreeMap::new();
        for victim in present {
            eprintln!("{}.{step}: {} is killed", operation.as_str(), victim.as_str());
            rests.insert(victim.as_str(), bench.kill_at(index, step, *victim));
        }
        rows.push(Row { step: step.clone(), rests });
    }
    drop(load);
    bench.remove_vm();
    bench.home.expect_nothing_left();
    page::publish(operation, &rows);
}

/// Where cells are filled.
struct Bench {
    operation: Operation,
    home: Arc<Home>,
    repository: Repository,
    socket: PathBuf,
    /// The VM's id, as it was listed last.
    id: RefCell<Option<String>>,
}

impl Bench {
    fn set_up(operation: Operation) -> Self {
        let home = Home::apart().with_kernel();
        let applets = ["cat", "sh", "sync", "true", "setsid"];
        let image = OciImage::new(json!({})).busybox("bin/busybox");
        let image = applets
            .iter()
            .fold(image, |image, name| image.link(&format!("bin/{name}"), "busybox"))
            .file("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\n");
        let archive = home.path().join("image.tar");
        image.write(&archive);
        home.banger(["image", "import", "--name", IMAGE, archive.to_str().expect("path")])
            .expect_code(0);
        let repository = Repository::create(&home.path().join("repository"));
        let socket = home.path().join("steps.sock");
        Self { operation, home: Arc::new(home), repository, socket, id: RefCell::default() }
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
            present.push(Victim::ALL.into_iter().filter(here).collect());
        });
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        drop(follower);
        self.expect_rest(self.operation.leads_to());
        steps.into_iter().zip(present).collect()
    }

    /// Does the operation, kills `victim` when the step after `passed` others is about to happen,
    /// and tells what has become of the VM. Everything that must hold then is asserted.
    fn kill_at(&self, passed: usize, step: &str, victim: Victim) -> Rest {
        let follower = self.prepare();
        let unwritten = format!("{step} {}", victim.as_str());
        if self.operation == Operation::Stop {
            let write = format!("echo {unwritten} > /root/unwritten");
            self.home.exec(VM, &["sh", "-c", &write]).expect_code(0);
        }
        let command = self.spawn();
        let held = follower.hold(passed);
        assert_eq!(held.step, step);
        self.look();
        self.settle_processes();
        let supervisor = self.find(Victim::Supervisor, command.id());
        kill_and_wait(self.find(victim, command.id()).expect("somebody to kill"));
        if let Some(supervisor) = supervisor.filter(|_| victim.is_of_vm() && is_unkept(step)) {
            // It gives up by itself; the step is to find that it has.
            assert!(is_gone_within(supervisor, PATIENCE), "a supervisor without a VMM");
        }
        drop((held, follower));
        let output = wait(command);
        if victim == Victim::Daemon {
            assert!(!output.status.success(), "the daemon was killed, and nobody noticed");
        }
        if victim != Victim::Cli && !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("banger: "), "a failure without a word: {stderr}");
        }

        let rest = self.operation.expect(step, victim);
        self.expect_rest(rest);
        // Something may have gone for good only with the VM, or with its power.
        self.prepare_vm();
        if self.operation.keeps_unwritten(victim) {
            let read = self.home.exec(VM, &["cat", "/root/unwritten"]).expect_code(0);
            assert_eq!(read.stdout.trim_end(), unwritten);
        }
        // The next command works.
        let again = wait(self.spawn());
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        self.expect_rest(self.operation.leads_to());
        rest
    }

    /// Makes everything ready for the operation, and follows the daemon that will do it.
    fn prepare(&self) -> Follower {
        self.prepare_vm();
        self.home.banger(["daemon", "stop"]).expect_code(0);
        if self.operation == Operation::Recover {
            self.leave_unfinished();
            return Follower::listen(&self.socket, self.operation.as_str(), VM);
        }
        let follower = Follower::listen(&self.socket, self.operation.as_str(), VM);
        assert!(wait(self.followed(&["daemon", "start"])).status.success());
        follower
    }

    /// Brings the VM to where the operation begins.
    fn prepare_vm(&self) {
        let needs = self.operation.needs();
        if needs == Rest::Absent {
            return self.remove_vm();
        }
        if self.state().is_none() {
            make(&self.home, IMAGE);
        }
        self.home.banger(["vm", "start", VM]).expect_code(0);
        let marker = self.home.exec(VM, &["cat", "/root/marker"]).expect_code(0);
        assert_eq!(marker.stdout, "kept\n");
        if needs == Rest::Stopped {
            self.home.banger(["vm", "stop", VM]).expect_code(0);
        }
        self.expect_rest(needs);
    }

    /// A creation whose daemon is killed when its guest is about to be greeted.
    fn leave_unfinished(&self) {
        let follower = Follower::listen(&self.socket, "create", VM);
        let create = Operation::Create.args(IMAGE, self.repository.arg());
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
        let args = self.operation.args(IMAGE, self.repository.arg());
        self.followed(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn remove_vm(&self) {
        if self.state().is_some() {
            self.home.banger(["vm", "delete", VM]).expect_code(0);
        }
        self.expect_rest(Rest::Absent);
    }

    /// The VM's state, if it is there. Remembers its id.
    fn state(&self) -> Option<String> {
        let vm = self.home.list().into_iter().find(|vm| vm["name"] == VM)?;
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

    /// Waits until the VM rests as it should, and asserts that nothing is there that a VM in
    /// that state does not have.
    fn expect_rest(&self, rest: Rest) {
        let wanted = (rest != Rest::Absent).then(|| rest.as_str());
        let mut state = None;
        let mut changes = Changes::below(&[self.home.state_dir(), self.home.runtime_dir()]);
        changes.wait_until(&format!("the VM is {}", rest.as_str()), |_| {
            state = self.state();
            state.as_deref() == wanted
        });
        let gc = self.home.banger(["system", "gc", "--dry-run", "--json"]).expect_code(0).json();
        assert_eq!(gc["leftovers"], json!([]), "left behind");
        let id = self.id.borrow().clone();
        let Some(id) = id else { return };
        let of_vm = |found: Vec<String>| -> Vec<String> {
            found.into_iter().filter(|line| line.contains(&id)).collect()
        };
        let processes = of_vm(self.home.processes());
        let expected = if rest == Rest::Running { 2 } else { 0 };
        assert_eq!(processes.len(), expected, "processes: {processes:#?}");
        let runtime = of_vm(files(&self.home.runtime_dir()));
        assert_eq!(!runtime.is_empty(), rest == Rest::Running, "runtime files: {runtime:#?}");
        let state = of_vm(files(&self.home.state_dir()));
        assert_eq!(!state.is_empty(), rest != Rest::Absent, "state files: {state:#?}");
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
