//! What `banger doctor --fix` does: what needs no judgement, because nobody can want it otherwise and
//! nothing of anybody's is lost. Disks and processes of VMs are none of it: see [`super::garbage`].

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use banger_proto::api::{Garbage, Leftover, LeftoverKind, Repair};
use banger_proto::{Code, Paths, Problem};

use super::Engine;

impl Engine {
    /// Does what [`plan_repairs`] finds, going on past what cannot be done.
    pub(super) async fn repair(&self) -> Vec<Repair> {
        let garbage = self.observe_garbage().await.unwrap_or_default();
        let mut repairs = plan_repairs(&self.inner.host.paths, garbage);
        for repair in &mut repairs {
            match &mut repair.work {
                Work::Close(path, mode) => {
                    let mode = std::fs::Permissions::from_mode(*mode);
                    if let Err(error) = fs_err::set_permissions(path, mode) {
                        repair.problem = Some(Problem::from_error(Code::OperationFailed, &error));
                    }
                }
                Work::Remove(leftover) => {
                    let mut one = Garbage { leftovers: vec![leftover.clone()], notices: vec![] };
                    self.remove_garbage(&mut one).await;
                    repair.problem = one.leftovers.pop().and_then(|leftover| leftover.problem);
                }
            }
        }
        let repaired = repairs.into_iter().map(|planned| Repair {
            what: planned.what,
            done: planned.problem.is_none(),
            problem: planned.problem,
        });
        repaired.collect()
    }
}

/// What would be done.
pub(super) fn render_repairs(paths: &Paths, garbage: Garbage) -> Vec<Repair> {
    let planned = plan_repairs(paths, garbage).into_iter();
    planned.map(|planned| Repair { what: planned.what, done: false, problem: None }).collect()
}

struct Planned {
    what: String,
    work: Work,
    problem: Option<Problem>,
}

enum Work {
    /// Give a file of the user's own this mode.
    Close(PathBuf, u32),
    Remove(Leftover),
}

fn plan_repairs(paths: &Paths, garbage: Garbage) -> Vec<Planned> {
    let planned = |what, work| Planned { what, work, problem: None };
    let private = [(paths.runtime_dir.clone(), 0o700), (paths.database(), 0o600)];
    let open = private.into_iter().filter(|(path, _)| is_open(path).unwrap_or(false));
    let closed = open.map(|(path, mode)| {
        let what = format!("close `{}` to other users (mode {mode:o})", path.display());
        planned(what, Work::Close(path, mode))
    });
    let of_nobody = garbage
        .leftovers
        .into_iter()
        .filter(|leftover| matches!(leftover.kind, LeftoverKind::Runtime | LeftoverKind::Network));
    let removed = of_nobody.map(|leftover| {
        let of = if leftover.vm.is_some() { "no VM" } else { "a network that nobody is on" };
        let verb = if leftover.path.starts_with("/proc/") { "end" } else { "remove" };
        let what = format!("{verb} `{}`, which is of {of}", leftover.path);
        planned(what, Work::Remove(leftover))
    });
    closed.chain(removed).collect()
}

/// Whether others than the user may open something that is the user's; links are not followed.
fn is_open(path: &Path) -> io::Result<bool> {
    let metadata = fs_err::symlink_metadata(path)?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    Ok(ours && !metadata.is_symlink() && metadata.mode() & 0o077 != 0)
}
