//! `banger config show`

use banger_proto::exit_code;
use serde::Serialize;

use crate::cmd::Context;
use crate::errors::Outcome;
use crate::hooks::{Configuration, Configured};
use crate::table::render_table;

/// Show every key, its value, and where that came from
///
/// The origin is `config` (the file), `auto` (worked out from this host) or `builtin` (the program).
/// No daemon is asked: one that runs has what the file said when it started.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  banger config show\n  banger config show --json")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// The file.
    path: String,
    /// Whether it is there.
    exists: bool,
    /// Every key.
    settings: Vec<ShownSetting<'a>>,
    /// What is odd about the file.
    warnings: &'a [String],
}

/// A key as JSON.
#[derive(Debug, Serialize)]
struct ShownSetting<'a> {
    /// Its name.
    key: &'a str,
    /// Its value as the file would have it; null where the file can only leave it out.
    value: &'a serde_json::Value,
    /// Where it came from.
    origin: &'a str,
}

pub(super) fn show(context: &Context, args: &Args) -> Outcome {
    let configuration = (context.hooks.configuration)()?;
    if args.json {
        context.ui.print_json(&as_json(&configuration))?;
        return Ok(exit_code::OK);
    }
    for warning in &configuration.warnings {
        context.ui.note(format!("note: {warning}"));
    }
    context.ui.print(&render(configuration))?;
    Ok(exit_code::OK)
}

fn as_json(configuration: &Configuration) -> Shown<'_> {
    let settings = configuration
        .settings
        .iter()
        .map(|Configured { key, value, origin, .. }| ShownSetting { key, value, origin });
    Shown {
        path: configuration.file.display().to_string(),
        exists: configuration.exists,
        settings: settings.collect(),
        warnings: &configuration.warnings,
    }
}

fn render(configuration: Configuration) -> String {
    let there = if configuration.exists { "" } else { " (not there)" };
    let rows = configuration.settings.into_iter().flat_map(|setting| {
        let Configured { key, text, origin, .. } = setting;
        let row = |line: &str| vec![key.to_owned(), line.to_owned(), origin.clone()];
        text.lines().map(row).collect::<Vec<_>>()
    });
    let table = render_table(&["KEY", "VALUE", "ORIGIN"], rows);
    format!("file: {}{there}\n\n{table}", configuration.file.display())
}
