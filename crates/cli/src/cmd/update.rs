//! `banger update`

use std::path::{Path, PathBuf};

use banger_proto::api::Event;
use banger_proto::exit_code;
use banger_release::{Archive, Choice, InUse, Place, Server, Version, Wanted, choose, link_shared};
use serde::Serialize;
use tokio::sync::watch;

use super::Context;
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::signals::Signals;
use crate::system::Record;
use crate::update::{Handover, Source, hand_over, observe, take_back, try_out};

/// Get the newest release and put it in the place of this one
///
/// VMs keep running. A release is installed only if banger's makers have signed it and it works
/// here; if its daemon does not start, the release before is put back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger update --check
  banger update
  banger update --version v1.2.3 --force")]
pub(crate) struct Args {
    /// Only tell whether there is a newer one
    #[arg(long)]
    check: bool,
    /// This release instead of the newest
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(Version))]
    version: Option<Version>,
    /// Also an older one, or the same again
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Told {
    /// The release that was in use.
    installed: Version,
    /// The one that was asked for.
    available: Version,
    /// Whether it is in use now.
    updated: bool,
}

pub(crate) async fn update(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let source = Source::find(&context.environment)?;
    progress.begin("looking for releases");
    let manifest = signals.race(async { Ok(source.server.manifest().await?) }).await?;
    let wanted = Wanted { version: args.version, force: args.force };
    let installed = source.installed.clone();
    let tell = |available: Version, updated: bool, text: String| {
        if args.json {
            context.ui.print_json(&Told { installed: installed.clone(), available, updated })
        } else {
            context.ui.print(&text)
        }
    };
    match choose(&manifest, &source.installed, &wanted)? {
        Choice::Same(version) => {
            progress.clear();
            let text = format!("{version} is in use already");
            tell(version, false, text)?;
        }
        Choice::Get(version) if args.check => {
            progress.clear();
            let text = format!("{version} is there, {installed} is in use: banger update");
            tell(version, false, text)?;
        }
        Choice::Get(version) => {
            install(context, &source, &version, &mut progress, &mut signals).await?;
            let text = format!("{version} is in use, {installed} was before");
            tell(version, true, text)?;
        }
    }
    Ok(exit_code::OK)
}

/// Fetches a release, tries it, puts it in use, and the one before back if it does not work.
async fn install(
    context: &Context,
    source: &Source,
    version: &Version,
    progress: &mut Progress,
    signals: &mut Signals,
) -> Result<(), CliError> {
    let place = Place::take(source.installation.clone())?;
    progress.begin(&format!("getting {version}"));
    let directory = place.directory();
    let archive = signals.race(fetch(&source.server, version, &directory, progress)).await?;
    progress.begin("unpacking");
    let staged = place.stage(&archive)?;
    progress.begin("trying it out");
    if let Err(error) = signals.race(try_out(&staged.directory, version)).await {
        place.drop_staged(staged)?;
        return Err(error.hint("nothing was changed: the release in use is as it was"));
    }
    let handover = observe(&context.environment).await?;
    // From here on to the end: a signal would leave two releases that think the daemon theirs.
    let before = place.put_in_use(staged)?;
    progress.begin("handing the daemon over");
    let command = source.installation.command();
    let number = version.to_string();
    if let Err(error) = hand_over(&handover, &command, number.trim_start_matches('v')).await {
        return Err(go_back(&place, &before, &handover, &command, error).await);
    }
    place.remove_unused(&before, &kept())?;
    let linked = link_shared(&source.installation);
    progress.clear();
    if let Err(error) = linked {
        context.ui.note(format!("note: completions and manual pages stay as they were: {error}"));
    }
    explain(context, &source.installation.releases(), &handover);
    Ok(())
}

/// Fetches the archive, and shows how far it is.
async fn fetch(
    server: &Server,
    version: &Version,
    into: &Path,
    progress: &mut Progress,
) -> Result<Archive, CliError> {
    let (teller, mut told) = watch::channel((0, None));
    let tell = |done: u64, total: Option<u64>| {
        teller.send_replace((done, total));
    };
    let mut fetching = std::pin::pin!(server.archive(version, into, &tell));
    loop {
        tokio::select! {
            fetched = &mut fetching => return Ok(fetched?),
            _ = told.changed() => {
                let (done, total) = *told.borrow_and_update();
                progress.show(&Event::Progress { label: version.archive(), done, total });
            }
        }
    }
}

/// Puts the release before back; what is told of it.
async fn go_back(
    place: &Place,
    before: &InUse,
    handover: &Handover,
    command: &Path,
    error: CliError,
) -> CliError {
    if let Err(worse) = place.go_back(before) {
        return CliError::from(worse).hint(
            "the new release is in use, and does not work: install it anew with `install.sh`",
        );
    }
    match take_back(handover, command).await {
        Ok(()) => error.hint("the release before is in use again"),
        Err(left) => error
            .hint(format!("the release before is in use again, but: {left}"))
            .hint("what its daemon says: banger daemon start"),
    }
}

/// Releases that are kept whatever happens: what the services of the system run.
fn kept() -> Vec<PathBuf> {
    // Who cannot read what is installed cannot tell that it is not needed; that is said where it
    // matters, by `banger system status`.
    Record::load().ok().flatten().map(|record| record.prefix).into_iter().collect()
}

/// Says what is left to do, if anything.
fn explain(context: &Context, releases: &Path, handover: &Handover) {
    if let Handover::Busy(status) = handover {
        let busy = status.busy;
        context.ui.note(format!(
            "note: the daemon is at work ({busy} requests) and stays version {} until it is idle",
            status.version
        ));
    }
    if kept().iter().any(|prefix| prefix.starts_with(releases)) {
        context
            .ui
            .note("note: the services still run the release before: sudo banger system install");
    }
}
