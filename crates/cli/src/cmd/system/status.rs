//! `banger system status`

use banger_proto::exit_code;
use serde::Serialize;

use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::system::{DAEMON_SERVICE, DAEMON_SOCKET, HELPER_SOCKET, Record, systemctl};
use crate::table::render_pairs;

/// The units that have to be active.
const UNITS: [&str; 3] = [DAEMON_SERVICE, DAEMON_SOCKET, HELPER_SOCKET];

/// Show whether banger is a service of this system, whose, and how its services are
///
/// Exits with 1 if it is not, or if a service does not run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger system status
  banger system status --json")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Status {
    /// What is installed; absent when nothing is.
    installed: Option<Record>,
    /// Its units.
    units: Vec<Unit>,
}

/// How a unit is, in the words of the service manager.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Unit {
    name: String,
    /// `active` when all is well.
    active: String,
    /// More of that: `running`, `listening`.
    sub: String,
    /// `enabled` when it starts at boot.
    enabled: String,
}

impl Unit {
    fn is_well(&self) -> bool {
        self.active == "active" && self.enabled == "enabled"
    }
}

pub(super) async fn status(context: &Context, args: Args) -> Outcome {
    let ui = &context.ui;
    let installed = match args.json {
        true => Record::load()?,
        false => Some(require_installed()?),
    };
    let mut units = Vec::new();
    if installed.is_some() {
        let properties = "--property=Id,ActiveState,SubState,UnitFileState";
        let show: Vec<&str> = ["show", properties, "--"].into_iter().chain(UNITS).collect();
        units = parse_units(&systemctl(&show).await?);
    }
    let status = Status { installed, units };
    if args.json {
        ui.print_json(&status)?;
    } else {
        ui.print(&render_status(&status))?;
    }
    let well = status.installed.is_some() && status.units.iter().all(Unit::is_well);
    Ok(if well { exit_code::OK } else { exit_code::FAILURE })
}

/// What is installed.
///
/// # Errors
/// When nothing is.
pub(super) fn require_installed() -> Result<Record, CliError> {
    Record::load()?.ok_or_else(|| {
        CliError::failure("banger is no service of this system")
            .hint("it need not be: `banger run` works without")
            .hint("to make it one: sudo banger system install")
    })
}

/// Reads what `systemctl show` prints: blocks of `Name=value`, an empty line between them.
fn parse_units(text: &str) -> Vec<Unit> {
    let parse = |block: &str| {
        let mut unit = Unit::default();
        for (name, value) in block.lines().filter_map(|line| line.split_once('=')) {
            let place = match name {
                "Id" => &mut unit.name,
                "ActiveState" => &mut unit.active,
                "SubState" => &mut unit.sub,
                "UnitFileState" => &mut unit.enabled,
                _ => continue,
            };
            value.clone_into(place);
        }
        unit
    };
    text.split("\n\n").filter(|block| !block.trim().is_empty()).map(parse).collect()
}

fn render_status(status: &Status) -> String {
    let record = status.installed.iter().flat_map(|record| {
        [
            ("owner".to_owned(), format!("{} (uid {})", record.owner, record.uid)),
            ("version".to_owned(), record.version.clone()),
            ("programs".to_owned(), record.prefix.display().to_string()),
        ]
    });
    let units = status.units.iter().map(|unit| {
        let enabled = if unit.enabled.is_empty() { "not there" } else { &unit.enabled };
        (unit.name.clone(), format!("{} ({}), {enabled}", unit.active, unit.sub))
    });
    render_pairs(record.chain(units))
}

#[cfg(test)]
mod tests {
    use banger_proto::BridgeName;

    use super::*;

    #[test]
    fn how_units_are() {
        let said = "Id=bangerd.service\nActiveState=active\nSubState=running\nUnitFileState=enabled\n\n\
                    Id=bangerd.socket\nActiveState=inactive\nSubState=dead\nUnitFileState=\n";
        let units = parse_units(said);
        assert_eq!(units.iter().map(Unit::is_well).collect::<Vec<_>>(), [true, false]);
        let record = Record {
            version: "1.2.3".into(),
            owner: "jo".into(),
            uid: 1000,
            prefix: "/usr/local".into(),
            bridge: BridgeName::default(),
            files: vec![],
            directories: vec![],
        };
        let status = Status { installed: Some(record), units };
        insta::assert_snapshot!(render_status(&status), @r"
        owner:            jo (uid 1000)
        version:          1.2.3
        programs:         /usr/local
        bangerd.service:  active (running), enabled
        bangerd.socket:   inactive (dead), not there
        ");
    }
}
