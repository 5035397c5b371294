//! banger on a host of its own: a Debian in a VM, with systemd, the system's resolver and KVM, where
//! somebody has just installed it.
//!
//! | module | what is tested |
//! |---|---|
//! | `user` | an ordinary user, without root |
//! | `system` | banger as a service of the system, also over a reboot |
//! | `release` | releases: installed with and without root, updated beside VMs, as a package, removed |
//! | `firecracker` | VMs run by Firecracker, where `BANGER_FIRECRACKER_BIN` names one that runs anywhere |
//!
//! One host serves all: making it takes longer than what is done in it.

mod firecracker;
mod release;
mod system;
mod user;

use banger_e2e::SMALL;
use banger_e2e::host::{Host, USER};

/// What runs in a VM to be reached by others: its name, at port 8080.
const SERVE: &str = "mkdir -p /srv && hostname >/srv/name && httpd -p 8080 -h /srv";

/// Names of modules, with blanks between them: nothing else is tested.
const ONLY: &str = "BANGER_HOST_ONLY";

#[test]
fn a_host_with_banger() {
    let only = std::env::var(ONLY).ok();
    let wanted = |module| {
        only.as_ref().is_none_or(|only| only.split_whitespace().any(|name| name == module))
    };
    let mut host = Host::boot();
    host.root(&format!("echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER}"))
        .expect_code(0);
    if wanted("user") {
        user::vms_of_an_ordinary_user(&host);
    }
    if wanted("system") {
        system::a_service_of_the_system(&mut host);
        host.user("banger vm delete --force web idle").expect_code(0);
    }
    if wanted("release") {
        release::from_one_release_to_the_next(&host);
    }
    if wanted("firecracker") {
        match std::env::var_os("BANGER_FIRECRACKER_BIN") {
            Some(program) => firecracker::vms_of_firecracker(&host, program.as_ref()),
            None => eprintln!("skipped: Firecracker, as BANGER_FIRECRACKER_BIN names none"),
        }
    }
}

/// Makes a VM of the user's, with a server in it.
fn create(host: &Host, name: &str, options: &str) {
    host.user(&format!("banger vm create --name {name} --image {SMALL} {options}")).expect_code(0);
    host.user(&format!("banger vm exec {name} -- sh -c '{SERVE}'")).expect_code(0);
}

/// What of the host's own banger may change while it has VMs, or is a service: its networks, its
/// resolver's routes, its services, and processes.
fn observe(host: &Host) -> String {
    let script = "
ip -4 -o addr; ip -4 route; nft list ruleset; ip netns; resolvectl domain; resolvectl dns
lsns -n -t net -o COMMAND; ls -d /run/banger* /etc/banger* /etc/tmpfiles.d/banger* || true
find /etc/systemd -name '*banger*'; systemctl list-units --all --no-legend 'banger*'
ps -e -o comm= | grep -E 'banger|qemu|passt|pasta' | sort || true";
    host.root(script).expect_code(0).stdout
}
