//! Device files whose opening loads a module: `/dev/fuse`, `/dev/net/tun`, `/dev/loop-control` and
//! the like. The kernel makes a device's file when its module is there, and a program asks for the
//! module by opening the file; `modules.devname` (depmod(8)) is what resolves that.
//!
//! On other machines systemd makes them, at each boot and with two programs of its own.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{CWD, Dev, FileType, Mode};
use rustix::io::Errno;

use crate::root::RootDir;

/// Largest list that is read, in bytes. Distributions' have less than 2 KB.
const MAX_LIST: u64 = 64 << 10;
/// Files that everybody may open, as udev's rules have it on every distribution; the others are
/// root's.
const FOR_ALL: [&str; 2] = ["fuse", "net/tun"];

/// Makes the device files of the modules that `root` has for this kernel. Nothing here stops a boot;
/// returns what did not work.
pub(super) fn make(root: &RootDir) -> Vec<String> {
    let uname = rustix::system::uname();
    let path = Path::new("/lib/modules").join(uname.release().to_string_lossy().as_ref());
    // A root without modules for this kernel has none to be loaded.
    let Ok(list) = root.read(&path.join("modules.devname"), MAX_LIST) else { return Vec::new() };
    let list = String::from_utf8_lossy(&list);
    let made = parse_list(&list).map(|device| (device.name, make_one(Path::new("/dev"), &device)));
    made.filter_map(|(name, made)| Some(format!("cannot make `/dev/{name}`: {}", made.err()?)))
        .collect()
}

/// A line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Device<'a> {
    name: &'a str,
    kind: FileType,
    numbers: (u32, u32),
}

/// Reads lines of `module name c10:229`; what is none is passed over.
fn parse_list(list: &str) -> impl Iterator<Item = Device<'_>> {
    list.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (_, name, device) = (words.next()?, words.next()?, words.next()?);
        let kind = match device.as_bytes().first()? {
            b'c' => FileType::CharacterDevice,
            b'b' => FileType::BlockDevice,
            _ => return None,
        };
        let (major, minor) = device.get(1..)?.split_once(':')?;
        let numbers = (major.parse().ok()?, minor.parse().ok()?);
        let plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        plain.then_some(Device { name, kind, numbers })
    })
}

fn make_one(dev: &Path, device: &Device<'_>) -> io::Result<()> {
    let path = dev.join(device.name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let number: Dev = rustix::fs::makedev(device.numbers.0, device.numbers.1);
    match rustix::fs::mknodat(CWD, &path, device.kind, Mode::RUSR | Mode::WUSR, number) {
        Ok(()) if FOR_ALL.contains(&device.name) => {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
        }
        // The kernel made it: the module is built in or loaded.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        let list = "# Device files\nfuse fuse c10:229\ntun net/tun c10:200\n\
                    brd ram b1:0\nevil ../../etc/x c1:1\nevil /etc/x c1:1\nodd odd x1:1\nodd odd c1\n";
        let devices: Vec<_> =
            parse_list(list).map(|device| (device.name, device.numbers)).collect();
        assert_eq!(devices, [("fuse", (10, 229)), ("net/tun", (10, 200)), ("ram", (1, 0))]);
    }
}
