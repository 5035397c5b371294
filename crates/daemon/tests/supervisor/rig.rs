//! A backend whose VMM is a fake one and whose supervisor is the real one, both played by this test
//! program.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use banger_daemon::exec::HostEnv;
use banger_daemon::guest::GuestClient;
use banger_daemon::hypervisor::detect::Accel;
use banger_daemon::hypervisor::firecracker::Firecracker;
use banger_daemon::hypervisor::qemu::{Qemu, QemuOptions};
use banger_daemon::hypervisor::{
    DiskLimits, DiskSpec, Hypervisor, RunningVm, Supervision, VmmSpec,
};
use banger_daemon::step::{Followers, Operation, Walk};
use banger_link::Magic;
use banger_proto::guest::ExecRequest;
use banger_proto::supervisor::{STATE_FILE, SupervisorState};
use banger_proto::{Paths, VmId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{fake_firecracker, fake_qemu};

/// Names the supervisor's role and carries its argument.
pub(crate) const SUPERVISOR_ROLE: &str = "BANGER_TEST_SUPERVISOR";

const MAGIC: Magic = Magic::from_bytes([0x5a; 16]);
/// For what should happen at once; only a failing test waits this long.
const DEADLINE: Duration = Duration::from_secs(60);

/// Which VMM is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Qemu,
    Firecracker,
}

pub(crate) struct Rig {
    dir: tempfile::TempDir,
    kind: Kind,
    supervision: Supervision,
    pub(crate) hypervisor: Box<dyn Hypervisor>,
    pub(crate) spec: VmmSpec,
    pub(crate) walk: Walk,
    pub(crate) runtime_dir: PathBuf,
}

impl Rig {
    /// A rig whose QEMU behaves as `words` say.
    pub(crate) fn new(words: &str) -> Self {
        Self::of(Kind::Qemu, words)
    }

    /// A rig whose VMM behaves as `words` say.
    pub(crate) fn of(kind: Kind, words: &str) -> Self {
        let this = std::env::current_exe().unwrap();
        let this = this.display();
        let play = match kind {
            Kind::Qemu => format!(
                "export {}='{MAGIC} {words}'\n\
                 exec '{this}' --exact play_fake_qemu <&8 2>&9",
                fake_qemu::ROLE
            ),
            Kind::Firecracker => format!(
                "export {}='{MAGIC} {words}' {}=\"$*\"\n\
                 exec '{this}' --exact play_fake_firecracker",
                fake_firecracker::ROLE,
                fake_firecracker::ARGUMENTS
            ),
        };
        // The console must not hear from the test harness more than it has to.
        Self::with_script(kind, &format!("{play} --nocapture --test-threads=1"))
    }

    /// A rig whose QEMU is this shell script.
    pub(crate) fn with_vmm_script(vmm: &str) -> Self {
        Self::with_script(Kind::Qemu, vmm)
    }

    fn with_script(kind: Kind, vmm: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let this = std::env::current_exe().unwrap();
        let supervisor = format!(
            "export {SUPERVISOR_ROLE}=\"$1\"\n\
             exec '{}' --exact play_supervisor --nocapture --test-threads=1",
            this.display()
        );
        let vm = VmId::from_random([7; 6]);
        let at = |name: &str| dir.path().join(name);
        let disk = |name: &str| DiskSpec {
            path: at(name),
            serial: name.into(),
            read_only: name == "base",
        };
        let paths = Paths {
            config_file: at("config.toml"),
            state_dir: at("state"),
            data_dir: at("data"),
            cache_dir: at("cache"),
            runtime_dir: at("runtime"),
        };
        let runtime_dir = paths.vm_runtime_dir(&vm);
        let spec = VmmSpec {
            vm,
            kernel: at("vmlinux"),
            initramfs: at("initramfs"),
            cmdline: Vec::new(),
            vcpu: 1,
            memory_mib: 128,
            disks: ["base", "writable"].map(disk).into(),
            disk_limits: DiskLimits::default(),
            link_magic: MAGIC,
            card: None,
            console_log: at("console.log"),
            saved: None,
        };
        script(&at("fake-vmm"), vmm);
        let supervision = Supervision {
            paths,
            program: script(&at("supervisor"), &supervisor),
            helper: None,
            scope_helper: None,
        };
        let walk = Followers::default().walk(&"vm", Operation::Start);
        let hypervisor = make(kind, &at("fake-vmm"), &supervision);
        Self { dir, kind, supervision, hypervisor, spec, walk, runtime_dir }
    }

    /// The rig with a helper at `socket` that gives scopes.
    pub(crate) fn with_scopes(mut self, socket: &Path) -> Self {
        self.supervision.scope_helper = Some(socket.to_owned());
        self.hypervisor = make(self.kind, &self.path("fake-vmm"), &self.supervision);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn launch(&self) -> (Arc<dyn RunningVm>, GuestClient) {
        let vm = self.hypervisor.launch(&self.spec, &self.walk).await.unwrap();
        (Arc::clone(&vm), GuestClient::new(vm).within(DEADLINE))
    }

    pub(crate) async fn clean(&self) {
        self.hypervisor.clean(&self.spec.vm).await.unwrap();
        assert!(!self.runtime_dir.exists());
    }

    pub(crate) fn state(&self) -> SupervisorState {
        let text = fs_err::read(self.runtime_dir.join(STATE_FILE)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

fn make(kind: Kind, program: &Path, supervision: &Supervision) -> Box<dyn Hypervisor> {
    let (program, supervision) = (program.to_owned(), supervision.clone());
    match kind {
        Kind::Qemu => Box::new(Qemu::new(QemuOptions {
            program,
            accel: Accel::Tcg,
            supervision,
            host_khz: Some(1),
        })),
        Kind::Firecracker => {
            Box::new(Firecracker::new(program, HostEnv::from_env(|_| None), supervision))
        }
    }
}

fn script(path: &Path, body: &str) -> PathBuf {
    fs_err::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    path.to_owned()
}

/// A request to run this in the fake guest.
pub(crate) fn command(argv: &[&str]) -> ExecRequest {
    let argv = argv.iter().map(ToString::to_string).collect();
    ExecRequest { argv, ..ExecRequest::default() }
}

/// `work`'s result, which must come in time.
pub(crate) async fn soon<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(DEADLINE, work).await.expect("it takes too long")
}

/// Waits until the process is gone.
pub(crate) async fn gone(pid: u32) {
    let waited = tokio::task::spawn_blocking(move || {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
        let deadline = Timespec { tv_sec: 60, tv_nsec: 0 };
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&deadline)).unwrap() == 1
    });
    assert!(waited.await.unwrap(), "process {pid} lives");
}
