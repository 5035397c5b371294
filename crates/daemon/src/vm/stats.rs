//! What VMs use: the host's side from `/proc` and control groups, the guests' side from their
//! agents.
//!
//! Both count from a start, so what is shown is the difference of two looks. Nothing is looked
//! at while nobody asks, and nobody who reads slowly holds anything up: the next look is made
//! when the last report was taken. Nor does a guest that hangs: see `guests`.

mod cgroup;
mod guests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use banger_proto::api::{
    GroupStats, GuestUse, HostStats, ProcessStats, StatsReport, Usage, VmStats,
};
use banger_proto::guest::GuestStats;
use banger_proto::{ByteSize, VmId};
pub(crate) use cgroup::Cgroups;
use cgroup::GroupUse;
use guests::Guests;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::desk::{Shown, VmHandle};
use super::files;
use super::registry::Registry;
use crate::disk::observe_used;
use crate::engine::Host;
use crate::guest::GuestClient;
use crate::supervise::identity::{ProcessIdentity, ProcessUse};

/// How long an agent may take until it is asked again.
const GUEST_DEADLINE: Duration = Duration::from_secs(5);

/// Reports, one look after the other.
#[derive(Debug)]
pub struct StatsFeed {
    pub(crate) host: Arc<Host>,
    pub(crate) registry: Registry,
    /// The VMs that are wanted; none for all, those to come included.
    pub(crate) only: Option<BTreeSet<VmId>>,
    /// From look to look.
    pub(crate) interval: Duration,
    /// Ends the feed.
    pub(crate) end: CancellationToken,
    /// The last look.
    pub(crate) last: Option<Look>,
    /// What guests were asked.
    pub(crate) guests: Guests,
    /// This host's control groups.
    pub(crate) cgroups: Option<Cgroups>,
}

impl StatsFeed {
    /// What was used since the last report, or for one interval from now; none when the daemon
    /// ends. VMs that are deleted meanwhile are not in it.
    pub async fn next(&mut self) -> Option<StatsReport> {
        let end = self.end.clone();
        tokio::select! {
            () = end.cancelled() => None,
            report = self.report() => Some(report),
        }
    }

    async fn report(&mut self) -> StatsReport {
        let before = match self.last.take() {
            Some(last) => last,
            None => self.look().await,
        };
        sleep_until(before.at + self.interval).await;
        let after = self.look().await;
        let report = compare(&before, &after);
        self.last = Some(after);
        report
    }

    async fn look(&mut self) -> Look {
        let wanted = |handle: &VmHandle| {
            let shown = handle.shown.borrow();
            self.only.as_ref().is_none_or(|only| only.contains(shown.record.id()))
        };
        let handles = self.registry.handles();
        let shown: Vec<Shown> = handles
            .iter()
            .filter(|handle| wanted(handle))
            .map(|handle| handle.shown.borrow().clone())
            .collect();
        let at = Instant::now();
        // The host's side of all first, at one moment; guests answer when they do.
        let hosts: Vec<_> =
            shown.iter().map(|shown| observe_host(shown, self.cgroups.as_ref())).collect();
        let mut guests = self.guests.look(shown.iter().filter_map(plan_question)).await;
        let vms = shown.into_iter().zip(hosts).map(|(shown, host)| {
            let disk = observe_used(&files::disk(&self.host.paths, shown.record.id()));
            let guest = guests.remove(shown.record.id());
            VmLook { disk_used: disk.unwrap_or_default(), shown, host, guest }
        });
        Look { at, vms: vms.collect() }
    }
}

/// All VMs at one moment.
#[derive(Debug)]
pub(crate) struct Look {
    at: Instant,
    vms: Vec<VmLook>,
}

#[derive(Debug)]
struct VmLook {
    shown: Shown,
    disk_used: ByteSize,
    host: Option<HostLook>,
    guest: Option<GuestStats>,
}

