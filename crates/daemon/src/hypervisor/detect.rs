//! What this host offers for running VMs: KVM, the processor's clock, VMM programs.
//!
//! Parsing is pure; only `observe_` and `find_` functions look at the host.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::HypervisorError;
use crate::config::VmmChoice;
use crate::exec::HostEnv;

/// QEMU's program for guests of this architecture.
pub const QEMU_PROGRAM: &str = "qemu-system-x86_64";

/// Firecracker's program.
pub const FIRECRACKER_PROGRAM: &str = "firecracker";

/// How a guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// By the processor, with the kernel's help.
    Kvm,
    /// Translated in software: works everywhere, 10 to 30 times slower.
    Tcg,
}

impl Accel {
    /// The name that QEMU and the interface use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What `/proc/cpuinfo` says that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuInfo {
    /// Whether the processor shows hardware virtualisation (`vmx` or `svm`).
    pub virtualization: bool,
    /// Frequency of the time stamp counter in kHz, where it can be told.
    pub tsc_khz: Option<u32>,
}

/// What this host offers.
#[derive(Debug)]
pub struct Host {
    /// What the processor says.
    pub cpu: CpuInfo,
    /// Whether `/dev/kvm` opened for reading and writing, or why not.
    pub kvm_device: std::io::Result<()>,
}

