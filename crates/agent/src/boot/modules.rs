//! Loading the kernel modules of the initramfs, for kernels that need any.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Where the host put them.
const DIRECTORY: &str = "/modules";

/// Loads `/modules/load.list`, one file name a line, in its order; says what did not work. A
/// kernel without the list needs none.
pub(crate) fn load() -> Vec<String> {
    let directory = Path::new(DIRECTORY);
    let Ok(list) = std::fs::read_to_string(directory.join("load.list")) else {
        return Vec::new();
    };
    parse_list(&list)
        .filter_map(|name| {
            let error = insert(&directory.join(name)).err()?;
            Some(format!("cannot load the kernel module `{name}`: {error}"))
        })
        .collect()
}

fn parse_list(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
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
        let list = "virtio_ring.ko\n\n# needs the ring\nvirtio.ko \n";
        assert_eq!(parse_list(list).collect::<Vec<_>>(), ["virtio_ring.ko", "virtio.ko"]);
    }
}
