//! What is asked about VMs that changes nothing: whether a guest answers, how it is, what is
//! used, what happens.

use std::time::Duration;

use banger_proto::api::{Pong, VmHealth};
use banger_proto::guest::{Health, ServiceState, SystemReport};
use banger_proto::{Code, Problem};
use tokio::time::Instant;

use super::{Engine, Inner};
use crate::guest::{GuestClient, GuestError};
use crate::vm::desk::Shown;
use crate::vm::news::Listener;
use crate::vm::state::VmRecord;
use crate::vm::stats::{Cgroups, StatsFeed, usage_of};
use crate::vm::wake::require_running;

/// How long an agent may take to answer a ping when nobody said: a thousand times what it takes.
const PING_DEADLINE: Duration = Duration::from_secs(5);
/// How long a guest may take to say how it is, with hardware virtualisation: it starts programs.
const HEALTH_DEADLINE: Duration = Duration::from_secs(10);
/// Bounds of the time between two looks at what is used.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);

impl Engine {
    /// Asks the agent of a VM for a sign of life.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM does not run, or its agent does not
    /// answer within `deadline` ([`PING_DEADLINE`]).
    pub async fn ping(&self, reference: &str, deadline: Option<Duration>) -> Result<Pong, Problem> {
        let (record, guest) = self.guest(reference)?;
        let asked = Instant::now();
        let hello = guest.within(deadline.unwrap_or(PING_DEADLINE)).hello().await;
        let hello = hello.map_err(|error| no_answer(&record, &error))?;
        Ok(Pong {
            id: record.id().clone(),
            name: record.plan.name.clone(),
            agent_version: hello.agent_version,
            micros: u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX),
        })
    }

    /// Asks the guest of a VM how it is.
    ///
    /// # Errors
    /// As [`ping`](Self::ping); `deadline` is [`HEALTH_DEADLINE`], longer under emulation.
    pub async fn health(
        &self,
        reference: &str,
        deadline: Option<Duration>,
    ) -> Result<VmHealth, Problem> {
        let (record, guest) = self.guest(reference)?;
        let usual = HEALTH_DEADLINE * self.inner.host.hypervisor.features().slowness;
        let guest = guest.within(deadline.unwrap_or(usual));
        let (hello, health, stats, system) =
            tokio::join!(guest.hello(), guest.health(), guest.stats(), guest.system());
        let failed = |error| no_answer(&record, &error);
        let (hello, health) = (hello.map_err(failed)?, health.map_err(failed)?);
        // Agents of VMs that were started by an older daemon may not know these two.
        let stats = stats.inspect_err(|error| note_missing(&record, error)).ok();
        let system = system.inspect_err(|error| note_missing(&record, error)).ok().flatten();
        Ok(VmHealth {
            id: record.id().clone(),
            name: record.plan.name.clone(),
            healthy: is_healthy(&health, system.as_ref()),
            agent_version: hello.agent_version,
            boot_id: health.boot_id,
            uptime_ms: health.uptime_ms,
            init: health.init,
            state: health.state,
            commands: health.commands,
            service: health.service,
            system,
            memory: stats.as_ref().map(|now| usage_of(now.memory_total, now.memory_available)),
            disk: stats.as_ref().map(|now| usage_of(now.disk_total, now.disk_free)),
        })
    }

    /// What VMs use, in looks `interval` apart: of those in `references`, or of all.
    ///
    /// # Errors
    /// When one of `references` means none or several, or the interval is out of bounds.
    pub fn stats(&self, references: &[&str], interval: Duration) -> Result<StatsFeed, Problem> {
        if !INTERVALS.contains(&interval) {
            let message = format!("an interval of {} ms", interval.as_millis());
            return Err(Problem::new(Code::BadRequest, message)
                .cause("it has to be from 100 ms to an hour"));
        }
        let Inner { host, registry, stopping, .. } = &*self.inner;
        let find = |reference: &&str| {
            let handle = registry.find(reference)?;
            let id = handle.shown.borrow().record.id().clone();
            Ok::<_, Problem>(id)
        };
        let only = references.iter().map(find).collect::<Result<_, _>>()?;
        Ok(StatsFeed {
            host: host.clone(),
            registry: registry.clone(),
            only: (!references.is_empty()).then_some(only),
            interval,
            end: stopping.clone(),
            last: None,
            guests: Default::default(),
            cgroups: Cgroups::observe(),
        })
    }

    /// What happens to VMs after the change `since`, or from now on.
    #[must_use]
    pub fn events(&self, since: Option<u64>) -> Listener {
        self.inner.news.listen(since, self.inner.stopping.clone())
    }

    /// The guest that `reference` means, and its VM's record: to be looked at, which wakes nobody.
    pub(super) fn guest(&self, reference: &str) -> Result<(VmRecord, GuestClient), Problem> {
        let handle = self.inner.registry.find(reference)?;
        let Shown { record, vmm } = handle.shown.borrow().clone();
        let vmm = require_running(&record, vmm)?;
        Ok((record, GuestClient::new(vmm)))
    }
}

fn no_answer(record: &VmRecord, error: &GuestError) -> Problem {
    let name = &record.plan.name;
    let code = match error {
        GuestError::Timeout { .. } => Code::Timeout,
        _ => Code::OperationFailed,
    };
    Problem::new(code, format!("the agent of VM `{name}` does not answer"))
        .because(error)
        .hint(format!("what its console says: banger vm logs {name}"))
        .hint(format!("if it stays so: banger vm restart {name}"))
}

fn note_missing(record: &VmRecord, error: &GuestError) {
    let error: &dyn std::error::Error = error;
    tracing::debug!(vm = %record.plan.name, error, "the guest's health is not whole");
}

/// Whether nothing has failed. A service that ended well is none, and neither is a system that is
/// still starting or going down.
fn is_healthy(health: &Health, system: Option<&SystemReport>) -> bool {
    let service_failed = match &health.service {
        Some(ServiceState::Failed { .. }) => true,
        Some(ServiceState::Exited { code, .. }) => *code != Some(0),
        Some(ServiceState::Running { .. }) | None => false,
    };
    let system_failed = system.is_some_and(|system| {
        !system.failed_units.is_empty() || ["degraded", "maintenance"].contains(&&*system.state)
    });
    !service_failed && !system_failed
}

#[cfg(test)]
mod tests {
    use banger_proto::guest::InitState;

    use super::*;

    #[test]
    fn healthy_is_where_nothing_failed() {
        let health = |service| Health {
            boot_id: String::new(),
            uptime_ms: 1,
            init: None,
            state: InitState::Running,
            commands: 0,
            service,
        };
        let system = |state: &str, failed: &[&str]| SystemReport {
            state: state.to_owned(),
            failed_units: failed.iter().map(|&unit| unit.to_owned()).collect(),
        };
        let ended = |code, signal| Some(ServiceState::Exited { code, signal });
        assert!(is_healthy(&health(None), None));
        assert!(is_healthy(&health(Some(ServiceState::Running { pid: 1 })), None));
        assert!(is_healthy(&health(ended(Some(0), None)), None));
        assert!(!is_healthy(&health(ended(Some(1), None)), None));
        assert!(!is_healthy(&health(ended(None, Some(9))), None));
        assert!(!is_healthy(&health(Some(ServiceState::Failed { reason: String::new() })), None));
        assert!(is_healthy(&health(None), Some(&system("starting", &[]))));
        assert!(!is_healthy(&health(None), Some(&system("degraded", &[]))));
        assert!(!is_healthy(&health(None), Some(&system("starting", &["a.service"]))));
    }
}
