//! QEMU's command line, rendered from a [`VmmSpec`], and a configuration with what is in it that others
//! on the host must not read. Pure.
//!
//! | machine | when | why |
//! |---|---|---|
//! | `microvm` | KVM, or TCG with a known clock | boots 0.5–0.8 s faster: no PCI, no firmware tables to walk |
//! | `q35` | TCG with an unknown clock | `microvm` has nothing to calibrate the time stamp counter against and hangs without `tsc_early_khz` |

use std::path::{Path, PathBuf};

use banger_proto::supervisor::{CONTROL_FD, LINK_FD, MEMORY_FD};
use serde_json::json;

use crate::hypervisor::detect::Accel;
use crate::hypervisor::{DiskLimits, DiskSpec, GuestMachine, VmmSpec};

/// Name of the virtio-serial port that the agent opens.
const LINK_PORT: &str = "banger.link";
/// Bytes of a value in a configuration at most (QEMU's `qemu_config_foreach` reads lines of 1,023).
const VALUE_LIMIT: usize = 1000;
/// Bytes in a virtio-blk serial number at most (virtio 1.2, 5.2.6).
const SERIAL_LIMIT: usize = 20;

/// What the command line depends on besides the VM.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine<'a> {
    /// QEMU.
    pub(super) program: &'a Path,
    /// Where its firmware is, if it cannot find that by itself.
    pub(super) firmware: &'a [PathBuf],
    /// Where the configuration will be.
    pub(super) config: &'a Path,
    /// How the guest is executed.
    pub(super) accel: Accel,
    /// Frequency of the host's time stamp counter in kHz, if known.
    pub(super) host_khz: Option<u32>,
}

/// Why there is no command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RenderError {
    /// The launch file is JSON, so paths are text.
    #[error("path `{0}` is not UTF-8")]
    Path(String),
    /// QEMU's configurations have neither quotes in values nor long ones.
    #[error("kernel command line `{0}` has a quote or a line's end, or is too long")]
    Cmdline(String),
    /// A guest would see a cut one.
    #[error("disk serial `{0}` is longer than {SERIAL_LIMIT} bytes")]
    Serial(String),
}

/// How QEMU is started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    /// Program and arguments.
    pub(super) command: Vec<String>,
    /// What is in the configuration.
    pub(super) config: String,
}

