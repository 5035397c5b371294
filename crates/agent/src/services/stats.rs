//! The stats service: what the guest has used, from the kernel's own counts.
//!
//! The agent's own `/proc` is that of the guest's first namespaces, so containers in the guest
//! are in the numbers.

use std::io;

use banger_proto::guest::GuestStats;
use banger_proto::{Code, Problem};

use crate::context::{CPU_TIMES, Context, uptime_ms};

/// Looks at everything once.
///
/// # Errors
/// When the kernel's counts cannot be read.
pub(super) fn observe(context: &Context) -> Result<GuestStats, Problem> {
    let stat = context.machine.read_cpu_times();
    let stat = stat.map_err(|error| unreadable(&format!("`{CPU_TIMES}`"), &error))?;
    // Right after the counters: both make the rate.
    let uptime_ms = uptime_ms();
    let meminfo = read("/proc/meminfo")?;
    let disk =
        context.root.open().and_then(|root| rustix::fs::fstatvfs(&root).map_err(io::Error::from));
    let disk = disk.map_err(|error| unreadable("the guest's root", &error))?;
    let busy_ticks = parse_busy_ticks(&stat).ok_or_else(|| malformed(CPU_TIMES))?;
    let (memory_total, memory_available) =
        parse_memory(&meminfo).ok_or_else(|| malformed("/proc/meminfo"))?;
    Ok(GuestStats {
        uptime_ms,
        cpus: count_cpus(&stat),
        cpu_busy_ms: busy_ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second(),
        memory_total,
        memory_available,
        disk_total: disk.f_blocks.saturating_mul(disk.f_frsize),
        disk_free: disk.f_bavail.saturating_mul(disk.f_frsize),
        jobs: context.jobs.running(),
    })
}

fn read(path: &str) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|error| unreadable(&format!("`{path}`"), &error))
}

fn unreadable(what: &str, error: &io::Error) -> Problem {
    Problem::new(Code::OperationFailed, format!("cannot look at {what}")).because(error)
}

fn malformed(path: &str) -> Problem {
    Problem::new(Code::OperationFailed, format!("`{path}` is not what it was in other kernels"))
}

/// Clock ticks that processors were busy: the first line of `/proc/stat` (proc_stat(5)) without
/// idle, iowait and steal. What guests of the guest used is in `user` and `nice` already.
fn parse_busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> =
        line.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some(user + nice + system + irq + softirq)
}

/// Processors with a line of their own in `/proc/stat`.
fn count_cpus(stat: &str) -> u32 {
    let numbered = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    u32::try_from(stat.lines().filter(numbered).count()).unwrap_or(u32::MAX)
}

/// Total and available bytes from the text of `/proc/meminfo` (proc_meminfo(5)), which counts in
/// units of 1024 whatever it calls them.
fn parse_memory(meminfo: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        kib.checked_mul(1024)
    };
    Some((bytes("MemTotal")?, bytes("MemAvailable")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 20 30 4000 500 6 7 80 90 10\n\
                        cpu0 50 10 15 2000 250 3 4 40 45 5\n\
                        cpu1 50 10 15 2000 250 3 3 40 45 5\n\
                        intr 12 0\nctxt 7\nbtime 1\n";

    #[test]
    fn waiting_and_what_the_host_took_are_not_busy() {
        assert_eq!(parse_busy_ticks(STAT), Some(100 + 20 + 30 + 6 + 7));
        assert_eq!(count_cpus(STAT), 2);
        assert_eq!(parse_busy_ticks("cpu  1 2 3\n"), None);
        assert_eq!(parse_busy_ticks("cpu  1 2 x 4 5 6 7\n"), None);
        assert_eq!(parse_busy_ticks(""), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        let meminfo = "MemTotal:        2027268 kB\nMemFree:  1 kB\nMemAvailable:    1800000 kB\n";
        assert_eq!(parse_memory(meminfo), Some((2_027_268 * 1024, 1_800_000 * 1024)));
        assert_eq!(parse_memory("MemTotal: 5 kB\n"), None);
        assert_eq!(parse_memory("MemTotal: x kB\nMemAvailable: 5 kB\n"), None);
    }
}
