//! Words of a guest kernel's command line that are for the agent: each is `NAME=VALUE`.

/// The guest link's magic, 32 hexadecimal digits.
pub const LINK: &str = "banger.link";
/// The port, below 1024, of the guest's virtio socket at which the agent serves the guest link, after it
/// has called the same port of the host's (context id 2). Without it, the link is a virtio-serial port.
pub const VSOCK: &str = "banger.vsock";
/// The serials of the disks, separated by commas, in the order of the VM's devices: of disks whose VMM
/// gives them none.
pub const DISKS: &str = "banger.disks";
/// `restart` where the machine has no way to switch itself off, and its VMM ends when it restarts.
pub const POWER_OFF: &str = "banger.off";

/// The value of the first word called `name`.
#[must_use]
pub fn value<'a>(cmdline: &'a str, name: &str) -> Option<&'a str> {
    cmdline.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_by_their_whole_name() {
        let cmdline = "quiet banger.linked=no banger.link=a=b banger.link=c\n";
        assert_eq!(value(cmdline, LINK), Some("a=b"));
        assert_eq!(value(cmdline, DISKS), None);
        assert_eq!(value("banger.link", LINK), None);
    }
}
