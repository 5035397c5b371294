//! Whom the service is for.

use std::path::PathBuf;

use crate::errors::CliError;
use crate::system::host;

/// Longest name of a user that is taken.
const MAX_NAME: usize = 64;

/// A user of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Name.
    pub(crate) name: String,
    /// Number.
    pub(crate) uid: u32,
    /// Number of the group that is theirs first.
    pub(crate) gid: u32,
    /// Home.
    pub(crate) home: PathBuf,
}

impl Owner {
    /// Looks up who is meant: `asked`, a name or a number, else who called `sudo`.
    ///
    /// # Errors
    /// When nobody is meant, root is without being named, or there is no such user.
    pub(crate) fn find(asked: Option<&str>, sudo_uid: Option<&str>) -> Result<Self, CliError> {
        let hint = "name the user whose VMs it is to run: sudo banger system install --owner USER";
        let Some(wanted) = asked.or(sudo_uid) else {
            return Err(
                CliError::usage("nobody says for whom banger is to be installed").hint(hint)
            );
        };
        let owner = host::look_up_user(wanted)?;
        if owner.uid == 0 && asked.is_none() {
            return Err(CliError::usage("banger is not installed for root without being told so")
                .hint(hint)
                .hint("to have it run VMs as root all the same: --owner root"));
        }
        Ok(owner)
    }

    /// Reads one line of `passwd(5)`. What stands in it goes into units, so nothing is taken that
    /// would mean something else there.
    ///
    /// # Errors
    /// What is wrong with it, a fragment.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, _] = fields[..] else {
            return Err("their entry has not seven fields".to_owned());
        };
        let number = |text: &str| {
            // The last one means nobody to the kernel.
            text.parse().ok().filter(|number| *number != u32::MAX)
        };
        let (Some(uid), Some(gid)) = (number(uid), number(gid)) else {
            return Err("their number, or their group's, is none".to_owned());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
            return Err("their name has other characters than a-z, A-Z, 0-9, _, - and .".to_owned());
        }
        if name.starts_with(['-', '.']) {
            return Err("their name begins with - or .".to_owned());
        }
        if !home.starts_with('/') || home.chars().any(|c| c.is_control() || "\"\\%".contains(c)) {
            return Err("their home is not a path that a unit can name".to_owned());
        }
        Ok(Self { name: name.to_owned(), uid, gid, home: home.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_entry() {
        let owner = Owner::parse("jo.doe:x:1000:1001:Jo,,,:/home/jo:/bin/bash").unwrap();
        let expected =
            Owner { name: "jo.doe".into(), uid: 1000, gid: 1001, home: "/home/jo".into() };
        assert_eq!(owner, expected);
    }

    #[test]
    fn takes_nothing_that_means_something_else_in_a_unit() {
        for line in [
            "",
            "jo:x:1000:1000::/home/jo",
            "jo:x:1000:1000::/home/jo:/bin/sh:more",
            "jo:x:-1:1000::/home/jo:/bin/sh",
            "jo:x:4294967295:1000::/home/jo:/bin/sh",
            "jo:x:1000:x::/home/jo:/bin/sh",
            ":x:1000:1000::/home/jo:/bin/sh",
            "-jo:x:1000:1000::/home/jo:/bin/sh",
            "../jo:x:1000:1000::/home/jo:/bin/sh",
            "j o:x:1000:1000::/home/jo:/bin/sh",
            "jo\nUser=root:x:1000:1000::/home/jo:/bin/sh",
            "j%u:x:1000:1000::/home/jo:/bin/sh",
            "jo:x:1000:1000::home:/bin/sh",
            "jo:x:1000:1000::/home/\n[Service]:/bin/sh",
            "jo:x:1000:1000::/home/%h:/bin/sh",
        ] {
            assert!(Owner::parse(line).is_err(), "{line:?}");
        }
    }
}
