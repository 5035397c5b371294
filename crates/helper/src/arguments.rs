//! The command line: which role, and where.

use std::ffi::OsString;
use std::path::PathBuf;

use banger_proto::BridgeName;
use banger_proto::bridge_name::ParseBridgeNameError;

use crate::namespace::{Door, Entrance};
use crate::run::Confines;

/// What the program is started for.
#[derive(Debug, PartialEq, Eq)]
pub enum Role {
    /// To keep namespaces: new ones, or those that there are.
    Hold(Option<Entrance>),
    /// To serve requests in namespaces that there are.
    Serve {
        /// Which.
        entrance: Entrance,
        /// What the bridge is called.
        bridge: BridgeName,
    },
    /// To serve requests in the network of the host.
    ServeHost {
        /// Who may ask: a user's number.
        owner: u32,
        /// What the bridge is called.
        bridge: BridgeName,
    },
    /// To become another program.
    Run {
        /// Where.
        confines: Confines,
        /// The program.
        program: OsString,
        /// Its arguments.
        arguments: Vec<OsString>,
    },
    /// To tell what this machine lets its users do.
    Probe,
    /// To tell what it was built from.
    Version,
}

/// How it is called.
pub const USAGE: &str = "\
usage: banger-helper hold [NAMESPACES]
       banger-helper serve NAMESPACES [--bridge NAME]
       banger-helper serve --host --owner UID [--bridge NAME]
       banger-helper run NAMESPACES -- PROGRAM [ARGUMENT]...
       banger-helper run --jail FILE [NAMESPACES] -- PROGRAM [ARGUMENT]...
       banger-helper probe
       banger-helper --version
NAMESPACES: --userns PATH --userns-inode NUMBER --netns PATH --netns-inode NUMBER
banger starts this program itself; with --host, the service manager does.";

