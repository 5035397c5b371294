//! The agent's only unsafe code: what a child does between fork and exec, waiting for files,
//! how memory is kept, and three ioctls.
#![expect(
    unsafe_code,
    reason = "code between fork and exec, registering files, calls without a safe wrapper"
)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::libc;
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, Setter, ioctl, opcode};
use rustix::process::{Resource, Rlimit, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a command's process does to itself before it becomes the command.
#[derive(Debug)]
pub(crate) struct ChildSetup {
    /// Becomes the root; none to keep the agent's.
    pub(crate) root: Option<OwnedFd>,
    /// Becomes the working directory.
    pub(crate) cwd: OwnedFd,
    /// Who to become; none to stay who the agent is.
    pub(crate) credentials: Option<Credentials>,
    /// Whether standard input is a terminal, to be the controlling one.
    pub(crate) terminal: bool,
    /// Whether it comes before everything else but the agent, until it is [calmed](calm).
    pub(crate) urgent: bool,
}

/// A user with all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
}

/// Open files a command may have: what systemd gives to services. The soft limit stays at the
/// number that `select` can handle; programs that can do more raise it themselves.
const OPEN_FILES: Rlimit = Rlimit { current: Some(1024), maximum: Some(524_288) };

/// Makes `command` set itself up as `setup` says, in a session of its own.
pub(crate) fn set_up_child(command: &mut Command, setup: ChildSetup) {
    let set_up = move || setup.apply().map_err(io::Error::from);
    // SAFETY: the closure runs in the forked child, where other threads' locks may be held for
    // good. `apply` makes system calls through rustix's raw back end on data that was prepared
    // before the fork: no allocation, no lock, no environment, no libc state.
    unsafe { command.pre_exec(set_up) };
}

/// Makes `command` begin with every signal blocked. A signal that process 1 neither blocks nor
/// handles is lost, so an init that is asked to power off while it sets itself up would never
/// hear of it; one that is blocked waits.
pub(crate) fn block_signals_in(command: &mut Command) {
    let block = || SigSet::all().thread_block().map_err(io::Error::from);
    // SAFETY: the closure runs right before the exec, without a fork, and makes one system call
    // on data on its stack.
    unsafe { command.pre_exec(block) };
}

impl ChildSetup {
    /// Only async-signal-safe work belongs here.
    fn apply(&self) -> rustix::io::Result<()> {
        if self.urgent {
            schedule(0, URGENT, COMMAND_PRIORITY);
        }
        rustix::process::setsid()?;
        reset_signals();
        if self.terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        // The agent protects itself from the out-of-memory killer; commands must not inherit it.
        // Fails for tests without privilege, whose agent was not protected either.
        if let Ok(file) = rustix::fs::open(
            c"/proc/self/oom_score_adj",
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            let _ = rustix::io::write(file, b"0");
        }
        if let Some(root) = &self.root {
            rustix::process::fchdir(root)?;
            rustix::process::chroot(c".")?;
            let _ = rustix::process::setrlimit(Resource::Nofile, OPEN_FILES);
        }
        // Whatever is wrong there must not be taken for the program's fault.
        rustix::process::fchdir(&self.cwd).map_err(|_| Errno::PERM)?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        if let Some(Credentials { uid, gid, groups }) = &self.credentials {
            rustix::thread::set_thread_groups(groups)?;
            rustix::thread::set_thread_res_gid(*gid, *gid, *gid)?;
            rustix::thread::set_thread_res_uid(*uid, *uid, *uid)?;
        }
        Ok(())
    }
}

/// Lets every signal do what it does by default: what the agent, or whoever started it, ignores
/// would stay ignored in the command, and a shell cannot even trap it then.
fn reset_signals() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in signal::Signal::iterator() {
        // SAFETY: the default action runs no code of this program. Two signals refuse, which
        // have no other action anyway.
        let _ = unsafe { signal::sigaction(signal, &default) };
    }
}

/// A file that tasks can wait for.
pub(crate) type Watched = AsyncFd<Arc<OwnedFd>>;

