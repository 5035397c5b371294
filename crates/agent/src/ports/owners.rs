//! Whose socket it is: the process with the lowest id that has it open.
//!
//! Only a walk through the descriptors of all processes tells. So it is done for sockets that are
//! new, and for those whose process is gone.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use banger_proto::guest::ListenerProcess;

/// Where the kernel shows the processes of the guest.
const PROCESSES: &str = "/proc";
/// Descriptors that one walk looks at. Beyond them whose a socket is cannot be told.
const MAX_DESCRIPTORS: usize = 64 << 10;
/// Bytes in a process' name (`TASK_COMM_LEN`, without the end).
const NAME_LEN: usize = 15;

/// What is known so far: by inode, none for those that no process has.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<u64, Option<ListenerProcess>>);

impl Owners {
    /// Looks for the owners of sockets that are not known yet, and forgets all others.
    pub(super) fn update(&mut self, inodes: &BTreeSet<u64>) {
        // One process may have hundreds.
        let mut there = HashMap::new();
        self.0.retain(|inode, owner| {
            let mut is_there = |pid| *there.entry(pid).or_insert_with(|| exists(pid));
            inodes.contains(inode) && owner.as_ref().is_none_or(|owner| is_there(owner.pid))
        });
        let new: BTreeSet<u64> =
            inodes.iter().filter(|inode| !self.0.contains_key(inode)).copied().collect();
        if new.is_empty() {
            return;
        }
        let mut found = find(Path::new(PROCESSES), &new);
        self.0.extend(new.into_iter().map(|inode| (inode, found.remove(&inode))));
    }

    /// The owner of a socket, as far as it is known.
    pub(super) fn of(&self, inode: u64) -> Option<ListenerProcess> {
        self.0.get(&inode).cloned().flatten()
    }
}

fn exists(pid: u32) -> bool {
    Path::new(PROCESSES).join(pid.to_string()).exists()
}

/// Walks through the processes until all of `inodes` are found.
fn find(processes: &Path, inodes: &BTreeSet<u64>) -> HashMap<u64, ListenerProcess> {
    let mut found = HashMap::new();
    let Ok(entries) = fs::read_dir(processes) else { return found };
    let pids: BTreeSet<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut looked_at = 0;
    for pid in pids {
        let directory = processes.join(pid.to_string());
        // A process that has just ended has none.
        let Ok(descriptors) = fs::read_dir(directory.join("fd")) else { continue };
        let mut name = None;
        for descriptor in descriptors.flatten() {
            looked_at += 1;
            if looked_at > MAX_DESCRIPTORS || found.len() == inodes.len() {
                return found;
            }
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode = target.to_str().and_then(parse_socket);
            let Some(inode) = inode.filter(|inode| inodes.contains(inode)) else { continue };
            found.entry(inode).or_insert_with(|| {
                let name = name.get_or_insert_with(|| read_name(&directory)).clone();
                ListenerProcess { pid, name }
            });
        }
    }
    found
}

/// The inode of a socket, from where the link of its descriptor leads.
fn parse_socket(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The name of a process, which it may choose itself.
fn read_name(directory: &Path) -> String {
    let bytes = fs::read(directory.join("comm")).unwrap_or_default();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_LEN)]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn process(processes: &Path, pid: u32, name: &[u8], targets: &[&str]) {
        let directory = processes.join(pid.to_string());
        fs::create_dir_all(directory.join("fd")).unwrap();
        fs::write(directory.join("comm"), name).unwrap();
        for (number, target) in targets.iter().enumerate() {
            symlink(target, directory.join("fd").join(number.to_string())).unwrap();
        }
    }

    #[test]
    fn the_lowest_process_has_it() {
        let processes = tempfile::tempdir().unwrap();
        let at = processes.path();
        process(at, 10, b"worker\n", &["socket:[7]", "socket:[8]"]);
        process(at, 9, b"master\xff\xfe and more than that\n", &["/dev/null", "socket:[7]"]);
        fs::create_dir(at.join("self")).unwrap();
        let found = find(at, &[7, 8, 9].into());
        assert_eq!((found[&7].pid, found[&8].pid), (9, 10));
        assert_eq!(found[&8].name, "worker");
        assert_eq!(found[&7].name, "master\u{fffd}\u{fffd} and mo");
        assert!(!found.contains_key(&9));
    }

    #[test]
    fn what_is_known_is_not_looked_for_again() {
        let me = ListenerProcess { pid: std::process::id(), name: "me".into() };
        let gone = ListenerProcess { pid: u32::MAX, name: "gone".into() };
        let mut owners = Owners(HashMap::from([
            (u64::MAX, Some(me.clone())),
            (u64::MAX - 1, Some(gone)),
            (u64::MAX - 2, Some(me.clone())),
        ]));
        owners.update(&[u64::MAX, u64::MAX - 1].into());
        assert_eq!(owners.of(u64::MAX), Some(me));
        assert_eq!(owners.of(u64::MAX - 1), None, "its process has ended");
        assert_eq!(owners.0.len(), 2);
    }

    #[test]
    fn links_that_are_no_sockets_are_passed_over() {
        assert_eq!(parse_socket("socket:[42]"), Some(42));
        for other in ["pipe:[42]", "socket:[]", "socket:[42", "/tmp/socket:[42]", "socket:[-1]"] {
            assert_eq!(parse_socket(other), None, "{other}");
        }
    }
}
