//! A Debian with systemd, container engines from the distribution, and an image for them.

use std::fs;
use std::path::Path;

use super::layer::{Layer, mode};
use super::sample::Recipe;
use super::tools::{self, run};
use super::{image, small};

/// Besides the essential packages. Docker recommends `apparmor` and does without it only where the
/// kernel does, too; the distribution's does not.
const PACKAGES: &str =
    "systemd-sysv,dbus,udev,kmod,iproute2,docker.io,apparmor,podman,crun,iptables";

pub(super) fn recipe(work: &Path) -> Recipe {
    let tar = work.join("system.tar");
    let include = format!("--include={PACKAGES}");
    // The agent gives each VM its own identity.
    let options = ["--variant=minbase", "--quiet", &include, HOOK, "bookworm"];
    run("mmdebstrap", &options, [tar.as_ref()]);

    let layout = work.join("layout");
    tools::build(&layout, "hello", &small::busybox(work));
    let archive = work.join("archive");
    let from = format!("oci:{}", image(&layout, "hello"));
    let to = format!("docker-archive:{}:localhost/hello:latest", archive.display());
    run("skopeo", &["copy", "--quiet"], [from.as_ref(), to.as_ref()]);
    let mut layer = Layer::create(work, "hello");
    layer.directory("opt/images", &mode(0o755));
    layer.file("opt/images/hello.tar", &mode(0o644), &fs::read(&archive).expect("archive"));
    Recipe::new(vec![tar, layer.finish()], &[("cmd", "/sbin/init")])
}

const HOOK: &str = "--customize-hook=rm -f \"$1\"/etc/hostname \"$1\"/etc/resolv.conf; \
                    : >\"$1\"/etc/machine-id; : >\"$1\"/etc/fstab";
