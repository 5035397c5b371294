//! Loading the kernel modules of the initramfs, for kernels that need any.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Where the host put them.
const DIRECTORY: &str = "/modules";

/// Files of modules that no start waits for, and that need nothing of their own but what the others
/// have brought. With the balloon a kernel begins to tell the host of all its free memory two seconds later
/// (`PAGE_REPORTING_DELAY` of Linux' mm/page_reporting.c), about when the first command runs in software emulation.
const LATE: [&str; 1] = ["virtio_balloon.ko"];

/// Which modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Those without which a guest does not come up.
    Boot,
    /// [`LATE`].
    Late,
}

/// Loads those of `/modules/load.list`, one file name a line, that are needed for this, in its order; says
/// what did not work. A kernel without the list needs none.
pub(crate) fn load(need: Need) -> Vec<String> {
    let directory = Path::new(DIRECTORY);
    let Ok(list) = std::fs::read_to_string(directory.join("load.list")) else {
        return Vec::new();
    };
    parse_list(&list, need)
        .filter_map(|name| {
            let error = insert(&directory.join(name)).err()?;
            Some(format!("cannot load the kernel module `{name}`: {error}"))
        })
        .collect()
}

fn parse_list(list: &str, need: Need) -> impl Iterator<Item = &str> {
    let is_needed = move |name: &&str| LATE.contains(name) == (need == Need::Late);
    let names = list.lines().map(str::trim);
    names.filter(|line| !line.is_empty() && !line.starts_with('#')).filter(is_needed)
}

fn insert(path: &Path) -> io::Result<()> {
    const NO_PARAMETERS: &CStr = c"";
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::system::finit_module(file, NO_PARAMETERS, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_without_blanks() {
        let list = "virtio_ring.ko\n\n# needs the ring\nvirtio.ko \nvirtio_balloon.ko\n";
        let names = |need| parse_list(list, need).collect::<Vec<_>>();
        assert_eq!(names(Need::Boot), ["virtio_ring.ko", "virtio.ko"]);
        assert_eq!(names(Need::Late), ["virtio_balloon.ko"]);
    }
}
