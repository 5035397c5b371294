//! `banger version`

use banger_proto::{API_VERSION, GUEST_GENERATION, build, exit_code};
use serde::Serialize;

use super::Context;
use crate::errors::Outcome;

/// Show this program's version
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger version --json")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    /// Commit that a release was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'static str>,
    /// When that commit was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    built_at: Option<&'static str>,
    /// Where its releases are.
    #[serde(skip_serializing_if = "Option::is_none")]
    releases: Option<&'static str>,
    /// The key that those are signed with, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    release_key: Option<&'static str>,
    api_version: u32,
    guest_generation: u32,
    os: &'static str,
    arch: &'static str,
}

pub(crate) fn version(context: &Context, args: Args) -> Outcome {
    let build = build::current();
    let version = Version {
        version: build.version,
        commit: build.commit,
        built_at: build.built_at,
        releases: build.releases,
        release_key: build.release_key,
        api_version: API_VERSION,
        guest_generation: GUEST_GENERATION,
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    };
    if args.json {
        context.ui.print_json(&version)?;
    } else {
        context.ui.print(&format!("banger {}", build.render()))?;
    }
    Ok(exit_code::OK)
}
