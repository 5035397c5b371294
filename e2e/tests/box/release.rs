//! Releases, as people get, renew and remove them.

use banger_e2e::host::Host;
use banger_e2e::{Releases, SMALL};
use tempfile::TempDir;

use super::{create, observe};

/// Where the host has a server of releases.
const ADDRESS: &str = "http://127.0.0.1:8880";
/// Somebody who has never seen banger, and may do nothing but use `/dev/kvm`.
const NEWCOMER: &str = "newcomer";
/// What is there of any banger but for what is a user's.
const PROGRAMS: &str = "find /usr /etc /run -xdev -name '*banger*' | sort";

pub(crate) fn from_one_release_to_the_next(host: &Host) {
    // It has been put there by hand: the installer leaves that alone.
    host.user("banger daemon stop").expect_code(0);
    let place = TempDir::new().expect("a directory");
    let releases = Releases::new(&place.path().join("releases"), ADDRESS);
    releases.publish("v0.7.0");
    host.copy(releases.dir(), "/srv/releases");
    host.root("busybox httpd -p 127.0.0.1:8880 -h /srv/releases").expect_code(0);
    let refused = install(host, "--yes").expect_code(1).stderr;
    assert!(refused.contains("/usr/local/bin/banger was installed in another way"), "{refused}");
    host.root("rm -r /usr/local/bin/banger /usr/local/lib/banger").expect_code(0);
    let before = (observe(host), host.root(PROGRAMS).expect_code(0).stdout);

    // For everybody, with services; and for one alone.
    let told = install(host, "--yes").expect_code(0).stderr;
    assert!(told.contains("banger v0.7.0 will be installed, with sudo:"), "{told}");
    host.user("sudo banger system install --yes --bridge vms").expect_code(0);
    create(host, "web", "");
    let boot = super::system::boot_of(host, "web");
    let alone = Alone::install(host);

    releases.publish("v0.7.1");
    host.copy(releases.dir(), "/srv/next");
    host.root("cp -r /srv/next/. /srv/releases").expect_code(0);
    alone.update();

    let refused = host.user("banger update").expect_code(1).stderr;
    assert!(refused.contains("sudo banger update"), "{refused}");
    let told = host.user("sudo banger update").expect_code(0);
    assert_eq!(told.stdout, "v0.7.1 is in use, v0.7.0 was before\n");
    assert!(told.stderr.contains("sudo banger system install"), "{}", told.stderr);
    host.user("sudo banger system install --yes").expect_code(0);
    let status = host.user("banger daemon status --json").expect_code(0).json();
    assert_eq!((&status["version"], &status["vms_running"]), (&"0.7.1".into(), &1.into()));
    assert_eq!(super::system::boot_of(host, "web"), boot, "the VM has noticed");
    host.root("ip addr show dev vms").expect_code(0);
    let refused = install(host, "--yes --uninstall").expect_code(1).stderr;
    assert!(refused.contains("first sudo banger system uninstall"), "{refused}");

    alone.remove();
    host.user("sudo banger system uninstall --yes && banger vm delete --force web").expect_code(0);
    host.user("banger daemon stop").expect_code(0);
    install(host, "--yes --uninstall").expect_code(0);
    assert_eq!((observe(host), host.root(PROGRAMS).expect_code(0).stdout), before);

    comes_as_a_package(host);
    assert_eq!((observe(host), host.root(PROGRAMS).expect_code(0).stdout), before);
    // What comes next finds one.
    install(host, "--yes").expect_code(0);
}

/// The installer, for all of the host, as its user calls it.
fn install(host: &Host, words: &str) -> banger_e2e::Ran {
    host.user(&format!("curl -fsSL {ADDRESS}/install.sh | bash -s -- {words}"))
}

/// A newcomer with a VM.
struct Alone<'a> {
    host: &'a Host,
    /// The files of the account before.
    files: String,
}

impl<'a> Alone<'a> {
    fn install(host: &'a Host) -> Self {
        host.root(&format!("useradd -m -s /bin/sh -G kvm {NEWCOMER}")).expect_code(0);
        let mut alone = Self { host, files: String::new() };
        alone.files = alone.files();
        alone.log_in(&format!("curl -fsSL {ADDRESS}/install.sh | bash -s -- --user --yes"));
        assert_eq!(alone.version(), "0.7.0");
        host.supply(NEWCOMER);
        alone.log_in(&format!("banger vm create --name stays --image {SMALL}"));
        alone.log_in("banger vm exec stays -- sh -c \"echo here >/run/mark\"");
        alone
    }

    fn update(&self) {
        let told = self.log_in("banger update");
        assert_eq!(told, "v0.7.1 is in use, v0.7.0 was before\n");
        assert_eq!(self.version(), "0.7.1");
        let mark = self
            .log_in("banger daemon status | grep 0.7.1 && banger vm exec stays -- cat /run/mark");
        assert!(mark.ends_with("here\n"), "{mark}");
    }

    fn remove(&self) {
        let uninstall =
            format!("curl -fsSL {ADDRESS}/install.sh | bash -s -- --user --yes --uninstall");
        let refused = self.host.log_in(NEWCOMER, &uninstall).expect_code(1).stderr;
        assert!(refused.contains("1 VMs run: stop them first"), "{refused}");
        self.log_in(&format!("banger vm stop stays && {uninstall}"));
        assert_eq!(self.files(), self.files, "programs are left");
        let left = self.log_in(
            "ls ~/.local/state/banger; ps -u $(id -u) -o comm= | grep -e banger -e qemu || true",
        );
        assert!(left.contains("banger.db\n") && left.ends_with("vms\n"), "{left}");
    }

    /// What the account has besides VMs, images and settings.
    fn files(&self) -> String {
        let own = "state share cache config".replace(' ', "\\|");
        self.log_in(&format!(
            "find ~ -not -type d | grep -v \"/\\.\\(local/\\)\\?\\({own}\\)/banger/\" | sort"
        ))
    }

    fn version(&self) -> String {
        let said = self.log_in("banger version --json");
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        said["version"].as_str().expect("a version").to_owned()
    }

    fn log_in(&self, script: &str) -> String {
        self.host.log_in(NEWCOMER, script).expect_code(0).stdout
    }
}

/// The Debian package: the package manager's, from one end to the other.
fn comes_as_a_package(host: &Host) {
    let package = "/srv/releases/v0.7.1/banger_0.7.1_amd64.deb";
    host.root(&format!("apt-get install -y --no-install-recommends {package}")).expect_code(0);
    let ran = host.user(&format!("banger vm run --rm --image {SMALL} -- echo from a package"));
    assert_eq!(ran.expect_code(0).stdout, "from a package\n");
    let refused = host.user("sudo banger update").expect_code(1).stderr;
    assert!(
        refused.contains("/usr/bin/banger` was not installed by banger's installer"),
        "{refused}"
    );
    host.user("banger daemon stop && sudo apt-get remove -y banger").expect_code(0);
}
