//! A whole host of its own, in a VM: Debian with systemd, the system's resolver, KVM, and banger
//! installed in it for an ordinary user.
//!
//! ```text
//!  this machine ── banger ──▶ the host ── banger, as `dev` ──▶ its VMs
//!                              └── 198.51.100.1, the internet (a network namespace)
//! ```
//!
//! `tests_inside` has other tests run in it.

mod image;
mod tests_inside;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;

use serde_json::json;

use crate::{Home, OciImage, Ran, SMALL, shared};

/// Name of the VM that is the host.
const NAME: &str = "box";
/// The ordinary user of the host.
pub const USER: &str = "dev";
/// Where the internet of the host has a web server, at port 80, that serves `from the internet`.
pub const INTERNET: &str = "203.0.113.9";

/// QEMU whose guests have guests: an emulated processor shows AMD's extensions only on demand. With
/// KVM, what the processor has is there already.
///
/// Such a processor loses an interrupt of its timer now and then while it runs a guest, and a kernel that
/// sets its timer for one interrupt at a time then sleeps until a device wakes it. So this one ticks.
const QEMU: &str = r#"#!/bin/sh
for argument do
    shift
    case $argument in
    max,*) argument=$argument,+svm ;;
    console=*) argument="$argument nohz=off highres=off" ;;
    esac
    set -- "$@" "$argument"
done
exec qemu-system-x86_64 "$@"
"#;

/// Programs of the VMs in the host.
const APPLETS: [&str; 9] =
    ["cat", "echo", "hostname", "httpd", "mkdir", "nslookup", "sh", "sleep", "wget"];

/// What is beyond the host: a network that only leads there, and a server in it.
const SETTLE: &str = "
mkdir -p /srv/www && echo 'from the internet' >/srv/www/index.html
ip netns add internet
ip link add out type veth peer name in netns internet
ip addr add 198.51.100.2/24 dev out
ip link set out up
ip -n internet link set lo up
ip -n internet addr add 203.0.113.9/32 dev lo
ip -n internet addr add 198.51.100.1/24 dev in
ip -n internet link set in up
ip route replace default via 198.51.100.1
ip netns exec internet busybox httpd -p 203.0.113.9:80 -h /srv/www
";

/// A host that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Host {
    home: Home,
    /// A session of the user's, as long as the host runs.
    session: Option<Child>,
}

impl Host {
    /// Boots a host with banger installed in `/usr/local`, and for its user a kernel and the image
    /// [`SMALL`], which has a web server.
    ///
    /// # Panics
    /// When that cannot be.
    #[must_use]
    pub fn boot() -> Self {
        let home = Home::empty();
        let qemu = home.path().join("qemu");
        fs::write(&qemu, QEMU).expect("a program");
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).expect("its mode");
        // Before there is a daemon, which reads it once.
        home.configure(&format!("qemu_bin = \"{}\"\n", qemu.display()));
        home.banger(["kernel", "pull"]).expect_code(0);
        let image = image::ensure(&home);
        let _ = home.create(
            NAME,
            &["--image", &image, "--vcpu", "1", "--memory", "3G", "--wait", "system"],
        );
        let mut host = Self { home, session: None };
        host.install();
        host.settle();
        host
    }

    /// Runs a script of root's.
    #[must_use]
    pub fn root(&self, script: &str) -> Ran {
        self.home.exec(NAME, &["sh", "-ec", script])
    }

    /// Runs a script of the user's, logged in as people do.
    #[must_use]
    pub fn user(&self, script: &str) -> Ran {
        self.log_in(USER, script)
    }

    /// Runs a script of another account's, as [`Host::user`] does.
    #[must_use]
    pub fn log_in(&self, account: &str, script: &str) -> Ran {
        self.home.exec(NAME, &["runuser", "-l", account, "-c", script])
    }

    /// Reboots the host.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn reboot(&mut self) {
        self.home.banger(["vm", "restart", "--wait", "system", NAME]).expect_code(0);
        self.log_out();
        self.settle();
    }

    /// What an administrator does once: programs for everybody, an account, and for it what VMs are
    /// made of.
    fn install(&self) {
        self.copy(&shared::prefix().join("bin/banger"), "/usr/local/bin/banger");
        self.copy(&shared::prefix().join("lib/banger"), "/usr/local/lib/banger");
        self.root(&format!("useradd -m -s /bin/sh -G kvm {USER}")).expect_code(0);
        let kernel = shared::data_dir().join("banger/kernels/debian-bookworm-cloud");
        self.root("mkdir -p /srv/kernel").expect_code(0);
        for file in ["vmlinux", "modules.cpio", "manifest.json"] {
            self.copy(&kernel.join(file), &format!("/srv/kernel/{file}"));
        }
        let image = OciImage::new(json!({})).busybox("bin/busybox");
        let link = |image: OciImage, name: &&str| image.link(&format!("bin/{name}"), "busybox");
        let image = APPLETS.iter().fold(image, link);
        let archive = self.home.path().join("small.tar");
        image.file("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\n").write(&archive);
        self.copy(&archive, "/srv/small.tar");
        self.supply(USER);
    }

    /// Gives an account that has banger what VMs are made of.
    ///
    /// # Panics
    /// When that cannot be.
    pub fn supply(&self, account: &str) {
        // KVM of an emulated processor is slower than banger takes KVM for.
        let script = format!(
            "mkdir -p ~/.config/banger ~/.local/share/banger/kernels && \
             printf 'ready_timeout = 600\nwarm_starts = false\n' >~/.config/banger/config.toml && \
             cp -r /srv/kernel ~/.local/share/banger/kernels/debian-bookworm-cloud && \
             banger image import --name {SMALL} /srv/small.tar && banger daemon stop"
        );
        self.log_in(account, &script).expect_code(0);
    }

    /// Copies a file or directory of this machine into the host.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn copy(&self, from: &Path, to: &str) {
        let from = from.to_str().expect("path");
        self.home.banger(["vm", "cp", from, &format!("{NAME}:{to}")]).expect_code(0);
    }

    /// What every boot needs: the internet, and somebody who is logged in.
    fn settle(&mut self) {
        self.root(SETTLE).expect_code(0);
        let words = ["vm", "exec", NAME, "--", "runuser", "-l", USER, "-c", "echo; sleep infinity"];
        let mut session = self.home.spawn_banger(words);
        let mut line = String::new();
        let mut said = BufReader::new(session.stdout.take().expect("piped"));
        said.read_line(&mut line).expect("text");
        assert_eq!(line, "\n", "nobody is logged in");
        self.session = Some(session);
    }

    fn log_out(&mut self) {
        if let Some(mut session) = self.session.take() {
            // It may have ended with the host.
            let _ = session.kill();
            let _ = session.wait();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.root(&format!(
                "journalctl -b -n 60 --no-pager _TRANSPORT=stdout _TRANSPORT=syslog _TRANSPORT=journal
                 ps --ppid 2 -p 2 --deselect -o pid,user,unit,args
                 cd ~{USER}/.local/state/banger; tail -n 40 bangerd.log vms/*/supervisor.log"
            ));
            eprintln!("the host:\n{}{}", said.stdout, said.stderr);
        }
        self.log_out();
    }
}
