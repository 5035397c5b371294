//! Host programs that banger starts: VMMs and git.

use std::path::Path;

use banger_proto::api::CheckStatus;

use crate::config::AccelChoice;
use crate::exec::{self, Version};
use crate::hypervisor::detect::{Accel, FIRECRACKER_PROGRAM, QEMU_PROGRAM, is_firecracker};
use crate::hypervisor::firecracker::version::BEFORE_VERSION;
use crate::hypervisor::firecracker::{OLDEST, TESTED};

use super::super::inputs::Inputs;
use super::super::packages::{self, GIT, QEMU, load_install_hint};
use super::super::{Finding, Outcome, Unable};
use super::machine::kvm;

/// Oldest QEMU that is known to have what the machine uses (April 2022).
const MIN_QEMU: Version = Version::new(7, 0);
/// Where it is.
const GET_FIRECRACKER: &str = "Get one and put it on the search path, or name it with `firecracker_bin`: \
                               https://github.com/firecracker-microvm/firecracker/releases";
/// Oldest git with all that workspaces ask of it (December 2020).
const MIN_GIT: Version = Version::new(2, 30);

pub(in crate::doctor) async fn qemu(inputs: &Inputs) -> Outcome {
    if runs_firecracker(inputs).await? {
        return Ok(Finding::pass("not used: Firecracker runs VMs"));
    }
    let name = inputs.qemu.as_deref().unwrap_or(Path::new(QEMU_PROGRAM));
    program(inputs, name, "QEMU emulator version ", MIN_QEMU, &QEMU).await
}

/// Whether Firecracker is to run VMs.
async fn runs_firecracker(inputs: &Inputs) -> Result<bool, Unable> {
    let found = inputs.env.find(firecracker_name(inputs)).is_some();
    let kvm = inputs.accel != AccelChoice::Tcg && kvm(inputs).await?.status == CheckStatus::Pass;
    let accel = if kvm { Accel::Kvm } else { Accel::Tcg };
    Ok(is_firecracker(inputs.vmm, accel, found))
}

fn firecracker_name(inputs: &Inputs) -> &Path {
    inputs.firecracker.as_deref().unwrap_or(Path::new(FIRECRACKER_PROGRAM))
}

/// Firecracker is used where it is asked for, or is there and nobody asks.
pub(in crate::doctor) async fn firecracker(inputs: &Inputs) -> Outcome {
    if !runs_firecracker(inputs).await? {
        return Ok(Finding::pass("not used: QEMU runs VMs"));
    }
    let name = firecracker_name(inputs);
    let Some(path) = inputs.env.find(name) else {
        let found = format!("`{}` was not found", name.display());
        return Ok(Finding::fail(found, GET_FIRECRACKER));
    };
    let (text, version) = ask_version(inputs, &path, BEFORE_VERSION).await?;
    let found = format!("`{}` {text}", path.display());
    Ok(if version < OLDEST {
        Finding::fail(format!("{found} is older than {OLDEST}"), GET_FIRECRACKER)
    } else if version > TESTED {
        Finding::warn(
            format!("{found} is newer than {TESTED}, the latest that was tried"),
            "If VMs do not start with it, use an older one, or `vmm = \"qemu\"`.",
        )
    } else {
        Finding::pass(found)
    })
}

/// Git is needed for workspaces only.
pub(in crate::doctor) async fn git(inputs: &Inputs) -> Outcome {
    let finding = program(inputs, Path::new("git"), "git version ", MIN_GIT, &GIT).await?;
    Ok(match finding.remedy {
        None => finding,
        Some(remedy) => {
            Finding::warn(format!("{}; repositories cannot be brought in", finding.found), remedy)
        }
    })
}

async fn program(
    inputs: &Inputs,
    name: &Path,
    before_version: &str,
    oldest: Version,
    package: &packages::Package,
) -> Outcome {
    let hint = load_install_hint(&inputs.host.etc, package).await;
    let Some(path) = inputs.env.find(name) else {
        return Ok(Finding::fail(format!("`{}` was not found", name.display()), hint));
    };
    let (text, version) = ask_version(inputs, &path, before_version).await?;
    let found = format!("`{}` {text}", path.display());
    Ok(if version >= oldest {
        Finding::pass(found)
    } else {
        Finding::fail(format!("{found} is older than {oldest}"), hint)
    })
}

/// What the program says that its version is, behind `before`, as text and as numbers.
async fn ask_version(
    inputs: &Inputs,
    path: &Path,
    before: &str,
) -> Result<(String, Version), Unable> {
    let told = exec::ask_version(&inputs.env, path, before).await?;
    told.ok_or_else(|| Unable::from(format!("`{}` tells no version", path.display())))
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus::{Fail, Pass, Warn};

    use super::super::super::inputs::tests::Host;
    use super::*;
    use crate::config::VmmChoice;

    #[tokio::test]
    async fn qemu_is_needed_and_not_too_old() {
        for (script, expected) in [
            (Some("echo QEMU emulator version 7.0.0"), Some(Pass)),
            (Some("echo QEMU emulator version 6.2.0"), Some(Fail)),
            (Some("echo something else"), None),
            (Some("exit 1"), None),
            (None, Some(Fail)),
        ] {
            let host = Host::new();
            match script {
                Some(script) => host.program("qemu-system-x86_64", script),
                None => host.remove("bin/qemu-system-x86_64"),
            }
            let found = qemu(&host.inputs).await.ok().map(|finding| finding.status);
            assert_eq!(found, expected, "{script:?}");
        }
    }

    #[tokio::test]
    async fn firecracker_is_judged_where_it_is_asked_for() {
        for (script, expected) in [
            (Some("echo Firecracker v1.5.0; echo; echo exiting"), Some(Pass)),
            (Some("echo Firecracker v1.16.1"), Some(Pass)),
            (Some("echo Firecracker v1.17.0-dev"), Some(Warn)),
            (Some("echo Firecracker v2.0.0"), Some(Warn)),
            (Some("echo Firecracker v1.4.1"), Some(Fail)),
            (Some("exit 1"), None),
            (None, Some(Fail)),
        ] {
            let mut host = Host::new();
            if let Some(script) = script {
                host.program("firecracker", script);
            }
            host.inputs.vmm = VmmChoice::Qemu;
            assert_eq!(firecracker(&host.inputs).await.unwrap().status, Pass, "QEMU is used");
            host.inputs.vmm = VmmChoice::Firecracker;
            let found = firecracker(&host.inputs).await.ok().map(|finding| finding.status);
            assert_eq!(found, expected, "{script:?}");
        }
    }

    #[tokio::test]
    async fn where_nobody_asks_firecracker_needs_kvm() {
        let mut host = Host::new();
        host.program("firecracker", "echo Firecracker v1.4.1");
        host.remove("bin/qemu-system-x86_64");
        let status = async |inputs: &_| {
            [qemu(inputs).await.unwrap().status, firecracker(inputs).await.unwrap().status]
        };
        assert_eq!(status(&host.inputs).await, [Pass, Fail]);
        host.inputs.accel = AccelChoice::Tcg;
        assert_eq!(status(&host.inputs).await, [Fail, Pass]);
        host.inputs.accel = AccelChoice::Auto;
        host.remove("kvm");
        assert_eq!(status(&host.inputs).await, [Fail, Pass]);
    }

    #[tokio::test]
    async fn git_is_wanted() {
        let host = Host::new();
        assert_eq!(git(&host.inputs).await.unwrap().status, Pass);
        host.remove("bin/git");
        assert_eq!(git(&host.inputs).await.unwrap().status, Warn);
    }
}