/// Why a command line is none.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentsError {
    /// No role, or an unknown one.
    #[error("the first argument is none of hold, serve, run and probe")]
    Role,
    /// An option that the role does not have, or that has no value.
    #[error("option `{0}` is unknown, twice there or without a value")]
    Option(String),
    /// A number that is none.
    #[error("`{0}` is not the number of a namespace")]
    Number(String),
    /// An owner that is none. The last number means nobody to the kernel.
    #[error("`{0}` is not the number of a user")]
    Owner(String),
    /// An option that must be there.
    #[error("option `{0}` is missing")]
    Missing(&'static str),
    /// The bridge's name.
    #[error(transparent)]
    Bridge(#[from] ParseBridgeNameError),
    /// `run` has nothing to become.
    #[error("there is no program after `--`")]
    Program,
}

/// What comes after the program's own name.
///
/// # Errors
///
/// It is not as [`USAGE`] says.
pub fn parse_arguments(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Role, ArgumentsError> {
    let mut arguments = arguments.into_iter();
    let role =
        arguments.next().and_then(|role| role.into_string().ok()).ok_or(ArgumentsError::Role)?;
    let options = Options::parse(&mut arguments)?;
    if role != "serve" {
        options.refuse_those_of_serve()?;
    }
    if role != "run" && options.jail.is_some() {
        return Err(ArgumentsError::Option("--jail".to_owned()));
    }
    match role.as_str() {
        "hold" if options.none() => Ok(Role::Hold(None)),
        "hold" => Ok(Role::Hold(Some(options.entrance()?))),
        "serve" => {
            let bridge = options.bridge.as_deref().map_or(Ok(BridgeName::default()), str::parse)?;
            match options.host {
                true => Ok(Role::ServeHost { owner: options.host_owner()?, bridge }),
                false => Ok(Role::Serve { entrance: options.entrance()?, bridge }),
            }
        }
        "run" => {
            let confines = options.confines()?;
            let program = arguments.next().ok_or(ArgumentsError::Program)?;
            Ok(Role::Run { confines, program, arguments: arguments.collect() })
        }
        "probe" if options.none() => Ok(Role::Probe),
        "--version" if options.none() => Ok(Role::Version),
        "probe" | "--version" => Err(ArgumentsError::Option("--userns".to_owned())),
        _ => Err(ArgumentsError::Role),
    }
}

#[derive(Debug, Default)]
struct Options {
    user: Option<OsString>,
    user_inode: Option<OsString>,
    network: Option<OsString>,
    network_inode: Option<OsString>,
    jail: Option<OsString>,
    host: bool,
    owner: Option<String>,
    bridge: Option<String>,
}

impl Options {
    /// Up to `--`, or the end.
    fn parse(arguments: &mut impl Iterator<Item = OsString>) -> Result<Self, ArgumentsError> {
        let mut options = Self::default();
        while let Some(name) = arguments.next() {
            let name = name.to_string_lossy().into_owned();
            if name == "--" {
                break;
            }
            let wrong = || ArgumentsError::Option(name.clone());
            if name == "--host" {
                if std::mem::replace(&mut options.host, true) {
                    return Err(wrong());
                }
                continue;
            }
            let mut text = None;
            let place = match name.as_str() {
                "--userns" => &mut options.user,
                "--userns-inode" => &mut options.user_inode,
                "--netns" => &mut options.network,
                "--netns-inode" => &mut options.network_inode,
                "--jail" => &mut options.jail,
                "--bridge" if options.bridge.is_none() => &mut text,
                "--owner" if options.owner.is_none() => &mut text,
                _ => return Err(wrong()),
            };
            let value = arguments.next().ok_or_else(wrong)?;
            if place.replace(value).is_some() {
                return Err(wrong());
            }
            if let Some(text) = text {
                let text = Some(text.into_string().map_err(|_| wrong())?);
                if name == "--owner" { options.owner = text } else { options.bridge = text }
            }
        }
        Ok(options)
    }

    fn none(&self) -> bool {
        [&self.user, &self.user_inode, &self.network, &self.network_inode]
            .iter()
            .all(|option| option.is_none())
    }

    fn refuse_those_of_serve(&self) -> Result<(), ArgumentsError> {
        let there = [
            ("--bridge", self.bridge.is_some()),
            ("--host", self.host),
            ("--owner", self.owner.is_some()),
        ];
        match there.iter().find(|(_, there)| *there) {
            Some((name, _)) => Err(ArgumentsError::Option((*name).to_owned())),
            None => Ok(()),
        }
    }

    /// Who owns the part of the host's network that is banger's. There are no namespaces then.
    fn host_owner(self) -> Result<u32, ArgumentsError> {
        if !self.none() {
            return Err(ArgumentsError::Option("--host".to_owned()));
        }
        let owner = self.owner.ok_or(ArgumentsError::Missing("--owner"))?;
        match owner.parse() {
            Ok(number) if number != u32::MAX => Ok(number),
            _ => Err(ArgumentsError::Owner(owner)),
        }
    }

    /// Where a program is to be.
    fn confines(mut self) -> Result<Confines, ArgumentsError> {
        let Some(description) = self.jail.take().map(PathBuf::from) else {
            return Ok(Confines::Namespaces(self.entrance()?));
        };
        let entrance = if self.none() { None } else { Some(self.entrance()?) };
        Ok(Confines::Jail { description, entrance })
    }

    fn entrance(self) -> Result<Entrance, ArgumentsError> {
        if self.owner.is_some() {
            return Err(ArgumentsError::Missing("--host"));
        }
        let door = |path: Option<OsString>, inode: Option<OsString>, names: [&'static str; 2]| {
            let path = PathBuf::from(path.ok_or(ArgumentsError::Missing(names[0]))?);
            let number = inode.ok_or(ArgumentsError::Missing(names[1]))?;
            let number = number.to_string_lossy();
            let inode =
                number.parse().map_err(|_| ArgumentsError::Number(number.clone().into_owned()))?;
            Ok::<_, ArgumentsError>(Door { path, inode })
        };
        Ok(Entrance {
            user: door(self.user, self.user_inode, ["--userns", "--userns-inode"])?,
            network: door(self.network, self.network_inode, ["--netns", "--netns-inode"])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACES: &str =
        "--userns /proc/7/ns/user --userns-inode 11 --netns /n --netns-inode 12";

    fn parse(line: &str) -> Result<Role, ArgumentsError> {
        parse_arguments(line.split_whitespace().map(OsString::from))
    }

    fn entrance() -> Entrance {
        let door = |path: &str, inode| Door { path: path.into(), inode };
        Entrance { user: door("/proc/7/ns/user", 11), network: door("/n", 12) }
    }

    #[test]
    fn roles() {
        assert_eq!(parse("hold").unwrap(), Role::Hold(None));
        assert_eq!(parse(&format!("hold {NAMESPACES}")).unwrap(), Role::Hold(Some(entrance())));
        assert_eq!(parse("probe").unwrap(), Role::Probe);
        assert_eq!(parse("--version").unwrap(), Role::Version);
        assert!(parse(&format!("--version {NAMESPACES}")).is_err());
        let bridge: BridgeName = "br-x".parse().unwrap();
        assert_eq!(
            parse(&format!("serve --bridge br-x {NAMESPACES}")).unwrap(),
            Role::Serve { entrance: entrance(), bridge }
        );
        let (host, bridge) = ("serve --host --owner 1000", "br-x".parse().unwrap());
        let default = BridgeName::default();
        assert_eq!(parse(host).unwrap(), Role::ServeHost { owner: 1000, bridge: default });
        assert_eq!(
            parse(&format!("{host} --bridge br-x")).unwrap(),
            Role::ServeHost { owner: 1000, bridge }
        );
        assert_eq!(
            parse(&format!("run {NAMESPACES} -- qemu --userns x -- y")).unwrap(),
            Role::Run {
                confines: Confines::Namespaces(entrance()),
                program: "qemu".into(),
                arguments: ["--userns", "x", "--", "y"].map(OsString::from).to_vec(),
            }
        );
        for (namespaces, entrance) in [(NAMESPACES, Some(entrance())), ("", None)] {
            let role = parse(&format!("run --jail /j {namespaces} -- qemu")).unwrap();
            let confines = Confines::Jail { description: "/j".into(), entrance };
            assert_eq!(role, Role::Run { confines, program: "qemu".into(), arguments: Vec::new() });
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let seen: Vec<String> = [
            "".to_owned(),
            "operate".to_owned(),
            "serve".to_owned(),
            "serve --userns".to_owned(),
            "serve --userns a --userns b".to_owned(),
            "serve --userns a --userns-inode 1 --netns b".to_owned(),
            "serve --userns a --userns-inode x --netns b --netns-inode 2".to_owned(),
            format!("serve {NAMESPACES} --bridge eth.0"),
            format!("serve {NAMESPACES} --bridge a --bridge b"),
            format!("hold {NAMESPACES} --bridge a"),
            "serve --host".to_owned(),
            "serve --host --host --owner 1".to_owned(),
            "serve --host --owner".to_owned(),
            "serve --host --owner root".to_owned(),
            "serve --host --owner -1".to_owned(),
            "serve --host --owner 4294967295".to_owned(),
            "serve --host --owner 1 --owner 2".to_owned(),
            "serve --host --owner 1 --bridge eth.0".to_owned(),
            format!("serve --host --owner 1 {NAMESPACES}"),
            format!("serve --owner 1 {NAMESPACES}"),
            "hold --host".to_owned(),
            format!("run --owner 1 {NAMESPACES} -- true"),
            "run -- true".to_owned(),
            "run --jail".to_owned(),
            "run --jail /j --userns a -- true".to_owned(),
            format!("hold --jail /j {NAMESPACES}"),
            format!("run {NAMESPACES}"),
            format!("run {NAMESPACES} --"),
            format!("probe {NAMESPACES}"),
        ]
        .iter()
        .map(|line| parse(line).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(seen.join("\n"));
    }
}