/// Renders program, arguments and configuration.
///
/// Everybody on the host can read a command line. That of the kernel tells how the agent and its host
/// know each other, so it is in the configuration.
pub(super) fn render_command(
    machine: Machine<'_>,
    spec: &VmmSpec,
) -> Result<Rendered, RenderError> {
    let board = Board::choose(machine.accel, machine.host_khz);
    let bus = board.bus;
    let mut command = Vec::new();
    command.push(text(machine.program)?.to_owned());
    let mut add = |arguments: &[&str]| command.extend(arguments.iter().map(ToString::to_string));

    add(&["-name", &format!("banger-{}", spec.vm)]);
    add(&["-no-user-config", "-nodefaults", "-display", "none"]);
    for directory in machine.firmware {
        add(&["-L", text(directory)?]);
    }
    // A guest's reboot ends the VMM: the daemon boots it anew, with fresh configuration.
    add(&["-no-reboot"]);
    // QEMU starts no programs and changes no identity; whoever breaks it may not either.
    let sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
    add(&["-sandbox", sandbox]);
    let board_type = format!("{},memory-backend={}", board.machine, board.memory);
    add(&["-machine", &board_type, "-accel", board.accel, "-cpu", board.cpu]);
    add(&["-smp", &spec.vcpu.to_string(), "-m", &format!("{}M", spec.memory_mib)]);
    add(&["-object", &render_memory(&board, spec.memory_mib)]);
    if spec.saved.is_some() {
        // Its supervisor says from where, and when it is to go on.
        add(&["-S", "-incoming", "defer"]);
    }
    if board.is_microvm() {
        // Without this QEMU offers the devices of the virtio draft from before 2014.
        add(&["-global", "virtio-mmio.force-legacy=false"]);
    }

    add(&["-kernel", text(&spec.kernel)?, "-initrd", text(&spec.initramfs)?]);
    add(&["-readconfig", text(machine.config)?]);

    add(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    add(&["-chardev", &format!("socket,id=control,fd={CONTROL_FD}")]);
    add(&["-mon", "chardev=control,mode=control"]);
    add(&["-chardev", &format!("socket,id=link,fd={LINK_FD}")]);
    add(&["-device", &format!("virtio-serial-{bus},id=ports,max_ports=2")]);
    let port = format!("virtserialport,id=link,bus=ports.0,nr=1,chardev=link,name={LINK_PORT}");
    add(&["-device", &port]);
    add(&["-object", "rng-builtin,id=entropy"]);
    add(&["-device", &format!("virtio-rng-{bus},rng=entropy")]);
    // Never inflated: the guest tells of pages that it does not use any more, and the host has them
    // back.
    add(&["-device", &format!("virtio-balloon-{bus},free-page-reporting=on")]);
    if let Some(card) = &spec.card {
        let tap = format!("tap,id=net,ifname={},script=no,downscript=no", escape(&card.tap));
        add(&["-netdev", &tap]);
        add(&["-device", &format!("virtio-net-{bus},netdev=net,mac={}", card.mac)]);
    }
    for (index, disk) in spec.disks.iter().enumerate() {
        if !spec.disk_limits.is_none() {
            add(&["-object", &render_throttle(index, &spec.disk_limits)]);
        }
        add(&["-blockdev", &render_blockdev(index, disk, &spec.disk_limits)?]);
        add(&["-device", &render_disk_device(bus, index, disk)?]);
    }
    Ok(Rendered { command, config: render_config(board.cmdline, spec)? })
}

/// The guest's memory, a file that the supervisor has, too.
fn render_memory(board: &Board, mib: u64) -> String {
    // Else it would be called by its place among QEMU's objects.
    let name = "x-use-canonical-path-for-ramblock-id=off";
    let file = format!("mem-path=/proc/self/fd/{MEMORY_FD},share=on");
    format!("memory-backend-file,id={},size={mib}M,{file},{name}", board.memory)
}

fn render_config(board: Vec<String>, spec: &VmmSpec) -> Result<String, RenderError> {
    let mut cmdline = vec!["console=ttyS0".to_owned()];
    cmdline.extend(board);
    cmdline.extend(spec.cmdline.iter().cloned());
    let cmdline = cmdline.join(" ");
    if cmdline.len() > VALUE_LIMIT || cmdline.contains(['"', '\n']) {
        return Err(RenderError::Cmdline(cmdline));
    }
    Ok(format!("[machine]\n  append = \"{cmdline}\"\n"))
}

/// A machine type with what belongs to it.
struct Board {
    machine: &'static str,
    /// QEMU's name of its memory.
    memory: &'static str,
    /// Suffix of the names of its virtio devices.
    bus: &'static str,
    accel: &'static str,
    cpu: &'static str,
    cmdline: Vec<String>,
}

impl Board {
    fn choose(host: Accel, host_khz: Option<u32>) -> Self {
        let (accel, cpu) = match host {
            Accel::Kvm => ("kvm", "host"),
            // `max` beats the plainer models in speed too, but for what it says of string
            // instructions: kernel and libc believe that bytes are copied fast by them, and
            // QEMU emulates them byte by byte. Without, a boot takes a third less of the host's
            // time, and the guest link carries three times as much.
            Accel::Tcg => ("tcg,thread=multi", "max,-erms,-fsrm"),
        };
        // What is at another address is translated once more. With addresses chosen at random that is all of a
        // program and its libraries, each time it is started, which takes four times as long so (QEMU's wiki,
        // Features/TCG, and docs/adr/0014).
        let layout = (host == Accel::Tcg).then(|| "norandmaps".to_owned());
        let clock = match (host, host_khz) {
            (Accel::Kvm, _) => None,
            // The emulated counter is the host's. All that a guest could check it against is its
            // timer interrupts, which come late or never on a busy host: it would believe those,
            // and its clock would fall behind.
            (Accel::Tcg, Some(khz)) => Some(format!("tsc_early_khz={khz} tsc=reliable")),
            (Accel::Tcg, None) => {
                let cmdline = Vec::from_iter(layout);
                return Self { machine: "q35", memory: "pc.ram", bus: "pci", accel, cpu, cmdline };
            }
        };
        // There is no PCI to look for; the kernel would complain on the console.
        let board = clock.into_iter().chain(["pci=off".to_owned()]);
        let cmdline = layout.into_iter().chain(board).collect();
        Self { machine: "microvm", memory: "microvm.ram", bus: "device", accel, cpu, cmdline }
    }

    fn is_microvm(&self) -> bool {
        self.machine == "microvm"
    }
}

/// The machine that guests find themselves in.
pub(super) fn guest_machine(accel: Accel, host_khz: Option<u32>) -> GuestMachine {
    if Board::choose(accel, host_khz).is_microvm() {
        GuestMachine::Microvm
    } else {
        GuestMachine::Q35
    }
}

/// QEMU's name of the disk at this place.
pub(super) fn render_disk_node(place: impl std::fmt::Display) -> String {
    format!("disk{place}")
}

/// A disk's host side.
///
/// - The host's page cache is used (`cache.direct=off`): all VMs of an image share its pages.
///   Flushes of the guest reach the host's disk.
/// - Threads do the I/O: `io_uring` and native AIO want direct I/O or a newer host.
/// - Blocks that the guest discards are given back to the host's file system.
/// - QEMU's locks stay on: any number of readers of the image, one VMM on a writable disk.
/// - Limits are a layer of their own above the file, and the one that the guest and QMP see.
fn render_blockdev(
    index: usize,
    disk: &DiskSpec,
    limits: &DiskLimits,
) -> Result<String, RenderError> {
    let read_only = if disk.read_only { "on" } else { "off" };
    let discard = if disk.read_only { "ignore" } else { "unmap" };
    let file = escape(text(&disk.path)?);
    let node = render_disk_node(index);
    let raw = [
        ("driver", "raw"),
        ("read-only", read_only),
        ("discard", discard),
        ("cache.direct", "off"),
        ("cache.no-flush", "off"),
        ("file.driver", "file"),
        ("file.filename", &file),
        ("file.aio", "threads"),
        ("file.locking", "auto"),
        ("file.discard", discard),
    ];
    let (above, prefix) = if limits.is_none() {
        (String::new(), "")
    } else {
        let group = render_throttle_name(index);
        let above = "driver=throttle,throttle-group";
        (format!("{above}={group},read-only={read_only},discard={discard},"), "file.")
    };
    let raw = raw.map(|(key, value)| format!("{prefix}{key}={value}")).join(",");
    Ok(format!("node-name={node},{above}{raw}"))
}

/// The limits of the disk at this place, as an object.
fn render_throttle(index: usize, limits: &DiskLimits) -> String {
    let mut rendered = json!({});
    if let Some(bandwidth) = limits.bandwidth {
        rendered["bps-total"] = bandwidth.bytes().into();
    }
    if let Some(iops) = limits.iops {
        rendered["iops-total"] = iops.into();
    }
    let id = render_throttle_name(index);
    json!({ "qom-type": "throttle-group", "id": id, "limits": rendered }).to_string()
}

fn render_throttle_name(index: usize) -> String {
    format!("limits{index}")
}

fn render_disk_device(bus: &str, index: usize, disk: &DiskSpec) -> Result<String, RenderError> {
    if disk.serial.len() > SERIAL_LIMIT {
        return Err(RenderError::Serial(disk.serial.clone()));
    }
    let serial = escape(&disk.serial);
    let node = render_disk_node(index);
    Ok(format!("virtio-blk-{bus},drive={node},serial={serial}"))
}

/// Escapes a value of QEMU's `key=value,…` syntax, where only the comma means something.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

fn text(path: &Path) -> Result<&str, RenderError> {
    path.to_str().ok_or_else(|| RenderError::Path(path.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::hypervisor::fixture::spec;

    fn render(accel: Accel, host_khz: Option<u32>, spec: &VmmSpec) -> Result<String, RenderError> {
        let (program, config) = (Path::new("/usr/bin/qemu"), Path::new("/run/x/qemu.conf"));
        let machine = Machine { program, firmware: &[], config, accel, host_khz };
        // One option a line.
        render_command(machine, spec).map(|Rendered { command, config }| {
            format!("{}\n\n{config}", command.join(" ").replace(" -", "\n-"))
        })
    }

    #[test]
    fn software_emulation() {
        insta::assert_snapshot!(render(Accel::Tcg, Some(2_793_438), &spec()).unwrap());
    }

    #[test]
    fn disks_without_limits_have_no_layer_for_them() {
        let spec = VmmSpec { disk_limits: DiskLimits::default(), ..spec() };
        let text = render(Accel::Kvm, None, &spec).unwrap();
        assert!(!text.contains("throttle"), "{text}");
        assert!(text.contains("node-name=disk1,driver=raw,read-only=off,"), "{text}");
    }

    #[test]
    fn kvm_differs_in_machine_only() {
        let tcg = render(Accel::Tcg, Some(1), &spec()).unwrap();
        let kvm = render(Accel::Kvm, Some(1), &spec()).unwrap();
        let changed: Vec<_> =
            kvm.lines().zip(tcg.lines()).filter(|(a, b)| a != b).map(|(a, _)| a).collect();
        assert_eq!(
            changed,
            ["-accel kvm", "-cpu host", "  append = \"console=ttyS0 pci=off quiet panic=-1\""]
        );
    }

    #[test]
    fn others_on_the_host_do_not_read_the_kernels_command_line() {
        let spec = VmmSpec { cmdline: vec!["banger.link=secret".into()], ..spec() };
        let text = render(Accel::Kvm, None, &spec).unwrap();
        let (command, config) = text.split_once("\n\n").unwrap();
        assert!(!command.contains("secret") && config.contains("secret"), "{text}");
    }

    #[test]
    fn an_unknown_clock_needs_the_bigger_machine() {
        let text = render(Accel::Tcg, None, &spec()).unwrap();
        assert!(
            text.contains("-machine q35,memory-backend=pc.ram\n")
                && text.contains("virtio-blk-pci,"),
            "{text}"
        );
        assert!(!text.contains("tsc_early_khz") && !text.contains("mmio"), "{text}");
        assert!(render(Accel::Kvm, None, &spec()).unwrap().contains("-machine microvm,"));
    }

    #[test]
    fn refuses_what_cannot_be_said() {
        let mut bad = spec();
        bad.kernel = std::ffi::OsStr::from_bytes(b"/k/\xff").into();
        let error = render(Accel::Kvm, None, &bad).unwrap_err();
        assert_eq!(error, RenderError::Path("/k/\u{fffd}".into()));
        let mut bad = spec();
        bad.disks[0].serial = "x".repeat(21);
        assert_eq!(render(Accel::Kvm, None, &bad), Err(RenderError::Serial("x".repeat(21))));
        for word in ["a=\"b\"".to_owned(), "a\nb".to_owned(), "x".repeat(1000)] {
            let bad = VmmSpec { cmdline: vec![word], ..spec() };
            let error = render(Accel::Kvm, None, &bad).unwrap_err();
            assert!(matches!(error, RenderError::Cmdline(_)), "{error}");
        }
    }
}