/// Processes and what they have used.
#[derive(Debug)]
struct HostLook {
    vmm: (ProcessIdentity, ProcessUse),
    supervisor: (ProcessIdentity, ProcessUse),
    group: Option<GroupUse>,
}

fn observe_host(shown: &Shown, cgroups: Option<&Cgroups>) -> Option<HostLook> {
    let processes = shown.vmm.as_ref()?.processes()?;
    let look = |process: ProcessIdentity| Some((process, process.usage()?));
    let both = [processes.supervisor.pid, processes.vmm.pid];
    Some(HostLook {
        vmm: look(processes.vmm)?,
        supervisor: look(processes.supervisor)?,
        group: cgroups.and_then(|cgroups| cgroups.usage(&both)),
    })
}

/// What to ask the guest of a VM, if it has one that can be asked.
fn plan_question(
    shown: &Shown,
) -> Option<(VmId, impl Future<Output = Option<GuestStats>> + use<>)> {
    let vmm = shown.vmm.clone().filter(|_| shown.record.state.runs_commands())?;
    let name = shown.record.plan.name.clone();
    let ask = async move {
        let stats = GuestClient::new(vmm).within(GUEST_DEADLINE).stats().await;
        stats
            .inspect_err(|error| {
                let error: &dyn std::error::Error = error;
                tracing::debug!(vm = %name, error, "no numbers from the guest");
            })
            .ok()
    };
    Some((shown.record.id().clone(), ask))
}

/// What was used between two looks.
fn compare(before: &Look, after: &Look) -> StatsReport {
    let elapsed = after.at.saturating_duration_since(before.at);
    let earlier: BTreeMap<&VmId, &VmLook> =
        before.vms.iter().map(|look| (look.shown.record.id(), look)).collect();
    let vms = after.vms.iter().map(|look| {
        let record = &look.shown.record;
        let before = earlier.get(record.id());
        let (host, guest) = (
            before.and_then(|look| look.host.as_ref()),
            before.and_then(|look| look.guest.as_ref()),
        );
        VmStats {
            id: record.id().clone(),
            name: record.plan.name.clone(),
            state: record.state.name(),
            vcpu: record.plan.vcpu,
            memory: record.plan.memory,
            disk: Usage { used: look.disk_used, total: record.plan.disk_size },
            host: look.host.as_ref().map(|now| HostStats {
                vmm: compare_process(host.map(|look| look.vmm), now.vmm, elapsed),
                supervisor: compare_process(
                    host.map(|look| look.supervisor),
                    now.supervisor,
                    elapsed,
                ),
                group: now.group.as_ref().map(|now| {
                    compare_group(host.and_then(|look| look.group.as_ref()), now, elapsed)
                }),
            }),
            guest: look.guest.as_ref().map(|now| compare_guest(guest, now, record.plan.vcpu)),
        }
    });
    StatsReport {
        at: Timestamp::now().to_string(),
        interval_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        vms: vms.collect(),
    }
}

fn compare_process(
    before: Option<(ProcessIdentity, ProcessUse)>,
    (process, now): (ProcessIdentity, ProcessUse),
    elapsed: Duration,
) -> ProcessStats {
    let before = before.filter(|(earlier, _)| *earlier == process).map(|(_, usage)| usage);
    ProcessStats {
        pid: process.pid,
        cpu_percent: before.and_then(|before| busy(before.cpu_ms, now.cpu_ms, elapsed)),
        cpu_ms: now.cpu_ms,
        rss: ByteSize::from_bytes(now.rss),
    }
}

fn compare_group(before: Option<&GroupUse>, now: &GroupUse, elapsed: Duration) -> GroupStats {
    let before = before.filter(|before| before.path == now.path);
    GroupStats {
        path: now.path.clone(),
        cpu_percent: before.and_then(|before| busy(before.cpu_ms, now.cpu_ms, elapsed)),
        cpu_ms: now.cpu_ms,
        memory: now.memory.map(ByteSize::from_bytes),
        read: now.io.map(|(read, _)| ByteSize::from_bytes(read)),
        written: now.io.map(|(_, written)| ByteSize::from_bytes(written)),
    }
}

