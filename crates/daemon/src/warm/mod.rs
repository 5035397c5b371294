//! Warm starts: for each class of VMs there is one that has booted, as a template, and new ones are copies of
//! it that are told who they are. A boot becomes the loading of a file.
//!
//! ```text
//!  vm create ──▶ find ── there ──▶ the VM begins from it
//!                  └──── not ────▶ the VM boots ──▶ want ──▶ make, in the background
//! ```
//!
//! A template is a [snapshot](crate::snapshot) of a VM that was nobody's: nothing of any user's VM is in it. It
//! is found by the digest of all that it depends on, so what changes makes another one; those that were not
//! used for longest go. Whoever cannot begin from one boots, and nothing is said but in its view.
//!
//! | module | responsible for |
//! |---|---|
//! | `class` | what has to be the same (pure) |
//! | `make` | booting one and writing it down |

mod class;
mod make;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use banger_proto::{Paths, Problem};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::Host;
use crate::private;
use crate::snapshot::{Origin, PROBE, Snapshot, failed};
use crate::step::Operation;
use crate::vm::boot::render::Parts;
use crate::vm::plan::VmPlan;
use crate::vm::undo;
use class::render_class;

/// Directory of templates beside the VMs: only one daemon at a time is at work there.
const DIRECTORY: &str = "warm";
/// Beginning of the names of those that are being made.
const MAKING: &str = ".making-";
/// Templates that are kept: each is as large as what its guest uses.
const KEPT: usize = 4;
/// Classes that wait for their template.
const QUEUE: usize = 4;

/// The templates of this user.
#[derive(Debug)]
pub struct Warm {
    directory: PathBuf,
    enabled: bool,
    wanted: mpsc::Sender<Wanted>,
    /// Taken by who makes them.
    asked: Mutex<Option<mpsc::Receiver<Wanted>>>,
    /// Classes whose template could not be made, which is not tried again, or is waited for.
    settled: Mutex<BTreeSet<String>>,
}

/// A class that a template is wanted for, by one of its VMs.
#[derive(Debug)]
struct Wanted {
    plan: VmPlan,
    parts: Parts,
    class: String,
}

impl Warm {
    /// Those of the daemon at `paths`, used if `enabled`.
    #[must_use]
    pub fn new(paths: &Paths, enabled: bool) -> Self {
        let (wanted, asked) = mpsc::channel(QUEUE);
        Self {
            directory: paths.state_dir.join(DIRECTORY),
            enabled,
            wanted,
            asked: Mutex::new(Some(asked)),
            settled: Mutex::default(),
        }
    }

    /// The template for a VM that is about to begin, if there is one.
    pub(crate) fn find(&self, host: &Host, plan: &VmPlan, parts: &Parts) -> Option<Origin> {
        let place = self.directory.join(self.class(host, plan, parts)?);
        let snapshot = Snapshot::load(&place).ok()?;
        // Those that were not used for longest go first.
        let used = fs_err::File::open(&place)
            .and_then(|place| place.file().set_modified(SystemTime::now()));
        if let Err(error) = used {
            tracing::debug!(%error, "use of a template not noted");
        }
        Some(Origin { snapshot: Arc::new(snapshot), whole: false })
    }

    /// Has a template made for VMs like this one, which has booted, unless there is one.
    pub(crate) fn want(&self, host: &Host, plan: &VmPlan, parts: &Parts) {
        let Some(class) = self.class(host, plan, parts) else { return };
        if self.directory.join(&class).exists() || !self.settled().insert(class.clone()) {
            return;
        }
        let wanted = Wanted { plan: plan.clone(), parts: parts.clone(), class: class.clone() };
        if self.wanted.try_send(wanted).is_err() {
            // Another time.
            self.settled().remove(&class);
        }
    }

