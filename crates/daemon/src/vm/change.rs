//! What a VM will be after a change, and what of it a running guest has not got yet. Pure.
//!
//! | changed | VM is down | VM runs |
//! |---|---|---|
//! | processors, memory, environment | at its next start | at its next start |
//! | size of the disk, larger only | the file now, the file system at its next start | now |
//! | the way beyond the host | at its next start | now, if it has a network card |
//! | start with the host, falling asleep | now | now |
//! | image | at its next start | refused |

use banger_proto::api::{SetVm, Setting};
use banger_proto::{ByteSize, Code, Period, Problem, VmName};

use super::plan::{
    InForce, PlanError, VmPlan, check_disk_limits, check_disk_size, check_env, check_memory,
    check_vcpu,
};
use super::state::VmState;

/// Why a VM cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// Everything is to stay as it is.
    #[error("nothing of VM `{0}` is to be changed")]
    Nothing(VmName),
    /// No VM can be like that.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A file system in use cannot be made smaller.
    #[error("the disk of VM `{vm}` is of {present} and can only grow, not shrink to {asked}")]
    Shrinks {
        /// The VM.
        vm: VmName,
        /// Size of its disk.
        present: ByteSize,
        /// The smaller one.
        asked: ByteSize,
    },
    /// A variable is to be there and not to be there.
    #[error("variable `{0}` cannot be set and taken away at once")]
    SetAndUnset(String),
    /// What a guest runs from cannot be exchanged under it.
    #[error("VM `{0}` cannot be given another image while it runs")]
    Runs(VmName),
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Plan(error) => error.into(),
            ChangeError::Runs(ref vm) => {
                Self::from_error(Code::Conflict, &error).hint(format!("banger vm stop {vm}"))
            }
            ChangeError::Nothing(_) => {
                Self::from_error(Code::BadRequest, &error).hint("banger vm set --help")
            }
            ChangeError::Shrinks { .. } => Self::from_error(Code::BadRequest, &error)
                .hint("a bare number means MiB; write 16G for 16 gibibytes"),
            ChangeError::SetAndUnset(_) => Self::from_error(Code::BadRequest, &error),
        }
    }
}

/// The plan of a VM in `state` after a change; its kernel is that of the old image still.
///
/// # Errors
/// When any part of what is asked cannot be; then nothing of it is done.
pub(crate) fn plan_change(
    asked: &SetVm,
    plan: &VmPlan,
    state: &VmState,
) -> Result<VmPlan, ChangeError> {
    let SetVm { vcpu, memory, disk_size, disk_bandwidth, disk_iops, image, env, .. } = asked;
    let SetVm { unset_env, nat, autostart, .. } = asked;
    if *asked == SetVm::default() {
        return Err(ChangeError::Nothing(plan.name.clone()));
    }
    let mut changed = plan.clone();
    if let Some(vcpu) = *vcpu {
        check_vcpu(vcpu)?;
        changed.vcpu = vcpu;
    }
    if let Some(memory) = *memory {
        check_memory(memory)?;
        changed.memory = memory;
    }
    if let Some(asked) = *disk_size {
        check_disk_size(asked)?;
        let (vm, present) = (&plan.name, plan.disk_size);
        if asked < present {
            return Err(ChangeError::Shrinks { vm: vm.clone(), present, asked });
        }
        changed.disk_size = asked;
    }
    let none = ByteSize::from_bytes(0);
    if let Some(asked) = *disk_bandwidth {
        changed.disk_limits.bandwidth = Some(asked).filter(|asked| *asked != none);
    }
    if let Some(asked) = *disk_iops {
        changed.disk_limits.iops = Some(asked).filter(|asked| *asked != 0);
    }
    check_disk_limits(&changed.disk_limits)?;
    check_env(env)?;
    if let Some(both) = unset_env.iter().find(|name| env.contains_key(*name)) {
        return Err(ChangeError::SetAndUnset(both.clone()));
    }
    changed.env.retain(|name, _| !unset_env.contains(name));
    changed.env.extend(env.clone());
    changed.nat = nat.unwrap_or(plan.nat);
    changed.autostart = autostart.unwrap_or(plan.autostart);
    let period = |seconds| Period::try_from(seconds).ok();
    changed.idle_stop = asked.idle_stop_seconds.map_or(plan.idle_stop, period);
    changed.idle_pause = asked.idle_pause_seconds.map_or(plan.idle_pause, period);
    if let Some(image) = image {
        if state.has_vmm() {
            return Err(ChangeError::Runs(plan.name.clone()));
        }
        changed.image.clone_from(image);
        changed.rebuilds = plan.rebuilds.saturating_add(1);
    }
    if state.has_vmm() {
        // One that was started before this was noted has what was planned.
        changed.in_force.get_or_insert_with(|| InForce::of(plan));
    }
    Ok(changed)
}

