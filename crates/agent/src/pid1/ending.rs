//! The end of a guest: of its processes, of its file systems, of the machine.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use banger_proto::guest::cmdline as words;
use rustix::process::{Pid, Signal as Number, WaitOptions};
use rustix::system::RebootCommand;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::unmount;
use crate::cmdline;
use crate::door::Order;

/// How long processes have to end after being asked.
const ASK_GRACE: Duration = Duration::from_secs(5);
/// How long killed processes may take; those in an endless system call take for ever.
const KILL_GRACE: Duration = Duration::from_secs(2);

/// Takes the exit status of every process that has ended and has nobody else.
pub(super) fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

/// Ends all processes but this one and the agent: asks, waits, kills.
pub(super) async fn end_processes(
    agent: u32,
    children: &mut Signal,
    orders: &mut UnboundedReceiver<Order>,
) {
    // Interactive shells ignore the first and heed the second; stopped ones need the third.
    for (signals, grace) in
        [(&[Number::TERM, Number::HUP, Number::CONT][..], ASK_GRACE), (&[Number::KILL], KILL_GRACE)]
    {
        for pid in others(agent) {
            for signal in signals {
                let _ = rustix::process::kill_process(pid, *signal);
            }
        }
        let deadline = Instant::now() + grace;
        // Every end is told: to this process when it inherits, by the agent for its commands.
        loop {
            reap();
            if others(agent).is_empty() {
                return;
            }
            tokio::select! {
                _ = children.recv() => {}
                Some(_) = orders.recv() => {}
                () = sleep_until(deadline) => break,
            }
        }
    }
    eprintln!("banger-agent: {} processes would not end", others(agent).len());
}

/// Processes of the guest's userspace other than this one and the agent, ended ones left out.
fn others(agent: u32) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            if pid == 1 || u32::try_from(pid) == Ok(agent) {
                return None;
            }
            let stat = std::fs::read(entry.path().join("stat")).ok()?;
            is_living_userspace(&stat).then(|| Pid::from_raw(pid)).flatten()
        })
        .collect()
}

/// Reads `/proc/<pid>/stat`, `pid (name) state ppid …` (proc(5)). Kernel threads are those with
/// the flag `PF_KTHREAD` in the ninth field.
fn is_living_userspace(stat: &[u8]) -> bool {
    const KERNEL_THREAD: u32 = 0x0020_0000;
    // The name may have anything in it, so the fields are counted from its end.
    let Some(end) = stat.iter().rposition(|byte| *byte == b')') else { return false };
    let rest = String::from_utf8_lossy(&stat[end + 1..]);
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next().unwrap_or_default();
    let flags: u32 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    !matches!(state, "Z" | "X") && flags & KERNEL_THREAD == 0
}

/// Stops the machine. Returns only where the kernel refuses.
pub(super) fn stop_machine(reboot: bool) -> ExitCode {
    reboot_now(if reboot { RebootCommand::Restart } else { RebootCommand::PowerOff })
}

/// The last act of a power-off by systemd: it has changed the root to the initramfs's directory
/// with this program and put its own, with all that it could not unmount while living there, at
/// `/oldroot`. `verb` is what it would have done.
pub(crate) fn finish_for_systemd(verb: Option<&OsStr>) -> ExitCode {
    unmount::unmount_below(Path::new("/oldroot"));
    let command = match verb.and_then(OsStr::to_str) {
        Some("reboot" | "kexec") => RebootCommand::Restart,
        _ => RebootCommand::PowerOff,
    };
    reboot_now(command)
}

fn reboot_now(command: RebootCommand) -> ExitCode {
    let restarts = || cmdline::load(words::POWER_OFF).as_deref() == Some("restart");
    let command = match command {
        RebootCommand::PowerOff if restarts() => RebootCommand::Restart,
        command => command,
    };
    rustix::fs::sync();
    let error = rustix::system::reboot(command);
    eprintln!("banger-agent: cannot stop the machine: {error:?}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_and_the_kernel_are_left_out() {
        let stat = |state: &str, flags: u32| {
            format!("7 (a) b (c) {state} 1 7 7 0 -1 {flags} 0 0 0").into_bytes()
        };
        assert!(is_living_userspace(&stat("S", 0x0040_0100)));
        assert!(!is_living_userspace(&stat("Z", 0x0040_0100)));
        assert!(!is_living_userspace(&stat("I", 0x0020_8040)));
        assert!(!is_living_userspace(b"garbage"));
        let own = std::fs::read("/proc/self/stat").unwrap();
        assert!(is_living_userspace(&own));
    }
}
