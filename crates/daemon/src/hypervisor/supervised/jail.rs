//! What of the host's files a VMM finds in its jail, and the words that start it there.

use std::io::Read;
use std::path::{Path, PathBuf};

use banger_proto::jail::{JAIL_FILE, JailSpec, VMM_DIR};
use banger_proto::supervisor::SAVED_STATE;

use super::{Content, RuntimeFile};
use crate::hypervisor::{SAVES, VmmSpec};

/// Where systems keep libraries, those that keep each package apart included. A VMM that is started by
/// others than the system brings its own beside it.
const LIBRARIES: [&str; 8] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
    "/gnu/store",
];
/// Where the loader looks first.
const LOADER_CACHE: &str = "/etc/ld.so.cache";
/// Firmware that QEMU reads, beside its program's directory.
const FIRMWARE: [&str; 4] = ["share/qemu", "share/seabios", "share/qemu-firmware", "share/ipxe"];
/// Of a program's own installation, what else it may need.
const OWN_LIBRARIES: [&str; 2] = ["lib", "lib64"];
/// Where systems keep programs, for a VMM that is started by a script.
const COMMANDS: [&str; 3] = ["/bin", "/usr/bin", "/usr/local/bin"];
/// A program of the system's own installation.
const SYSTEM_PROGRAM: &str = "/usr/bin/qemu";
/// What every program may need.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/kvm"];
/// What one with a network card needs, too.
const TUN: &str = "/dev/net/tun";

/// Describes the jail of `spec`'s VMM, which `program` runs and which reads `files` in its runtime directory
/// `dir`.
///
/// That directory is the supervisor's and the daemon's, too, who believe what is in it: the VMM has one in
/// it for what it makes itself.
pub(super) fn describe(
    spec: &VmmSpec,
    program: &Path,
    dir: &Path,
    files: &[RuntimeFile],
) -> JailSpec {
    let mut execute: Vec<PathBuf> = LIBRARIES.iter().map(PathBuf::from).collect();
    execute.push(program.to_owned());
    let mut read = vec![PathBuf::from(LOADER_CACHE), spec.kernel.clone(), spec.initramfs.clone()];
    let mut write = vec![dir.join(VMM_DIR), saves(spec)];
    let mut add = |path: PathBuf, read_only| {
        if read_only { &mut read } else { &mut write }.push(path);
    };
    for file in files {
        // What a link leads to is found in its place.
        let disk = spec.disks.iter().find(|disk| match &file.content {
            Content::Link(target) => *target == disk.path,
            Content::Bytes(_) => false,
        });
        add(dir.join(&file.name), disk.is_none_or(|disk| disk.read_only));
    }
    for disk in &spec.disks {
        add(disk.path.clone(), disk.read_only);
    }
    if let Some(saved) = &spec.saved {
        add(saved.directory.join(SAVED_STATE), true);
        add(saved.memory(), true);
    }
    // A script needs who reads it, and what it starts.
    let script = is_script(program);
    if script {
        execute.extend(COMMANDS.iter().map(PathBuf::from));
    }
    // A link to a program leads to where its firmware is.
    let resolved = program.canonicalize().ok();
    let system = script.then_some(Path::new(SYSTEM_PROGRAM));
    for installation in [Some(program), resolved.as_deref(), system].into_iter().flatten() {
        let Some(prefix) = installation.parent().and_then(Path::parent) else { continue };
        // Anybody's directory has a `lib`.
        if prefix.join(FIRMWARE[0]).is_dir() {
            read.extend(FIRMWARE.iter().map(|name| prefix.join(name)));
            execute.extend(OWN_LIBRARIES.iter().map(|name| prefix.join(name)));
        }
    }
    let tun = spec.card.is_some().then_some(TUN);
    let devices = DEVICES.into_iter().chain(tun).map(PathBuf::from).collect();
    let directory = Some(dir.to_owned());
    JailSpec { directory, execute, read, write, devices, offline: spec.card.is_none() }
}