/// Makes `fd` something that tasks can wait for. Must be called in a runtime.
pub(crate) fn watch(fd: Arc<OwnedFd>, interest: Interest) -> io::Result<Watched> {
    // SAFETY: the shared owner keeps the descriptor open and the same for as long as it is
    // registered: nothing gives out the `OwnedFd` itself.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// How what comes before everything else is scheduled. What it starts does not inherit that.
const URGENT: c_int = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
/// Among those, who has more comes first: without the agent nobody would hear of what commands do.
const AGENT_PRIORITY: c_int = 2;
const COMMAND_PRIORITY: c_int = 1;

/// As long as this is there, a thread of the agent comes before everything else that the guest does.
#[derive(Debug)]
pub(crate) struct Urgent(rustix::thread::Pid);

impl Urgent {
    /// For the calling thread. Where it may not be, nothing changes.
    pub(crate) fn begin() -> Self {
        let thread = rustix::thread::gettid();
        schedule(thread.as_raw_pid(), URGENT, AGENT_PRIORITY);
        Self(thread)
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        schedule(self.0.as_raw_pid(), libc::SCHED_OTHER, 0);
    }
}

/// Makes a process that was started as an urgent one like all others, unless it has seen to that itself.
pub(crate) fn calm(process: rustix::process::Pid) {
    let process = process.as_raw_pid();
    // SAFETY: the call takes a number and returns one.
    if unsafe { libc::sched_getscheduler(process) } == URGENT {
        schedule(process, libc::SCHED_OTHER, 0);
    }
}

/// `thread` is 0 for the calling one. Where it may not be, nothing changes. Is one system call, so that a child
/// may make it between fork and exec.
fn schedule(thread: c_int, policy: c_int, priority: c_int) {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel reads the parameters, which live until the call returns, and nothing else.
    let _ = unsafe { libc::sched_setscheduler(thread, policy, &parameters) };
}

/// Has the process keep some memory that it does not use (mallopt(3)): giving it to the kernel and having it back
/// is most of what a connection of the host's costs that is over in a moment. Threads share it, since one of
/// their own costs as much again.
pub(crate) fn keep_memory() {
    /// Most bytes kept.
    const KEPT: c_int = 2 << 20;
    /// Bytes of one piece from which on it is the kernel's affair: more than a stream's window (256 KiB).
    const LARGE: c_int = 512 << 10;
    #[cfg(target_env = "gnu")]
    for (what, number) in
        [(libc::M_ARENA_MAX, 1), (libc::M_TRIM_THRESHOLD, KEPT), (libc::M_MMAP_THRESHOLD, LARGE)]
    {
        // SAFETY: numbers for the allocator, which takes them at any time.
        unsafe { libc::mallopt(what, number) };
    }
}

/// The signal with this number, if Linux has it (1 to 64).
pub(crate) fn signal(number: i32) -> Option<Signal> {
    // SAFETY: the number is one the kernel knows. The ones libc reserves (32, 33) are only ever
    // sent to other programs here, never given a handler.
    (1..=64).contains(&number).then(|| unsafe { Signal::from_raw_unchecked(number) })
}

/// Bytes of fresh randomness that [`add_entropy`] takes at a time.
pub(crate) const SEED_LEN: usize = 32;

/// `struct rand_pool_info` of linux/random.h with its buffer.
#[repr(C)]
struct RandPoolInfo {
    entropy_bits: c_int,
    buf_size: c_int,
    buf: [u8; SEED_LEN],
}

/// Mixes `seed` into the kernel's pool and credits it as random throughout. `random` is
/// `/dev/random`.
pub(crate) fn add_entropy(random: impl AsFd, seed: [u8; SEED_LEN]) -> io::Result<()> {
    /// `RNDADDENTROPY`, `_IOW('R', 0x03, int [2])`.
    const ADD_ENTROPY: Opcode = opcode::write::<[c_int; 2]>(b'R', 3);
    let info = RandPoolInfo {
        entropy_bits: 8 * SEED_LEN as c_int,
        buf_size: SEED_LEN as c_int,
        buf: seed,
    };
    // SAFETY: the kernel reads the two numbers and `buf_size` bytes behind them, all of which
    // `info` has, and writes nothing.
    unsafe { ioctl(random, Setter::<ADD_ENTROPY, RandPoolInfo>::new(info)) }?;
    Ok(())
}

/// Has the kernel's generator begin anew with what is in the pool, for every processor, and with it
/// what programs make of randomness on their own (the vDSO's getrandom). `random` is `/dev/random`.
pub(crate) fn reseed_generator(random: impl AsFd) -> io::Result<()> {
    /// `RNDRESEEDCRNG` of linux/random.h, `_IO('R', 0x07)`.
    const RESEED: Opcode = opcode::none(b'R', 7);
    // SAFETY: it takes no argument.
    unsafe { ioctl(random, NoArg::<RESEED>::new()) }?;
    Ok(())
}

/// Has the mounted ext4 that `inside` belongs to use this many blocks.
pub(crate) fn resize_ext4(inside: impl AsFd, blocks: u64) -> io::Result<()> {
    /// `EXT4_IOC_RESIZE_FS` of linux/ext4.h, `_IOW('f', 16, __u64)`.
    const RESIZE: Opcode = opcode::write::<u64>(b'f', 16);
    // SAFETY: the kernel reads one 64-bit number from the pointer and writes nothing.
    unsafe { ioctl(inside, Setter::<RESIZE, u64>::new(blocks)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use super::*;

    /// Policy of a process' scheduling (sched(7)), as the kernel counts them; proc(5) has it as the 41st number.
    fn policy(stat: &str) -> c_int {
        let after_name = stat.rsplit_once(')').unwrap().1;
        after_name.split_ascii_whitespace().nth(41 - 3).unwrap().parse().unwrap()
    }

    #[test]
    fn an_urgent_command_starts_others_that_are_not() {
        let stat = || std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let urgent = Urgent::begin();
        // All others without privilege.
        let may_be = policy(&stat());
        drop(urgent);
        assert_eq!(policy(&stat()), libc::SCHED_OTHER);
        for urgent in [true, false] {
            let cwd = rustix::fs::open("/", OFlags::PATH, Mode::empty()).unwrap();
            let setup = ChildSetup { root: None, cwd, credentials: None, terminal: false, urgent };
            let mut command = Command::new("sh");
            command.args(["-c", "cat /proc/self/stat; read x"]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            set_up_child(&mut command, setup);
            let mut child = command.spawn().unwrap();
            let mut told = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut told).unwrap();
            assert_eq!(policy(&told), libc::SCHED_OTHER);
            let place = format!("/proc/{}/stat", child.id());
            let look = || policy(&std::fs::read_to_string(&place).unwrap());
            assert_eq!(look(), if urgent { may_be } else { libc::SCHED_OTHER });
            calm(rustix::process::Pid::from_child(&child));
            assert_eq!(look(), libc::SCHED_OTHER);
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    /// A request that the kernel does not know is another error than one that it refuses to those
    /// without privilege.
    #[test]
    fn the_kernel_knows_what_is_asked_of_its_randomness() {
        let random = rustix::fs::open("/dev/random", OFlags::RDWR, Mode::empty()).unwrap();
        for asked in [add_entropy(&random, [1; SEED_LEN]), reseed_generator(&random)] {
            let refused = asked.err().map(|error| error.kind());
            assert!(matches!(refused, None | Some(io::ErrorKind::PermissionDenied)), "{refused:?}");
        }
    }
}
