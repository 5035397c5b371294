//! The flags that say what VM to make, shared by `run` and `create`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use banger_proto::api::{CreateVm, GuestBranch, Publish, WaitFor, WorkspaceMode, WorkspaceSource};
use banger_proto::name::ParseNameError;
use banger_proto::period::ParsePeriodError;
use banger_proto::{ByteSize, Period, VmName};
use clap::ValueEnum;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::errors::CliError;
use crate::{complete, repository};

/// What VM to make.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct MachineArgs {
    /// Directory in a git repository to bring into the VM, at /root/repo
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub(super) path: Option<PathBuf>,
    /// Name of the VM, 1 to 63 of a-z, 0-9 and `-` [default: a memorable one]
    #[arg(long)]
    name: Option<NewName>,
    /// Image to boot [default: the configured one]
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::images))]
    image: Option<String>,
    /// Kernel to boot [default: the image's own]
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::kernels))]
    kernel: Option<String>,
    /// Number of virtual processors [default: the configured one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    vcpu: Option<u32>,
    /// Memory, like 512M or 4G; a bare number means MiB [default: the configured one]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Size of the VM's own disk, like 8G; it takes room only as it fills [default: the configured one]
    #[arg(long, value_name = "SIZE")]
    disk_size: Option<ByteSize>,
    /// Bytes a second that the VM reads and writes of each of its disks at most, like 100M
    #[arg(long, value_name = "SIZE")]
    disk_bandwidth: Option<ByteSize>,
    /// Reads and writes a second of each of its disks at most
    #[arg(long, value_name = "N")]
    disk_iops: Option<u32>,
    /// Environment variable of every command in the VM (can be repeated)
    #[arg(short, long, value_name = "KEY=VAL", value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// Stop the VM when nobody has used it for so long, like 30m or 2h, until it is used again; or off
    /// [default: the configured one]
    #[arg(long, value_name = "PERIOD")]
    idle_stop: Option<IdlePeriod>,
    /// Pause the VM when nobody has used it for so long, like 5m, until it is used again; or off
    /// [default: the configured one]
    #[arg(long, value_name = "PERIOD")]
    idle_pause: Option<IdlePeriod>,
    /// Boot the VM, instead of beginning from one that has booted
    #[arg(long)]
    cold: bool,
    /// Start the VM when this host has started
    #[arg(long)]
    autostart: bool,
    /// Let the VM reach what lies beyond the host; --nat=off if that is configured
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true,
          default_missing_value = "on", hide_possible_values = true)]
    nat: Option<Switch>,
    /// Let the VM reach this port of the host's own, as host.vm:PORT (can be repeated)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    host_port: Vec<u16>,
    /// Lead this port of the host to one of the VM while it runs; on 127.0.0.1 unless an address is
    /// given, 0.0.0.0 for others in the network, too (can be repeated)
    #[arg(short, long, value_name = "[ADDR:]HOST:GUEST")]
    publish: Vec<Publish>,
    /// Bring files that git neither tracks nor ignores, too
    #[arg(long, requires = "path")]
    include_untracked: bool,
    #[command(flatten)]
    branch: BranchArgs,
    #[command(flatten)]
    wait: WaitArg,
}

/// The flags for a branch of the guest's own.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct BranchArgs {
    /// Branch to make and check out in the guest only [default: the one that is checked out here]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Commit that the branch begins at, with its files instead of yours [default: what is checked
    /// out here, with your uncommitted edits]
    #[arg(long, value_name = "REF", requires = "branch", conflicts_with = "include_untracked")]
    from: Option<String>,
}

impl BranchArgs {
    /// The branch, if one is asked for.
    pub(super) fn into_branch(self) -> Option<GuestBranch> {
        let Self { branch, from } = self;
        branch.map(|name| GuestBranch { name, from })
    }
}

/// The flag that says what ready means.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct WaitArg {
    /// What ready means: commands run (agent), or the image's own init has finished (system)
    #[arg(long, value_name = "FOR", default_value = "agent", hide_possible_values = true)]
    wait: Wait,
}

impl MachineArgs {
    /// The request these flags make; the path is checked on the way.
    pub(super) fn into_request(self, context: &Context) -> Result<CreateVm, CliError> {
        let branch = self.branch.into_branch();
        let workspace = match &self.path {
            None if branch.is_some() => {
                return Err(CliError::usage("a branch needs a repository to be made in")
                    .hint("name it: banger vm run --branch NAME PATH"));
            }
            None => None,
            Some(path) => Some(WorkspaceSource {
                path: repository::check(path, context.environment.require_cwd()?)?,
                include_untracked: self.include_untracked,
                mode: WorkspaceMode::Shallow,
                branch,
            }),
        };
        Ok(CreateVm {
            name: self.name.and_then(|name| name.0),
            image: self.image,
            kernel: self.kernel,
            vcpu: self.vcpu,
            memory: self.memory,
            disk_size: self.disk_size,
            disk_bandwidth: self.disk_bandwidth,
            disk_iops: self.disk_iops,
            env: self.env.into_iter().collect::<BTreeMap<_, _>>(),
            workspace,
            bootstrap: false,
            entrypoint: None,
            ephemeral: false,
            wait: self.wait.into(),
            no_start: false,
            cold: self.cold,
            autostart: self.autostart,
            nat: self.nat.map(Switch::is_on),
            publish: self.publish.into_iter().collect(),
            host_ports: self.host_port.into_iter().collect(),
            idle_stop_seconds: self.idle_stop.map(IdlePeriod::seconds),
            idle_pause_seconds: self.idle_pause.map(IdlePeriod::seconds),
        })
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

impl Switch {
    /// Whether it is on.
    pub(super) fn is_on(self) -> bool {
        self == Self::On
    }
}

/// What `--wait` takes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Wait {
    Agent,
    System,
}

impl From<WaitArg> for WaitFor {
    fn from(arg: WaitArg) -> Self {
        match arg.wait {
            Wait::Agent => Self::Agent,
            Wait::System => Self::System,
        }
    }
}

/// A name for a new VM; the empty one asks for a generated name, as leaving it out does.
#[derive(Debug, Clone)]
struct NewName(Option<VmName>);

impl FromStr for NewName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse::<VmName>()?.for_new_vm().map(|name| Self(Some(name)))
    }
}

/// How long a VM may be idle; none for ever.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdlePeriod(Option<Period>);

impl IdlePeriod {
    /// Its seconds; 0 for ever.
    pub(super) fn seconds(self) -> u32 {
        self.0.map_or(0, Period::seconds)
    }
}

impl FromStr for IdlePeriod {
    type Err = ParsePeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" { Ok(Self(None)) } else { text.parse().map(|period| Self(Some(period))) }
    }
}

/// Parses `KEY=VAL`; the value may be empty and may hold further `=`.
pub(super) fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("", _)) => Err("the variable has no name".to_owned()),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(format!("write `{text}=VALUE`")),
    }
}

/// Parses a guest directory: absolute, because there is nothing it could be relative to.
pub(super) fn parse_workdir(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err("a directory in the guest begins with `/`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_names() {
        assert_eq!(parse_variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(parse_variable("A="), Ok(("A".into(), String::new())));
        assert!(parse_variable("=b").is_err());
        assert_eq!(parse_variable("A"), Err("write `A=VALUE`".into()));
    }

    #[test]
    fn the_empty_name_is_generated() {
        assert!("".parse::<NewName>().unwrap().0.is_none());
        assert!("Web".parse::<NewName>().is_err());
    }
}
