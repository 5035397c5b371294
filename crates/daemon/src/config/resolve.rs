//! From the three layers (file, host, program) to one value each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use banger_proto::{BridgeName, ByteSize};

use super::{Config, ConfigFile, HostFacts, Origin, Setting, VmDefaults};

const DEFAULT_IMAGE: &str = "debian-bookworm";
const DEFAULT_KERNEL: &str = "debian-bookworm-cloud";
const READY_TIMEOUT: Duration = Duration::from_secs(90);
const BUILTIN_VCPU: u32 = 2;
const BUILTIN_MEMORY: ByteSize = ByteSize::from_mib(2048);
/// A port that no known service has, and that needs no privilege; 5353 is that of multicast names.
const DNS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 42_069);
const BUILTIN_DISK: ByteSize = ByteSize::from_mib(8 << 10);

/// Resolves every value: what the file says, else what the host suggests, else the built-in.
///
/// The host suggests a quarter of its processors (1 to 4) and an eighth of its memory
/// (512 MiB to 8 GiB): enough to be useful, small enough that a few VMs fit beside the user's
/// own work.
///
/// Entries of `file_sync` depend on the user, too: [`plan_file_sync`](super::plan_file_sync).
#[must_use]
pub fn resolve(file: ConfigFile, host: HostFacts) -> Config {
    let vcpu = host.cpus.map(|cpus| (cpus / 4).clamp(1, 4));
    let memory =
        host.memory.map(|memory| ByteSize::from_mib((memory.mib() / 8).clamp(512, 8 << 10)));
    let sizes = file.vm_defaults;
    Config {
        log_level: layered(file.log_level, None, Default::default()),
        vmm: layered(file.vmm, None, Default::default()),
        accel: layered(file.accel, None, Default::default()),
        firecracker_bin: layered(file.firecracker_bin.map(Some), None, None),
        qemu_bin: layered(file.qemu_bin.map(Some), None, None),
        default_image_name: layered(file.default_image_name, None, DEFAULT_IMAGE.to_owned()),
        default_kernel_name: layered(file.default_kernel_name, None, DEFAULT_KERNEL.to_owned()),
        catalog_url: layered(file.catalog_url.map(Some), None, None),
        registry_auth_file: layered(file.registry_auth_file.map(Some), None, None),
        ssh_key_path: layered(file.ssh_key_path.map(|path| Some(path.0)), None, None),
        ready_timeout: layered(
            file.ready_timeout.map(|seconds| Duration::from_secs(seconds.get().into())),
            None,
            READY_TIMEOUT,
        ),
        warm_starts: layered(file.warm_starts, None, true),
        idle_stop_after: layered(file.idle_stop_after.map(|idle| idle.0), None, None),
        idle_pause_after: layered(file.idle_pause_after.map(|idle| idle.0), None, None),
        network: layered(file.network, None, Default::default()),
        bridge_name: layered(file.bridge_name, None, BridgeName::default()),
        subnet: layered(file.subnet.map(|subnet| subnet.0), None, None),
        dns_listen: layered(file.dns_listen.map(|listen| listen.0), None, Some(DNS_LISTEN)),
        vm_defaults: VmDefaults {
            vcpu: layered(sizes.vcpu, vcpu, BUILTIN_VCPU),
            memory: layered(sizes.memory.map(|size| size.0), memory, BUILTIN_MEMORY),
            disk_size: layered(sizes.disk_size.map(|size| size.0), None, BUILTIN_DISK),
            nat: layered(sizes.nat, None, false),
        },
        file_sync: Vec::new(),
    }
}

fn layered<T>(config: Option<T>, auto: Option<T>, builtin: T) -> Setting<T> {
    match (config, auto) {
        (Some(value), _) => Setting { value, origin: Origin::Config },
        (None, Some(value)) => Setting { value, origin: Origin::Auto },
        (None, None) => Setting { value: builtin, origin: Origin::Builtin },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_config;

    fn host(cpus: u32, mib: u64) -> HostFacts {
        HostFacts { cpus: Some(cpus), memory: Some(ByteSize::from_mib(mib)) }
    }

    #[test]
    fn sizes_come_from_the_file_then_the_host_then_the_program() {
        let (file, _) = parse_config("[vm_defaults]\nvcpu = 3\n", "c".as_ref()).unwrap();
        let config = resolve(file, host(64, 4096));
        assert_eq!(config.vm_defaults.vcpu, Setting { value: 3, origin: Origin::Config });
        let memory = Setting { value: ByteSize::from_mib(512), origin: Origin::Auto };
        assert_eq!(config.vm_defaults.memory, memory);
        let nothing = resolve(ConfigFile::default(), HostFacts::default());
        assert_eq!(nothing.vm_defaults.vcpu, Setting { value: 2, origin: Origin::Builtin });
        assert_eq!(nothing.vm_defaults.memory.value, ByteSize::from_mib(2048));
        assert_eq!(nothing.vm_defaults.disk_size.value, ByteSize::from_mib(8192));
    }

    #[test]
    fn networks_are_as_the_file_says_else_closed_and_worked_out() {
        let nothing = resolve(ConfigFile::default(), HostFacts::default());
        let listen = "127.0.0.1:42069".parse().ok();
        assert_eq!(nothing.dns_listen, Setting { value: listen, origin: Origin::Builtin });
        assert_eq!(nothing.subnet, Setting { value: None, origin: Origin::Builtin });
        assert_eq!(nothing.vm_defaults.nat, Setting { value: false, origin: Origin::Builtin });
        let text = "subnet = \"10.9.8.0/24\"\ndns_listen = \"off\"\n[vm_defaults]\nnat = true\n";
        let (file, _) = parse_config(text, "c".as_ref()).unwrap();
        let config = resolve(file, HostFacts::default());
        assert_eq!(config.dns_listen, Setting { value: None, origin: Origin::Config });
        let subnet = "10.9.8.0/24".parse().ok();
        assert_eq!(config.subnet, Setting { value: subnet, origin: Origin::Config });
        assert_eq!(config.vm_defaults.nat, Setting { value: true, origin: Origin::Config });
    }

    #[test]
    fn the_host_suggests_within_bounds() {
        let sizes = |cpus, mib| {
            let sizes = resolve(ConfigFile::default(), host(cpus, mib)).vm_defaults;
            (sizes.vcpu.value, sizes.memory.value.mib())
        };
        assert_eq!(sizes(1, 1024), (1, 512));
        assert_eq!(sizes(8, 32 << 10), (2, 4096));
        assert_eq!(sizes(128, 1 << 20), (4, 8192));
    }
}