/// Percent of one processor, from processor times in milliseconds.
fn busy(before: u64, now: u64, elapsed: Duration) -> Option<f64> {
    percent(now.checked_sub(before)?, elapsed.as_secs_f64() * 1000.0)
}

/// The guest may say anything: what makes no sense is left out, and no more than all of its
/// processors can be busy.
fn compare_guest(before: Option<&GuestStats>, now: &GuestStats, vcpu: u32) -> GuestUse {
    let rate = |before: &GuestStats| {
        let elapsed = now.uptime_ms.checked_sub(before.uptime_ms)?;
        let percent = percent(now.cpu_busy_ms.checked_sub(before.cpu_busy_ms)?, elapsed as f64)?;
        Some(percent.min(f64::from(vcpu) * 100.0))
    };
    GuestUse {
        uptime_ms: now.uptime_ms,
        cpus: now.cpus,
        cpu_percent: before.and_then(rate),
        cpu_ms: now.cpu_busy_ms,
        memory: usage_of(now.memory_total, now.memory_available),
        disk: usage_of(now.disk_total, now.disk_free),
    }
}

/// How much of `total` bytes is used when `left` are not.
pub(crate) fn usage_of(total: u64, left: u64) -> Usage {
    let used = ByteSize::from_bytes(total.saturating_sub(left));
    Usage { used, total: ByteSize::from_bytes(total) }
}

/// Tenths of a percent are as fine as the kernel's clock ticks are in a second.
fn percent(busy_ms: u64, elapsed_ms: f64) -> Option<f64> {
    (elapsed_ms > 0.0).then(|| (busy_ms as f64 / elapsed_ms * 1000.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(uptime_ms: u64, cpu_busy_ms: u64) -> GuestStats {
        GuestStats {
            uptime_ms,
            cpus: 2,
            cpu_busy_ms,
            memory_total: 1000,
            memory_available: 400,
            disk_total: 10,
            disk_free: 20,
            jobs: 0,
        }
    }

    #[test]
    fn a_guest_is_as_busy_as_it_can_be() {
        let rate =
            |before: &GuestStats, now: &GuestStats| compare_guest(Some(before), now, 2).cpu_percent;
        assert_eq!(rate(&guest(1000, 500), &guest(2000, 1755)), Some(125.5));
        // More than it has, another boot, a clock that stands.
        assert_eq!(rate(&guest(1000, 0), &guest(2000, u64::MAX)), Some(200.0));
        assert_eq!(rate(&guest(5000, 500), &guest(100, 50)), None);
        assert_eq!(rate(&guest(1000, 500), &guest(2000, 400)), None);
        assert_eq!(rate(&guest(1000, 500), &guest(1000, 600)), None);
        assert_eq!(compare_guest(None, &guest(1000, 500), 2).cpu_percent, None);
    }

    #[test]
    fn used_is_what_is_not_left() {
        let usage = compare_guest(None, &guest(1, 1), 2);
        assert_eq!((usage.memory.used.bytes(), usage.memory.total.bytes()), (600, 1000));
        // Nonsense is no panic.
        assert_eq!((usage.disk.used.bytes(), usage.disk.total.bytes()), (0, 10));
    }

    #[test]
    fn another_process_has_no_rate() {
        let now = ProcessUse { cpu_ms: 1500, rss: 4096 };
        let before = ProcessUse { cpu_ms: 1000, rss: 0 };
        let process = ProcessIdentity { pid: 7, start: 1 };
        let rate = |earlier| {
            let elapsed = Duration::from_secs(2);
            compare_process(Some((earlier, before)), (process, now), elapsed).cpu_percent
        };
        assert_eq!(rate(process), Some(25.0));
        assert_eq!(rate(ProcessIdentity { start: 2, ..process }), None);
    }
}
