//! Directories and processes of VMs that are not recorded.
//!
//! A VM's record is made before and removed after everything else of it, so a kill leaves no
//! orphans. They come from a database that was lost, put aside or taken from a copy, and then a
//! disk may be all that is left of somebody's work: so they are told (at the start, by the
//! doctor) and only removed when that is asked for.
//!
//! Several state directories may share one runtime directory. Whose a VM there is, its launch
//! file says; what is not known to be ours is left alone while it runs.
//!
//! A runtime directory may also be taken away from a VM that runs, by a clean-up of `/tmp` say.
//! Then nobody reaches its supervisor any more, but it is still among the processes.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use banger_proto::api::{Garbage, Leftover, LeftoverKind};
use banger_proto::supervisor::{LAUNCH_FILE, LaunchSpec};
use banger_proto::{ByteSize, Code, Paths, Problem, VmId};

use super::{files, undo};
use crate::engine::Host;
use crate::hypervisor::Found;
use crate::step::Operation;
use crate::supervise::SUPERVISOR_LOG;
use crate::supervise::processes::{Supervisor, observe_supervisors};

/// Bytes in a launch file at most: a command line.
const LAUNCH_LIMIT: u64 = 1 << 20;

/// A directory of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
struct VmDir {
    vm: VmId,
    path: PathBuf,
    lasting: bool,
}

/// The directories of VMs there are. Whoever wants to know which of them are orphans looks
/// at the records afterwards: a VM is recorded before it has a directory.
#[derive(Debug)]
pub(crate) struct Seen(Vec<VmDir>);

impl Seen {
    /// The directories of VMs that are not in `known`.
    pub(crate) fn unknown_to(&self, known: &BTreeSet<VmId>) -> impl Iterator<Item = &Path> {
        let unknown = self.0.iter().filter(|dir| !known.contains(&dir.vm));
        unknown.map(|dir| dir.path.as_path())
    }
}

/// Looks for directories of VMs.
///
/// # Errors
/// When a directory cannot be read.
pub(crate) fn observe_dirs(paths: &Paths) -> io::Result<Seen> {
    let mut seen = Vec::new();
    // The VMM first: it works with the disk.
    for (base, lasting) in [(&paths.runtime_dir, false), (&paths.state_dir, true)] {
        let base = base.join("vms");
        let found = files::observe_vm_dirs(&base)?;
        seen.extend(found.into_iter().map(|vm| VmDir {
            path: base.join(vm.as_str()),
            vm,
            lasting,
        }));
    }
    Ok(Seen(seen))
}

/// What of `seen` is of no VM in `known`, and supervisors that nobody reaches, but for those of
/// the VMs in `busy`, whose drivers hold on to them.
pub(crate) async fn observe_orphans(
    host: &Host,
    seen: Seen,
    known: &BTreeSet<VmId>,
    busy: &BTreeSet<VmId>,
) -> Garbage {
    let mut garbage = Garbage::default();
    let mut kept = BTreeSet::new();
    for (vm, supervisor) in observe_lost(&host.paths) {
        let dir = host.paths.vm_runtime_dir(&vm);
        if busy.contains(&vm) {
            continue;
        }
        if is_ours(&supervisor, &host.paths, &vm) {
            let (path, size) = (dir.display().to_string(), ByteSize::from_bytes(0));
            let (kind, removed, problem) = (LeftoverKind::Process, false, None);
            let vm = Some(vm);
            garbage.leftovers.push(Leftover { vm, kind, path, size, removed, problem });
        } else {
            let pid = supervisor.process.pid;
            let dir = dir.display();
            garbage.notices.push(format!("process {pid} is kept: it is a VM's that was in `{dir}`, and not of this state directory"));
            kept.insert(vm);
        }
    }
    for VmDir { vm, path, lasting } in seen.0.into_iter().filter(|dir| !known.contains(&dir.vm)) {
        let judged = if lasting { Ok(LeftoverKind::Disk) } else { judge(host, &vm, &path).await };
        match judged {
            // What runs may write to its disk.
            Ok(_) if kept.contains(&vm) => {}
            Ok(kind) => {
                let size = ByteSize::from_bytes(observe_size(&path));
                let path = path.display().to_string();
                let (removed, problem) = (false, None);
                let vm = Some(vm);
                garbage.leftovers.push(Leftover { vm, kind, path, size, removed, problem });
            }
            Err(why) => {
                garbage.notices.push(format!("`{}` is kept: {why}", path.display()));
                kept.insert(vm);
            }
        }
    }
    garbage
}

/// What a runtime directory is, or why it is kept.
async fn judge(host: &Host, vm: &VmId, dir: &Path) -> Result<LeftoverKind, String> {
    let owner = load_owner(dir, &host.paths, vm);
    if let Owner::Other(log) = owner {
        return Err(format!("it belongs to the VM with console log `{}`", log.display()));
    }
    match host.hypervisor.adopt(vm).await {
        Ok(Found::Alive(_)) if owner == Owner::Ours => Ok(LeftoverKind::Process),
        Ok(Found::Alive(_)) => Err("its VM runs, and nobody says whose it is".to_owned()),
        Ok(Found::Ended(_) | Found::Untold(_) | Found::Gone) => Ok(LeftoverKind::Runtime),
        Err(error) => Err(error.to_string()),
    }
}

