//! The second wall: the kernel's Landlock, which holds where there is no root directory of its own, and
//! where somebody finds a way around that.

use std::io;

use banger_proto::jail::Wall;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::Without;
use super::plan::{Plan, Use};

/// The kernel's latest that is known here. An older one does what it can.
const LATEST: ABI = ABI::V9;

/// Lets this process, and what it executes, reach nothing but the places of the plan: no other files, no
/// TCP, no process outside by a signal. `own_proc`: whether `/proc` shows nobody else. No privilege may be
/// gained any more.
///
/// Tells what the kernel does not do.
pub(super) fn restrict(plan: &Plan, own_proc: bool) -> Option<Without> {
    let reason = match try_restrict(plan, own_proc) {
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => return None,
        Ok(RulesetStatus::NotEnforced) => "the kernel has none, or is not to use it".to_owned(),
        Err(error) => io::Error::other(error).to_string(),
    };
    Some(Without { wall: Wall::Landlock, reason })
}

fn try_restrict(plan: &Plan, own_proc: bool) -> Result<RulesetStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LATEST))?
        .handle_access(AccessNet::from_all(LATEST))?
        .scope(Scope::from_all(LATEST))?
        .create()?;
    let proc = own_proc.then_some(("/proc".as_ref(), Use::Read));
    let places = plan.places.iter().map(|place| (place.path.as_path(), place.usage));
    for (path, usage) in places.chain(proc) {
        // What is not there needs no permission.
        let Ok(file) = PathFd::new(path) else { continue };
        let is_file = path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir());
        let access = access(usage);
        // Of a file, no directory's rights can be had.
        let access =
            if is_file && !path.is_dir() { access & AccessFs::from_file(LATEST) } else { access };
        rules = rules.add_rule(PathBeneath::new(file, access))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

fn access(usage: Use) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match usage {
        Use::Read => read,
        Use::Execute => read | AccessFs::Execute,
        Use::Device => AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev,
        Use::Write => AccessFs::from_all(LATEST) & !BitFlags::from(AccessFs::Execute),
    }
}
