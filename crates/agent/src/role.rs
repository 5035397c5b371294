//! The program's roles. There is one file in the initramfs; its name and process id choose.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use banger_proto::build;

use crate::ssh::builtin;
use crate::{guard, pid1, resident};

/// What this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `/init`: the first process of the guest.
    Init,
    /// The services' process beside process 1.
    Resident,
    /// Who takes the place of the services' process should it be killed.
    Guard,
    /// What systemd leaves its place to at the very end of power-off.
    PowerOff,
    /// The file server of an SSH session, as a command of the guest.
    FileServer,
    /// Started by hand, which does nothing.
    Misused,
}

/// How the resident process is called. systemd spares processes whose name begins with `@` when
/// it ends the others (systemd's "Storage daemons for the root file system").
pub(crate) const RESIDENT: &str = "@banger-agent";

/// How the process is called that takes the resident's place. Not the same, so that whoever
/// kills by name does not kill both.
pub(crate) const GUARD: &str = "@banger-guard";

/// How the file server of an SSH session is called.
pub(crate) const FILE_SERVER: &str = "banger-sftp-server";

/// The role of a process called `name` with the number `pid`.
#[must_use]
pub fn choose(name: &OsStr, pid: u32) -> Role {
    if name == RESIDENT {
        Role::Resident
    } else if name == GUARD {
        Role::Guard
    } else if name == FILE_SERVER {
        Role::FileServer
    } else if pid != 1 {
        Role::Misused
    } else if name.as_encoded_bytes().ends_with(b"shutdown") {
        Role::PowerOff
    } else {
        Role::Init
    }
}

impl Role {
    /// Does what the role is for. `args` are the arguments after the name.
    pub fn play(self, args: &[OsString]) -> ExitCode {
        match self {
            Self::Init => pid1::run(),
            Self::Resident => resident::run(),
            Self::Guard => guard::run(),
            Self::PowerOff => pid1::finish_for_systemd(args.first().map(OsString::as_os_str)),
            Self::FileServer => builtin::serve_files(),
            Self::Misused if args == ["--version"] => {
                println!("banger-agent {}", build::current().render());
                ExitCode::SUCCESS
            }
            Self::Misused => {
                eprintln!("banger-agent: this is the init of banger's virtual machines");
                ExitCode::FAILURE
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_number_choose() {
        let role = |name: &str, pid| choose(OsStr::new(name), pid);
        assert_eq!(role("/init", 1), Role::Init);
        assert_eq!(role("banger-sftp-server", 41), Role::FileServer);
        assert_eq!(role("@banger-agent", 40), Role::Resident);
        assert_eq!(role("@banger-guard", 90), Role::Guard);
        assert_eq!(role("/shutdown", 1), Role::PowerOff);
        assert_eq!(role("banger-agent", 4242), Role::Misused);
    }
}
