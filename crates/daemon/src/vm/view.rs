//! A VM as it is shown.

use banger_proto::api::VmView;

use super::state::{VmRecord, VmState};
use super::{change, files};
use crate::disk::observe_used;
use crate::engine::Host;

/// The VM for whoever asks. A disk that cannot be measured takes nothing.
pub(crate) fn render_view(host: &Host, record: &VmRecord) -> VmView {
    let paths = &host.paths;
    let plan = &record.plan;
    let (guest, ended, problem) = match &record.state {
        VmState::Running { guest } => (guest.clone(), None, None),
        VmState::Stopped { ended } => (None, Some(ended.clone()), None),
        VmState::Error { problem } => (None, None, Some((**problem).clone())),
        _ => (None, None, None),
    };
    VmView {
        id: plan.id.clone(),
        name: plan.name.clone(),
        state: record.state.name(),
        image: plan.image.clone(),
        kernel: plan.kernel.clone(),
        vcpu: plan.vcpu,
        memory: plan.memory,
        disk_size: plan.disk_size,
        disk_bandwidth: plan.disk_limits.bandwidth,
        disk_iops: plan.disk_limits.iops,
        pending: change::plan_pending(plan, &record.state),
        disk_used: observe_used(&files::disk(paths, record.id())).unwrap_or_default(),
        backend: plan.backend.clone(),
        ephemeral: record.ephemeral,
        idle_stop_seconds: plan.idle_stop,
        warm: plan.warm,
        idle_pause_seconds: plan.idle_pause,
        paused_idle_seconds: record.state.paused_idle(),
        autostart: plan.autostart,
        nat: plan.nat,
        host_ports: plan.host_ports.clone(),
        published: plan.publish.clone(),
        loopback: record.loopback(&host.network),
        address: record.address(),
        workspace: record.workspace.clone(),
        guest,
        ended,
        problem,
        created_at: record.created_at.to_string(),
        started_at: record.started_at.map(|time| time.to_string()),
        console_log: files::console_log(paths, record.id()).display().to_string(),
        history: Vec::new(),
    }
}