impl Host {
    /// Whether VMs can use KVM. The device alone proves nothing: on a guest of a cloud it may
    /// exist and never boot a kernel. Why not is told as a fragment.
    ///
    /// # Errors
    /// When they cannot.
    pub fn kvm_usable(&self) -> Result<(), String> {
        match &self.kvm_device {
            Err(error) => Err(format!("`/dev/kvm` cannot be used: {error}")),
            Ok(()) if !self.cpu.virtualization => {
                Err("the processor shows neither `vmx` nor `svm`".to_owned())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Looks at this host.
#[must_use]
pub fn observe_host() -> Host {
    // Without the file nothing is known, which is what an empty one says.
    let cpuinfo = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kvm_device = std::fs::File::options().read(true).write(true).open("/dev/kvm").map(drop);
    Host { cpu: parse_cpuinfo(&cpuinfo), kvm_device }
}

/// Tells a program and, under KVM, the host's processors from others: text that differs where they do.
///
/// # Errors
/// When the program is not there.
pub(super) fn tell_apart(program: &Path, accel: Accel) -> Result<String, HypervisorError> {
    let failed = |error| HypervisorError::because("cannot look at the VMM's program", error);
    let file = fs_err::metadata(program).map_err(failed)?;
    let mut text = format!("{} {} {}", program.display(), file.len(), file.mtime());
    if accel == Accel::Kvm {
        let cpuinfo = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kept = ["vendor_id", "cpu family", "model", "stepping", "microcode", "flags"];
        let first = cpuinfo.split("\n\n").next().unwrap_or_default().lines();
        for line in first.filter(|line| kept.iter().any(|key| line.starts_with(key))) {
            text.push('\n');
            text.push_str(line);
        }
    }
    let digest = Sha256::digest(text.as_bytes());
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{} {digest}", accel.as_str()))
}

/// Decides how guests are executed: as `wanted`, else with KVM where it works.
///
/// # Errors
/// When KVM is wanted and does not work.
pub fn detect(wanted: Option<Accel>, host: &Host) -> Result<Accel, HypervisorError> {
    match (wanted, host.kvm_usable()) {
        (Some(Accel::Tcg), _) | (None, Err(_)) => Ok(Accel::Tcg),
        (Some(Accel::Kvm) | None, Ok(())) => Ok(Accel::Kvm),
        (Some(Accel::Kvm), Err(reason)) => Err(HypervisorError {
            message: format!("KVM was asked for (`accel = \"kvm\"`) but {reason}"),
            source: None,
        }),
    }
}

/// Whether Firecracker runs VMs, and not QEMU, where VMs are executed as `accel` says; `found` tells whether
/// it is there.
#[must_use]
pub fn is_firecracker(wanted: VmmChoice, accel: Accel, found: bool) -> bool {
    match wanted {
        VmmChoice::Firecracker => true,
        VmmChoice::Auto => accel == Accel::Kvm && found,
        VmmChoice::Qemu => false,
    }
}

/// Finds Firecracker: at `configured`, else on the search path of `env`.
///
/// # Errors
/// When it is not there; the message says where to get it.
pub fn find_firecracker(
    configured: Option<&Path>,
    env: &HostEnv,
) -> Result<PathBuf, HypervisorError> {
    env.find(configured.unwrap_or(Path::new(FIRECRACKER_PROGRAM))).ok_or_else(|| {
        let what = match configured {
            Some(program) => format!("`{}` is no program", program.display()),
            None => format!("`{FIRECRACKER_PROGRAM}` was not found on the search path"),
        };
        HypervisorError::new(format!(
            "{what} (it is at https://github.com/firecracker-microvm/firecracker/releases)"
        ))
    })
}

/// Finds QEMU: at `configured`, else on the search path of `env`.
///
/// # Errors
/// When it is not there; the message says how to get it.
pub fn find_qemu(configured: Option<&Path>, env: &HostEnv) -> Result<PathBuf, HypervisorError> {
    env.find(configured.unwrap_or(Path::new(QEMU_PROGRAM))).ok_or_else(|| {
        let what = match configured {
            Some(program) => format!("`{}` is no program", program.display()),
            None => format!("`{QEMU_PROGRAM}` was not found on the search path"),
        };
        HypervisorError::new(format!("{what} (install it with `apt-get install qemu-system-x86`)"))
    })
}

/// Reads the text of `/proc/cpuinfo`.
///
/// A time stamp counter runs at the processor's nominal frequency. In a virtual machine `cpu
/// MHz` is that (the kernel has nothing else to show); on hardware it is the momentary frequency,
/// and the nominal one is at best in the model's name (`… @ 2.20GHz`).
#[must_use]
pub fn parse_cpuinfo(text: &str) -> CpuInfo {
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim_end() == key)
            .map(|(_, value)| value.trim())
    };
    let has_flag = |wanted: &str| {
        value("flags").is_some_and(|flags| flags.split_ascii_whitespace().any(|f| f == wanted))
    };
    let tsc_khz = if has_flag("hypervisor") {
        value("cpu MHz").and_then(|mhz| scaled(mhz, 3))
    } else {
        value("model name")
            .and_then(|name| name.rsplit_once("@ "))
            .and_then(|(_, speed)| speed.strip_suffix("GHz"))
            .and_then(|ghz| scaled(ghz, 6))
    };
    CpuInfo { virtualization: has_flag("vmx") || has_flag("svm"), tsc_khz }
}

/// A decimal fraction times 10 to the power of `digits`, without floats; `None` when it is
/// malformed, zero, or too large.
fn scaled(decimal: &str, digits: usize) -> Option<u32> {
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(digits).collect();
    let number = format!("{whole}{fraction}");
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    number.parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use banger_proto::Problem;

    use super::super::UNFIT_HINT;
    use super::*;

    const CLOUD: &str = "processor\t: 0\nmodel name\t: AMD EPYC\ncpu MHz\t\t: 2793.438\n\
                         flags\t\t: fpu tsc svm_lock hypervisor\n\nprocessor\t: 1\n";
    const LAPTOP: &str = "model name\t: Intel(R) Core(TM) i7 CPU @ 2.20GHz\n\
                          cpu MHz\t\t: 3411.001\nflags\t\t: fpu vmx\n";

    #[test]
    fn reads_cpuinfo() {
        assert_eq!(
            parse_cpuinfo(CLOUD),
            CpuInfo { virtualization: false, tsc_khz: Some(2_793_438) }
        );
        assert_eq!(
            parse_cpuinfo(LAPTOP),
            CpuInfo { virtualization: true, tsc_khz: Some(2_200_000) }
        );
        assert_eq!(
            parse_cpuinfo("flags : svm\nmodel name : AMD Ryzen"),
            CpuInfo { virtualization: true, tsc_khz: None }
        );
        assert_eq!(parse_cpuinfo(""), CpuInfo { virtualization: false, tsc_khz: None });
    }

    #[test]
    fn scales_without_floats() {
        assert_eq!(scaled("2.4", 6), Some(2_400_000));
        assert_eq!(scaled("2445.4359", 3), Some(2_445_435));
        assert_eq!(scaled("3000", 3), Some(3_000_000));
        for bad in ["", "0.000", "-1.0", "1e3", "99999999"] {
            assert_eq!(scaled(bad, 3), None, "{bad}");
        }
    }

    #[test]
    fn kvm_needs_device_and_flag() {
        let host = |text, device: Result<(), std::io::ErrorKind>| Host {
            cpu: parse_cpuinfo(text),
            kvm_device: device.map_err(Into::into),
        };
        let denied = || Err(std::io::ErrorKind::PermissionDenied);
        assert_eq!(detect(None, &host(LAPTOP, Ok(()))).unwrap(), Accel::Kvm);
        assert_eq!(detect(None, &host(CLOUD, Ok(()))).unwrap(), Accel::Tcg);
        assert_eq!(detect(None, &host(LAPTOP, denied())).unwrap(), Accel::Tcg);
        assert_eq!(detect(Some(Accel::Tcg), &host(LAPTOP, Ok(()))).unwrap(), Accel::Tcg);
        let error = detect(Some(Accel::Kvm), &host(CLOUD, Ok(()))).unwrap_err();
        assert!(error.to_string().contains("neither `vmx` nor `svm`"), "{error}");
        let error = detect(Some(Accel::Kvm), &host(LAPTOP, denied())).unwrap_err();
        let told = "KVM was asked for (`accel = \"kvm\"`) but `/dev/kvm` cannot be used: ";
        assert!(error.to_string().starts_with(told), "{error}");
    }

    #[test]
    fn finds_programs_and_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().as_os_str().to_owned();
        let env = HostEnv::from_env(|name| (name == "PATH").then(|| path.clone()));
        let program = dir.path().join(QEMU_PROGRAM);
        fs_err::write(&program, "").unwrap();
        let missing = Problem::from(find_qemu(None, &env).unwrap_err());
        assert_eq!(missing.hints, [UNFIT_HINT]);
        let error = find_qemu(None, &env).unwrap_err().to_string();
        assert_eq!(
            error,
            "`qemu-system-x86_64` was not found on the search path (install it with `apt-get install \
             qemu-system-x86`)"
        );
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&program, mode).unwrap();
        assert_eq!(find_qemu(None, &env).unwrap(), program);
        assert!(find_qemu(Some(dir.path()), &env).is_err());
    }
}