    /// Gives up the template that a VM could not begin from.
    pub(crate) fn give_up(&self, origin: &Origin) {
        let directory = &origin.snapshot.directory;
        if let Err(error) = fs_err::remove_dir_all(directory) {
            tracing::warn!(%error, "a template that is of no use stays");
        }
        if let Some(class) = directory.file_name().and_then(|class| class.to_str()) {
            self.settled().insert(class.to_owned());
        }
    }

    fn class(&self, host: &Host, plan: &VmPlan, parts: &Parts) -> Option<String> {
        if !self.enabled {
            return None;
        }
        let saved_with = host.hypervisor.saved_with().ok()?;
        Some(render_class(plan, parts, &saved_with))
    }

    fn settled(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> io::Result<tempfile::TempDir> {
        private::ensure_dir(&self.directory)?;
        tempfile::Builder::new().prefix(MAKING).tempdir_in(&self.directory)
    }

    /// Those there are, the one that was used last first, and those that are being made.
    fn entries(&self) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let entries = match fs_err::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            entries => entries?,
        };
        let mut dated = Vec::new();
        for entry in entries {
            let entry = entry?;
            dated.push((entry.metadata()?.modified()?, entry.path()));
        }
        dated.sort_by(|(a, _), (b, _)| b.cmp(a));
        Ok(dated.into_iter().map(|(_, path)| path).partition(|path| !is_begun(path)))
    }
}

fn is_begun(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(MAKING))
}

/// Makes the templates that are wanted, one after the other, until `stopping`.
pub(crate) async fn make_wanted(host: Arc<Host>, stopping: CancellationToken) {
    let asked = host.warm.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut asked) = asked else { return };
    sweep(&host).await;
    loop {
        let wanted = tokio::select! {
            wanted = asked.recv() => wanted,
            () = stopping.cancelled() => return,
        };
        let Some(wanted) = wanted else { return };
        let class = wanted.class.clone();
        // Its directory, which says what runs for it, goes with it: it has to outlive the sweep.
        let mut making = std::pin::pin!(make_one(&host, wanted));
        let made = tokio::select! {
            made = &mut making => made,
            // What runs for it is ended here, and not left to the next daemon.
            () = stopping.cancelled() => return sweep(&host).await,
        };
        match made {
            Ok(()) => {
                host.warm.settled().remove(&class);
                tracing::info!(class, "template made");
            }
            Err(problem) => {
                tracing::warn!(class, %problem, causes = ?problem.causes, "template not made");
            }
        }
    }
}

async fn make_one(host: &Arc<Host>, wanted: Wanted) -> Result<(), Problem> {
    const WHAT: &str = "cannot keep a template";
    let directory = host.warm.begin().map_err(|error| failed(WHAT, &error))?;
    let class = wanted.class.clone();
    make::make(host, &wanted, &class, directory.path()).await?;
    let host = Arc::clone(host);
    let kept = tokio::task::spawn_blocking(move || {
        let place = host.warm.directory.join(class);
        fs_err::rename(directory.path(), place)?;
        let (kept, _) = host.warm.entries()?;
        kept.into_iter().skip(KEPT).try_for_each(fs_err::remove_dir_all)
    });
    kept.await.map_err(|gone| failed(WHAT, &gone))?.map_err(|error| failed(WHAT, &error))
}

/// Ends and removes what a kill, or the end of the daemon, left half made.
async fn sweep(host: &Arc<Host>) {
    let begun = host.warm.entries().map(|(_, begun)| begun).unwrap_or_default();
    for place in begun {
        let probe = fs_err::read_to_string(place.join(PROBE)).ok();
        if let Some(vm) = probe.and_then(|id| id.parse().ok()) {
            let walk = host.followers.walk(&vm, Operation::Recover);
            if let Err(problem) = undo::remove_vmm(host, &vm, &mut None, &walk).await {
                tracing::warn!(%vm, %problem, causes = ?problem.causes, "VMM not removed");
                continue;
            }
        }
        match fs_err::remove_dir_all(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "what is left of a template stays");
            }
            _ => {}
        }
    }
}