/// What of the plan the guest gets at its next start only.
pub(crate) fn plan_pending(plan: &VmPlan, state: &VmState) -> Vec<Setting> {
    let Some(now) = plan.in_force.as_ref().filter(|_| state.has_vmm()) else { return Vec::new() };
    [
        (Setting::Vcpu, now.vcpu != plan.vcpu),
        (Setting::Memory, now.memory != plan.memory),
        (Setting::DiskSize, now.disk_size != plan.disk_size),
        (Setting::DiskLimits, now.disk_limits != plan.disk_limits),
        (Setting::Env, now.env != plan.env),
        // With a card it is in force at once.
        (Setting::Nat, plan.nat && now.address.is_none()),
    ]
    .into_iter()
    .filter_map(|(setting, differs)| differs.then_some(setting))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use banger_proto::api::EndReason;

    use super::*;
    use crate::vm::state::tests::record;

    const RUNNING: VmState = VmState::Running { guest: None };

    fn stopped() -> VmState {
        VmState::Stopped { ended: EndReason::PoweredOff }
    }

    fn plan() -> VmPlan {
        let mut plan = record("web").plan;
        plan.env = env(&[("A", "1"), ("B", "2")]);
        plan.idle_stop = Period::try_from(1800).ok();
        plan.disk_limits.iops = Some(500);
        plan
    }

    fn env(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn size(text: &str) -> Option<ByteSize> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn what_is_asked_is_changed_and_nothing_else() {
        let base = SetVm::default;
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        type Expected = fn(&mut VmPlan);
        let cases: [(SetVm, Expected); 9] = [
            (SetVm { vcpu: Some(3), ..base() }, |plan| plan.vcpu = 3),
            (SetVm { memory: size("3G"), ..base() }, |plan| plan.memory = size("3G").unwrap()),
            (SetVm { disk_size: size("9G"), ..base() }, |plan| {
                plan.disk_size = size("9G").unwrap();
            }),
            (SetVm { disk_bandwidth: size("50M"), ..base() }, |plan| {
                plan.disk_limits.bandwidth = size("50M");
            }),
            (SetVm { disk_iops: Some(0), ..base() }, |plan| plan.disk_limits.iops = None),
            (SetVm { idle_pause_seconds: Some(300), ..base() }, |plan| {
                plan.idle_pause = Period::try_from(300).ok();
            }),
            (SetVm { idle_stop_seconds: Some(0), ..base() }, |plan| plan.idle_stop = None),
            (SetVm { image: Some("other".into()), ..base() }, |plan| {
                plan.image = "other".into();
                plan.rebuilds = 1;
            }),
            (
                SetVm {
                    env: env(&[("A", "x"), ("C", "3")]),
                    unset_env: names(&["B", "Z"]),
                    ..base()
                },
                |plan| plan.env = env(&[("A", "x"), ("C", "3")]),
            ),
        ];
        for (asked, expected) in cases {
            let mut wanted = plan();
            expected(&mut wanted);
            assert_eq!(plan_change(&asked, &plan(), &stopped()), Ok(wanted), "{asked:?}");
        }
    }

    #[test]
    fn one_wrong_thing_changes_nothing() {
        let base = || SetVm { vcpu: Some(4), ..SetVm::default() };
        let refused = [
            SetVm::default(),
            SetVm { vcpu: Some(0), ..base() },
            SetVm { memory: size("1"), ..base() },
            SetVm { disk_size: size("1G"), ..base() },
            SetVm { disk_size: size("16T"), ..base() },
            SetVm { disk_bandwidth: size("512K"), ..base() },
            SetVm { env: env(&[("A=B", "")]), ..base() },
            SetVm { env: env(&[("A", "")]), unset_env: ["A".to_owned()].into(), ..base() },
            SetVm { image: Some("other".into()), ..base() },
        ];
        let messages: Vec<_> = refused
            .iter()
            .map(|asked| plan_change(asked, &plan(), &RUNNING).unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(messages.join("\n"), @r"
        nothing of VM `web` is to be changed
        `0` virtual processors cannot be given to a VM: 1 to 32 can
        memory of `1M` is too small for a VM: at least 128M is needed
        the disk of VM `web` is of 8G and can only grow, not shrink to 1G
        a disk of `16T` is too large for a VM: less than 16T can be
        `512K` a second is too slow for a disk: at least 1M is needed
        `A=B` cannot be the name of an environment variable
        variable `A` cannot be set and taken away at once
        VM `web` cannot be given another image while it runs
        ");
    }

    #[test]
    fn what_a_guest_has_not_got_is_pending_while_it_runs() {
        let asked = SetVm {
            vcpu: Some(7),
            memory: size("3G"),
            disk_size: size("9G"),
            disk_iops: Some(0),
            env: env(&[("A", "x")]),
            ..SetVm::default()
        };
        // One that was started before this was noted.
        let changed = plan_change(&asked, &plan(), &RUNNING).unwrap();
        use Setting::{DiskLimits, DiskSize, Env, Memory, Vcpu};
        let all = [Vcpu, Memory, DiskSize, DiskLimits, Env];
        assert_eq!(plan_pending(&changed, &RUNNING), all);
        assert_eq!(plan_pending(&changed, &stopped()), []);
        // Changed back is not pending.
        let back = SetVm { vcpu: Some(plan().vcpu), ..SetVm::default() };
        let back = plan_change(&back, &changed, &RUNNING).unwrap();
        assert_eq!(plan_pending(&back, &RUNNING), all[1..]);
        let mut started = changed.clone();
        started.in_force = Some(InForce::of(&changed));
        assert_eq!(plan_pending(&started, &RUNNING), []);
    }
}
