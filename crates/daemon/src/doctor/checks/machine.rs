//! The machine: processor and hardware virtualisation.

use std::io::ErrorKind;

use super::super::inputs::Inputs;
use super::super::{Finding, Outcome};
use crate::config::{AccelChoice, VmmChoice};

/// What life without KVM is like.
const EMULATION: &str = "VMs run in software emulation, with a 10-30x slower CPU";

pub(in crate::doctor) async fn architecture(inputs: &Inputs) -> Outcome {
    Ok(match inputs.host.machine.as_str() {
        "x86_64" => Finding::pass("x86_64"),
        other => Finding::fail(
            format!("{other}: VMs are x86_64 only so far"),
            "Use a host with an x86_64 processor.",
        ),
    })
}

/// KVM is usable if the device opens for reading and writing and the processor has the extension:
/// there are hosts with a device on which no ordinary kernel boots.
pub(in crate::doctor) async fn kvm(inputs: &Inputs) -> Outcome {
    if inputs.accel == AccelChoice::Tcg {
        return Ok(Finding::pass(format!("not used (`accel = \"tcg\"`): {EMULATION}")));
    }
    let device = inputs.host.kvm.display();
    let opened =
        fs_err::tokio::OpenOptions::new().read(true).write(true).open(&inputs.host.kvm).await;
    let (problem, remedy) = match opened {
        Ok(_) => {
            let cpuinfo = fs_err::tokio::read_to_string(&inputs.host.cpuinfo).await?;
            match parse_extension(&cpuinfo) {
                Some(extension) => {
                    return Ok(Finding::pass(format!(
                        "`{device}` and a processor with {extension}"
                    )));
                }
                None => (
                    format!("`{device}` is there, but the processor shows neither vmx nor svm"),
                    "Turn virtualisation on in the firmware, or nested virtualisation where \
                     this host is a VM itself.",
                ),
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => (
            format!("no `{device}`"),
            "Turn virtualisation on in the firmware (`sudo modprobe kvm_intel` or `kvm_amd` loads \
             the module), or nested virtualisation where this host is a VM itself.",
        ),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => (
            format!("`{device}` may not be opened by this user"),
            "Join its group: `sudo usermod -aG kvm \"$USER\"`, then log in again.",
        ),
        Err(error) => return Err(error.into()),
    };
    Ok(if inputs.accel == AccelChoice::Kvm {
        Finding::fail(format!("{problem}, and `accel = \"kvm\"` forbids anything else"), remedy)
    } else if inputs.vmm == VmmChoice::Firecracker {
        Finding::fail(format!("{problem}, and Firecracker (`vmm`) needs it"), remedy)
    } else {
        Finding::warn(format!("{problem}: {EMULATION}"), remedy)
    })
}

/// The virtualisation extension of the first processor in `/proc/cpuinfo`.
fn parse_extension(cpuinfo: &str) -> Option<&'static str> {
    let flags = cpuinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "flags").then_some(value)
    })?;
    flags.split_whitespace().find_map(|flag| match flag {
        "vmx" => Some("vmx"),
        "svm" => Some("svm"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus::{Fail, Pass, Warn};

    use super::super::super::inputs::tests::Host;
    use super::*;

    #[tokio::test]
    async fn only_x86_64() {
        let mut host = Host::new();
        assert_eq!(architecture(&host.inputs).await.unwrap().status, Pass);
        host.inputs.host.machine = "aarch64".into();
        assert_eq!(architecture(&host.inputs).await.unwrap().status, Fail);
    }

    #[tokio::test]
    async fn kvm_needs_device_and_extension() {
        for (device, flags, accel, expected) in [
            (true, "fpu vmx", AccelChoice::Auto, Pass),
            (true, "svm", AccelChoice::Kvm, Pass),
            (true, "fpu xvmx", AccelChoice::Auto, Warn),
            (false, "vmx", AccelChoice::Auto, Warn),
            (false, "vmx", AccelChoice::Kvm, Fail),
            (false, "", AccelChoice::Tcg, Pass),
        ] {
            let mut host = Host::new();
            host.inputs.accel = accel;
            host.write("cpuinfo", format!("model name: vmx\nflags\t: {flags}\n"));
            if !device {
                host.remove("kvm");
            }
            let finding = kvm(&host.inputs).await.unwrap();
            assert_eq!(finding.status, expected, "{device} {flags} {accel:?}: {finding:?}");
        }
    }

    #[tokio::test]
    async fn unreadable_facts_are_no_finding() {
        let host = Host::new();
        host.remove("cpuinfo");
        kvm(&host.inputs).await.unwrap_err();
        let mut host = Host::new();
        host.inputs.host.kvm = host.path("bin");
        kvm(&host.inputs).await.unwrap_err();
    }
}