/// Whether the file is for another program to read (execve(2)).
fn is_script(program: &Path) -> bool {
    let mut begin = [0; 2];
    let read = fs_err::File::open(program).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && begin == *b"#!"
}

/// Where the firmware of QEMU is that `program` starts, if that is a script. QEMU looks beside its own
/// program, and one that was started by its bare name does not learn in a jail where that is.
pub(in crate::hypervisor) fn script_firmware(program: &Path) -> Vec<PathBuf> {
    if !is_script(program) {
        return Vec::new();
    }
    let prefix =
        Path::new(SYSTEM_PROGRAM).parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let firmware = FIRMWARE.iter().map(|name| prefix.join(name));
    firmware.filter(|directory| directory.is_dir()).collect()
}

/// The directory in which a VMM may write its guest's state: not in that which it makes its sockets in, since
/// there may be no room for a guest's memory.
pub(super) fn saves(spec: &VmmSpec) -> PathBuf {
    spec.console_log.with_file_name(SAVES)
}

/// The words in front of a VMM's command line: those that start it where its card is, if it has one, with
/// the jail that is described in `dir`.
pub(super) fn render_words(spec: &VmmSpec, helper: &str, dir: &str) -> Vec<String> {
    let entrance = spec.card.as_ref().map(|card| card.entrance.clone()).unwrap_or_default();
    let mut words = match entrance.is_empty() {
        // The host's network needs no way in.
        true => [helper, "run", "--"].map(ToOwned::to_owned).to_vec(),
        false => entrance,
    };
    let end = words.len() - 1;
    words.splice(end..end, ["--jail".to_owned(), format!("{dir}/{JAIL_FILE}")]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::CardSpec;
    use crate::hypervisor::fixture::spec;

    #[test]
    fn what_a_vmm_finds() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("bin/vmm");
        let files =
            [RuntimeFile { name: "vmm.conf".to_owned(), content: Content::Bytes(Vec::new()) }];
        let describe = |spec| {
            let jail = describe(&spec, &program, Path::new("/run/x"), &files);
            let text = serde_json::to_string_pretty(&jail).unwrap();
            text.replace(home.path().to_str().unwrap(), "HOME")
        };
        insta::assert_snapshot!(describe(spec()));
        let offline = describe(VmmSpec { card: None, ..spec() });
        assert!(offline.contains("\"offline\": true") && !offline.contains(TUN), "{offline}");

        // One that is started by a script.
        fs_err::create_dir_all(home.path().join("bin")).unwrap();
        fs_err::write(&program, "#!/bin/sh\nexec vmm \"$@\"\n").unwrap();
        assert!(describe(spec()).contains("\"/usr/bin\""));
        fs_err::write(&program, "ELF").unwrap();
        assert!(!describe(spec()).contains("\"/usr/bin\""));
        assert_eq!(script_firmware(&program), [""; 0].map(PathBuf::from));

        // An installation of QEMU's has its own beside the program; a home has not.
        assert!(!offline.contains("HOME/lib"), "{offline}");
        fs_err::create_dir_all(home.path().join("share/qemu")).unwrap();
        let installed = describe(spec());
        for place in ["HOME/lib\"", "HOME/share/qemu\"", "HOME/share/seabios\""] {
            assert!(installed.contains(place), "{installed}");
        }
    }

    #[test]
    fn the_words_in_front() {
        let words = |spec: &VmmSpec| render_words(spec, "/lib/helper", "/run/x").join(" ");
        assert_eq!(words(&spec()), "/lib/helper run --jail /run/x/jail.json --");
        let mut inside = spec();
        if let Some(card) = &mut inside.card {
            card.entrance = ["/lib/helper", "run", "--userns", "/u", "--"].map(Into::into).into();
        }
        assert_eq!(words(&inside), "/lib/helper run --userns /u --jail /run/x/jail.json --");
        for card in [None, inside.card.map(|card| CardSpec { entrance: Vec::new(), ..card })] {
            let spec = VmmSpec { card, ..spec() };
            assert_eq!(words(&spec), "/lib/helper run --jail /run/x/jail.json --");
        }
    }
}
