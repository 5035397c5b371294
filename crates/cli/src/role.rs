//! Which program this process is: one file is signed, installed and swapped, three run from it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Name under which the daemon is started.
pub(crate) const DAEMON: &str = "bangerd";
/// Name under which the service that builds images is started.
const BUILDER: &str = "banger-builder";
/// Name under which a supervisor is started.
const SUPERVISOR: &str = "banger-supervisor";

/// A program of this file, with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Role<'a> {
    /// The daemon.
    Daemon(&'a [OsString]),
    /// The supervisor of one VM, with its launch file; an empty path when none was named.
    Supervisor(&'a Path),
    /// What runs a build outside of the daemon's service.
    Builder,
    /// The command line: any other name.
    CommandLine,
}

impl<'a> Role<'a> {
    /// Reads the role off the name the process was started by.
    pub(crate) fn of(args: &'a [OsString]) -> Self {
        let Some((program, rest)) = args.split_first() else { return Self::CommandLine };
        match Path::new(program).file_name().and_then(OsStr::to_str) {
            Some(DAEMON) => Self::Daemon(rest),
            Some(BUILDER) => Self::Builder,
            Some(SUPERVISOR) => {
                Self::Supervisor(Path::new(rest.first().map_or(OsStr::new(""), |path| path)))
            }
            _ => Self::CommandLine,
        }
    }
}

/// Leaves the caller's session and terminal, so that closing the terminal or pressing Ctrl-C in
/// it does not reach the daemon.
pub(crate) fn detach() {
    // Refused only to the leader of a process group, such as a daemon started by systemd or by
    // hand from a shell: then whoever started it decides over its session.
    let _ = rustix::process::setsid();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        let args = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let daemon = args(&["bangerd", "--ready-fd", "1"]);
        assert_eq!(Role::of(&daemon), Role::Daemon(&daemon[1..]));
        assert_eq!(
            Role::of(&args(&["/x/banger-supervisor", "/run/launch.json"])),
            Role::Supervisor(Path::new("/run/launch.json"))
        );
        assert_eq!(Role::of(&args(&["banger-builder"])), Role::Builder);
        assert_eq!(Role::of(&args(&["/usr/bin/banger", "bangerd"])), Role::CommandLine);
        assert_eq!(Role::of(&[]), Role::CommandLine);
    }
}
