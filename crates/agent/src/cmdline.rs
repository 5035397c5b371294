//! What the host says on the kernel's command line.

use banger_proto::guest::cmdline;

/// The value of the word `name`, one of [`cmdline`]'s.
pub(crate) fn load(name: &str) -> Option<String> {
    let words = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    cmdline::value(&words, name).map(ToOwned::to_owned)
}
