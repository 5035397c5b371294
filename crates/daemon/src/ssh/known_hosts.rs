//! The file of VMs' public keys, in the format that the client reads (sshd(8), "SSH_KNOWN_HOSTS
//! FILE FORMAT"):
//!
//! ```text
//! web.vm,0123456789ab.vm ssh-ed25519 AAAA… 0123456789ab
//! ```
//!
//! The last word, a comment to the client, says whose line it is. Lines that end otherwise are
//! somebody else's and stay.

use std::io;
use std::path::Path;

use banger_proto::{VmId, VmName};

use super::save_private;

/// A VM as the client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownHost {
    pub(super) vm: VmId,
    pub(super) name: VmName,
    /// Type and public key.
    pub(super) key: String,
}

impl KnownHost {
    fn render(&self) -> String {
        let Self { vm, name, key } = self;
        format!("{name}.vm,{vm}.vm {key} {vm}\n")
    }
}

/// Replaces the file by what `change` makes of its text, if that is another.
pub(super) fn change(path: &Path, change: impl FnOnce(&str) -> String) -> io::Result<()> {
    let before = match fs_err::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read?),
    };
    let after = change(before.as_deref().unwrap_or_default());
    // An empty one is made, too: the client is to find that it knows nobody.
    if before.as_ref() == Some(&after) { Ok(()) } else { save_private(path, after.as_bytes()) }
}

/// The text with this VM's key in it, and no other under its names.
pub(super) fn pin(text: &str, host: &KnownHost) -> String {
    let name = format!("{}.vm", host.name);
    let stale =
        |line: &str| owner(line).is_some_and(|vm| vm == host.vm || hosts(line).any(|h| h == name));
    keep(text, |line| !stale(line)) + &host.render()
}

/// The text without this VM.
pub(super) fn unpin(text: &str, vm: &VmId) -> String {
    keep(text, |line| owner(line).as_ref() != Some(vm))
}

/// The text with exactly these VMs.
pub(super) fn settle(text: &str, hosts: &[KnownHost]) -> String {
    let others = keep(text, |line| owner(line).is_none());
    hosts.iter().fold(others, |text, host| text + &host.render())
}

/// The lines that `wanted` says, each with an end.
fn keep(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    text.lines().filter(|line| wanted(line)).flat_map(|line| [line, "\n"]).collect()
}

/// The VM whose line it is.
fn owner(line: &str) -> Option<VmId> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    match words[..] {
        [names, _, _, last] if !names.starts_with(['#', '@']) => last.parse().ok(),
        _ => None,
    }
}

fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.split_ascii_whitespace().next().unwrap_or_default().split(',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(vm: &str, name: &str, key: &str) -> KnownHost {
        let (vm, name) = (vm.parse().unwrap(), name.parse().unwrap());
        KnownHost { vm, name, key: format!("ssh-ed25519 {key}") }
    }

    const OTHERS: &str = "# mine\nother.example ssh-rsa AAAA me@home\n";

    #[test]
    fn a_vm_is_pinned_once_and_forgotten() {
        let web = host("0123456789ab", "web", "A");
        let pinned = pin(OTHERS, &web);
        let line = "web.vm,0123456789ab.vm ssh-ed25519 A 0123456789ab\n";
        assert_eq!(pinned, format!("{OTHERS}{line}"));
        assert_eq!(pin(&pinned, &web), pinned);
        assert_eq!(unpin(&pinned, &web.vm), OTHERS);
        assert_eq!(unpin(OTHERS, &web.vm), OTHERS);
    }

    #[test]
    fn a_name_has_one_key() {
        let pinned = pin("", &host("0123456789ab", "web", "A"));
        let again = pin(&pinned, &host("ffffffffffff", "web", "B"));
        assert_eq!(again, "web.vm,ffffffffffff.vm ssh-ed25519 B ffffffffffff\n");
    }

    #[test]
    fn what_is_there_decides() {
        let (web, db) = (host("0123456789ab", "web", "A"), host("ffffffffffff", "db", "B"));
        let before = pin(&pin(OTHERS, &web), &host("eeeeeeeeeeee", "gone", "C"));
        let after = settle(&before, &[web.clone(), db.clone()]);
        assert_eq!(after, pin(&pin(OTHERS, &web), &db));
    }
}
