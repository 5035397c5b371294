//! Scopes of the service manager: a VM's processes are in one of their own, so that they do not end with
//! the service of the daemon that has started them.

use std::io;
use std::path::Path;
use std::time::Duration;

use banger_proto::VmId;
use banger_proto::helper::scope_name;

use super::OperationError;
use crate::peer::Peer;
use crate::program::{Program, ProgramError};

/// Where scopes are beneath; it shows all VMs as one.
const SLICE: &str = "banger.slice";
/// The daemon's service: it ends before the scopes when the host goes down, and so can stop its VMs.
const DAEMON: &str = "bangerd.service";
/// Where the kernel shows its groups of processes. In the older layout this is a folder of folders.
const GROUPS: &str = "/sys/fs/cgroup";

/// Most processes and threads of a VM: QEMU has one for each of at most 32 processors, and up to 64 for each
/// disk and for its own work.
const TASKS: &str = "1024";

/// How the service manager is asked for a scope.
const BUSCTL: Program =
    Program { name: "busctl", package: "systemd", deadline: Some(Duration::from_secs(8)) };
/// How its work is waited for.
const SYSTEMCTL: Program = Program { name: "systemctl", ..BUSCTL };

/// Moves the process that has connected into the VM's scope, where all have `memory` bytes together at most.
pub(super) fn enter(
    peer: Option<Peer>,
    vm: &VmId,
    memory: Option<u64>,
) -> Result<(), OperationError> {
    let peer = peer.ok_or(OperationError::NotHere("scopes"))?;
    let scope = scope_name(vm);
    let failed = |source| OperationError::Scope { scope: scope.clone(), source };
    let look = |source| OperationError::Process { process: peer.process, source };
    if !peer.is_there().map_err(look)? {
        return Err(OperationError::NoProcess(peer.process));
    }
    if is_inside(&peer, &scope).map_err(look)? {
        return Ok(());
    }
    let mut asked = start(&peer, &scope, vm, memory);
    if asked.is_err() && is_deserted(&scope) {
        // That of an earlier run of the VM, which the manager has not cleared away yet.
        let _ = SYSTEMCTL.run(&["stop", &scope], "");
        asked = start(&peer, &scope, vm, memory);
    }
    asked.map_err(failed)?;
    // The manager has taken the order; starting what is being started waits until it is done.
    SYSTEMCTL.run(&["start", &scope], "").map_err(failed)?;
    match is_inside(&peer, &scope).map_err(look)? {
        true => Ok(()),
        false => Err(OperationError::NotMoved { process: peer.process, scope }),
    }
}

/// Asks the service manager to make the scope, with the process in it.
fn start(peer: &Peer, scope: &str, vm: &VmId, memory: Option<u64>) -> Result<(), ProgramError> {
    // The largest number is none (systemd's `CGROUP_LIMIT_MAX`).
    let memory = memory.unwrap_or(u64::MAX).to_string();
    let (process, description) = (peer.process.to_string(), format!("VM {vm} of banger"));
    let words = [
        &[
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager",
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
            scope,
            "fail",
            "8",
        ][..],
        &["PIDs", "au", "1", &process],
        &["Description", "s", &description],
        &["Slice", "s", SLICE],
        &["Before", "as", "1", DAEMON],
        &["CollectMode", "s", "inactive-or-failed"],
        &["TasksMax", "t", TASKS],
        &["MemoryMax", "t", &memory],
        // Neither supervisor nor VMM has business in the host's network: guests' packets go by their taps,
        // which this is not about. Both families (2 and 10), every address.
        &["IPAddressDeny", "a(iayu)", "2"],
        &["2", "4", "0", "0", "0", "0", "0"],
        &["10", "16", "0", "0", "0", "0", "0", "0", "0", "0"],
        &["0", "0", "0", "0", "0", "0", "0", "0", "0"],
        &["0"],
    ];
    BUSCTL.run(&words.concat(), "").map(drop)
}

/// Whether the process is in the scope, or beneath it.
fn is_inside(peer: &Peer, scope: &str) -> io::Result<bool> {
    let groups = fs_err::read_to_string(format!("/proc/{}/cgroup", peer.process))?;
    Ok(parse_manager_group(&groups).is_some_and(|group| group.split('/').any(|part| part == scope)))
}

/// The group by which the service manager knows a process, in the text of `/proc/PID/cgroup`: that of the
/// one hierarchy there is, or of the manager's own among several.
fn parse_manager_group(groups: &str) -> Option<&str> {
    let of = |hierarchy: &str| groups.lines().find_map(|line| line.split_once(hierarchy));
    of(":name=systemd:").or_else(|| of("0::")).map(|(_, group)| group)
}

/// Whether nobody is in the scope. Only sure where there is one hierarchy of groups; else the answer is no.
fn is_deserted(scope: &str) -> bool {
    let groups = Path::new(GROUPS);
    if !groups.join("cgroup.controllers").exists() {
        return false;
    }
    match fs_err::read_to_string(groups.join(SLICE).join(scope).join("cgroup.events")) {
        Ok(events) => events.lines().any(|line| line == "populated 0"),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_process() {
        let one = "0::/banger.slice/banger-vm-0a0000000001.scope\n";
        let group = Some("/banger.slice/banger-vm-0a0000000001.scope");
        assert_eq!(parse_manager_group(one), group);
        let several = "4:memory:/x\n1:name=systemd:/system.slice/y.service\n0::/\n";
        assert_eq!(parse_manager_group(several), Some("/system.slice/y.service"));
        assert_eq!(parse_manager_group(""), None);
    }
}