/// Removes what was found, going on past what cannot be. Of VMs in `known`, which may have been
/// started meanwhile, that is only who is not reached.
pub(crate) async fn remove_orphans(host: &Host, garbage: &mut Garbage, known: &BTreeSet<VmId>) {
    for leftover in &mut garbage.leftovers {
        // What is of the network is not of a VM.
        let Some(vm) = &leftover.vm else { continue };
        tracing::info!(%vm, path = %leftover.path, "removing an orphan");
        let walk = host.followers.walk(vm, Operation::Gc);
        let removed = match leftover.kind {
            LeftoverKind::Process | LeftoverKind::Runtime => {
                let ended = end_lost(&host.paths, vm).await;
                match known.contains(vm) {
                    true => ended,
                    false => undo::remove_vmm(host, vm, &mut None, &walk).await.and(ended),
                }
            }
            LeftoverKind::Disk => undo::remove_disk(host, vm, &walk).await,
            LeftoverKind::Network => continue,
        };
        let left = || !known.contains(vm) && fs_err::symlink_metadata(&leftover.path).is_ok();
        match removed {
            Ok(()) if left() => {
                let message = format!("`{}` holds files that banger did not make", leftover.path);
                let problem = Problem::new(Code::Conflict, message);
                leftover.problem =
                    Some(problem.hint("banger's own are gone; the others are yours"));
            }
            Ok(()) => leftover.removed = true,
            Err(problem) => leftover.problem = Some(problem),
        }
    }
}

/// The supervisors in this runtime directory whose own directory is gone.
fn observe_lost(paths: &Paths) -> Vec<(VmId, Supervisor)> {
    let supervisors = observe_supervisors().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot look for supervisors");
        Vec::new()
    });
    let lost = supervisors.into_iter().filter_map(|supervisor| {
        let dir = supervisor.launch_file.parent()?;
        let vm: VmId = dir.file_name()?.to_str()?.parse().ok()?;
        let lost = dir == paths.vm_runtime_dir(&vm) && !supervisor.launch_file.exists();
        lost.then_some((vm, supervisor))
    });
    lost.collect()
}

/// Whether a supervisor writes its log, whatever became of that, into this state directory.
fn is_ours(supervisor: &Supervisor, paths: &Paths, vm: &VmId) -> bool {
    let Some(log) = supervisor.log.as_ref().and_then(|log| log.to_str()) else { return false };
    let log = log.strip_suffix(" (deleted)").unwrap_or(log);
    let log = log.strip_suffix(".1").unwrap_or(log);
    Path::new(log) == paths.vm_state_dir(vm).join(SUPERVISOR_LOG)
}

/// Ends the VM's supervisors that nobody reaches, with their VMMs.
async fn end_lost(paths: &Paths, vm: &VmId) -> Result<(), Problem> {
    for (of, supervisor) in observe_lost(paths) {
        if of == *vm && is_ours(&supervisor, paths, vm) {
            supervisor.process.end().await.map_err(|error| {
                let message = format!("cannot end process {}", supervisor.process.pid);
                Problem::new(Code::OperationFailed, message).because(&error)
            })?;
        }
    }
    Ok(())
}

/// Whose a VM is.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    /// Its files are in this state directory.
    Ours,
    /// Its console log is elsewhere.
    Other(PathBuf),
    /// Nobody says.
    Unknown,
}

fn load_owner(runtime_dir: &Path, paths: &Paths, vm: &VmId) -> Owner {
    let load = || -> io::Result<LaunchSpec> {
        let file = fs_err::File::open(runtime_dir.join(LAUNCH_FILE))?;
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, LAUNCH_LIMIT), &mut text)?;
        Ok(serde_json::from_slice(&text)?)
    };
    match load() {
        Ok(launch) if Path::new(&launch.console_log) == files::console_log(paths, vm) => {
            Owner::Ours
        }
        Ok(launch) => Owner::Other(launch.console_log.into()),
        Err(_) => Owner::Unknown,
    }
}

/// Bytes on the disk of the files in a directory; those that cannot be looked at take none.
fn observe_size(dir: &Path) -> u64 {
    let Ok(entries) = fs_err::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| crate::disk::observe_used(&entry.path()));
    sizes.flatten().map(ByteSize::bytes).sum()
}

#[cfg(test)]
mod tests {
    use banger_proto::supervisor::{LinkTransport, VmmControl};

    use super::*;

    #[test]
    fn the_launch_file_says_whose_a_vm_is() {
        let home = tempfile::tempdir().unwrap();
        let text = home.path().to_str().unwrap().to_owned();
        let paths =
            Paths::from_env(|name| (name == "HOME").then(|| text.clone()), 0, false).unwrap();
        let vm: VmId = "0123456789ab".parse().unwrap();
        let dir = home.path().join("run");
        fs_err::create_dir(&dir).unwrap();
        assert_eq!(load_owner(&dir, &paths, &vm), Owner::Unknown);
        let write = |log: &Path| {
            let launch = LaunchSpec {
                vm: vm.clone(),
                vmm: vec![],
                jailed: false,
                link: LinkTransport::Inherited,
                control: VmmControl::Qmp,
                link_magic: String::new(),
                console_log: log.to_str().unwrap().to_owned(),
                console_limit: 0,
                log: String::new(),
                memory_limit: None,
                memory: None,
                metrics: None,
                scope_helper: None,
                saved: None,
            };
            fs_err::write(dir.join(LAUNCH_FILE), serde_json::to_vec(&launch).unwrap()).unwrap();
        };
        write(&files::console_log(&paths, &vm));
        assert_eq!(load_owner(&dir, &paths, &vm), Owner::Ours);
        write(Path::new("/other/vms/0123456789ab/console.log"));
        let other = PathBuf::from("/other/vms/0123456789ab/console.log");
        assert_eq!(load_owner(&dir, &paths, &vm), Owner::Other(other));
        fs_err::write(dir.join(LAUNCH_FILE), "{").unwrap();
        assert_eq!(load_owner(&dir, &paths, &vm), Owner::Unknown);
    }
}
