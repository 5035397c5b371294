//! A workspace on its way into a guest: from [`crate::workspace`] to [`crate::guest`].
//!
//! ```text
//!  inspect ─▶ what would be lost? ─▶ pack, send ─▶ what would be lost by now? ─▶ the agent
//!              │                                     │      exchanges the trees, the record follows
//!              ▼                                     ▼
//!           refused, nothing was sent             refused, the old tree is there
//! ```
//!
//! The second look is for what is done in the guest while the repository is on its way.

use std::io;
use std::path::{Path, PathBuf};

use banger_proto::api::{VmWorkspace, WorkspaceSource};
use banger_proto::guest::{Replace, UnpackRequest, Unpacked};
use banger_proto::{Code, Problem, VmName};
use jiff::Timestamp;

use crate::engine::Host;
use crate::guest::{GuestClient, GuestError, UnpackSink};
use crate::private;
use crate::progress::Progress;
use crate::workspace::home::{Gone, HomeError, NewRecord, ensure_settled, load_gone};
use crate::workspace::{GUEST_PATH, Options, Source, WorkspaceError};

/// Most notes of a guest that are passed on.
const MAX_NOTES: usize = 10;

/// Why a workspace is not in its guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BringInError {
    /// The repository cannot be packed.
    #[error("cannot pack the workspace")]
    Host(#[from] WorkspaceError),
    /// The guest did not take it.
    #[error("the guest did not take the workspace")]
    Guest(#[from] GuestError),
    /// There is no room to pack it in.
    #[error("cannot make room to pack the workspace")]
    Temp(#[source] io::Error),
    /// What went in cannot be written down.
    #[error("cannot keep what went into the guest")]
    Record(#[source] io::Error),
    /// An agent that replaces nothing yet.
    #[error("the agent is too old to replace a workspace")]
    OldAgent,
    /// What is in the guest is in the way, or cannot be looked at.
    #[error(transparent)]
    Former(#[from] HomeError),
}

impl BringInError {
    /// The failure to bring it into `vm` again, as a client gets it.
    pub(crate) fn problem(self, vm: &VmName) -> Problem {
        match self {
            Self::Host(error) => error.problem(),
            Self::Former(error) => error.problem(vm.as_str()),
            Self::Guest(GuestError::Refused(problem)) if problem.code == Code::AlreadyExists => {
                let message = format!("`{GUEST_PATH}` in VM `{vm}` was not brought in by banger");
                Problem::new(Code::Conflict, message)
                    .hint(format!("to give it up: banger vm workspace prepare --force {vm}"))
            }
            Self::Guest(GuestError::Refused(problem)) => problem,
            Self::OldAgent => {
                let message = format!("the agent of VM `{vm}` is too old to replace a workspace");
                Problem::new(Code::Conflict, message)
                    .hint(format!("it gets a new one when it starts: banger vm restart {vm}"))
            }
            error => Problem::new(
                Code::OperationFailed,
                format!("cannot bring the workspace into VM `{vm}`"),
            )
            .because(&error)
            .hint(format!("how it is: banger vm workspace status {vm}")),
        }
    }
}

/// Whether a repository can travel, found out before anything is made for it.
///
/// # Errors
/// When it cannot.
pub(crate) async fn inspect(host: &Host, source: &WorkspaceSource) -> Result<Source, Problem> {
    look(host, source).await.map_err(|error| error.problem())
}

/// Sends the repository into a guest that has none yet.
///
/// What went in is written down in `shelf`, a directory of the VM's own.
///
/// # Errors
/// When it cannot be packed or the guest does not take it; then nothing of it is in the guest.
pub(crate) async fn bring_in(
    host: &Host,
    shelf: &Path,
    source: &WorkspaceSource,
    guest: &GuestClient,
    progress: &Progress,
) -> Result<VmWorkspace, BringInError> {
    let inspected = look(host, source).await?;
    let way = Way { host, shelf, source, guest, progress };
    way.send(&inspected, None).await?.settle(progress).await
}

/// The VM that a repository is brought into again.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) vm: VmName,
    /// Its directory of records.
    pub(crate) shelf: PathBuf,
    /// Its guest.
    pub(crate) guest: GuestClient,
    /// Most bytes of changed files that are looked at.
    pub(crate) limit: u64,
    /// Also when something is lost by it.
    pub(crate) force: bool,
}

/// Sends the repository into a guest that may have one. Until it is settled, nothing in the guest
/// has changed.
///
/// # Errors
/// As [`bring_in`], and when something would be lost that is not given up.
pub(crate) async fn bring_in_again(
    host: &Host,
    target: &Target,
    source: &WorkspaceSource,
    progress: &Progress,
) -> Result<Sent, BringInError> {
    let Target { shelf, guest, .. } = target;
    let inspected = look(host, source).await?;
    let former = target.load_former(host).await?;
    former.require_nothing_lost(target).await?;
    let way = Way { host, shelf, source, guest, progress };
    let replace = former.plan_replace(target.force);
    let replaces = replace.is_some();
    let sent = way.send(&inspected, replace).await.map_err(|error| match error {
        BringInError::Guest(GuestError::Refused(problem))
            if replaces && problem.code == Code::AlreadyExists =>
        {
            BringInError::OldAgent
        }
        error => error,
    })?;
    former.require_nothing_lost(target).await?;
    Ok(sent)
}

/// What is in a guest's place for workspaces, as far as it is known.
struct Former {
    gone: Option<Gone>,
}

impl Target {
    async fn load_former(&self, host: &Host) -> Result<Former, HomeError> {
        let Self { vm, shelf, guest, force, .. } = self;
        let load = async {
            ensure_settled(shelf, guest, vm.as_str()).await?;
            load_gone(&host.env, shelf.clone(), vm.as_str()).await
        };
        match load.await {
            Ok(gone) => Ok(Former { gone: Some(gone) }),
            Err(HomeError::NoRecord(_)) => Ok(Former { gone: None }),
            Err(error) if *force => {
                tracing::warn!(%vm, %error, "workspace replaced without a look at it");
                Ok(Former { gone: None })
            }
            Err(error) => Err(error),
        }
    }
}

impl Former {
    async fn require_nothing_lost(&self, target: &Target) -> Result<(), HomeError> {
        match &self.gone {
            Some(gone) if !target.force => {
                gone.require_nothing_lost(&target.guest, target.limit).await
            }
            // What is there without a record is in the way, which the agent says.
            _ => Ok(()),
        }
    }

    fn plan_replace(&self, force: bool) -> Option<Replace> {
        let format = self.gone.as_ref().map(|gone| gone.record.base.object_format.clone());
        // Of what is not known, the usual format is as good a guess as any.
        let format = format.or_else(|| force.then(|| "sha1".to_owned()));
        format.map(|object_format| Replace { object_format })
    }
}

async fn look(host: &Host, source: &WorkspaceSource) -> Result<Source, WorkspaceError> {
    Source::inspect(&host.env, Path::new(&source.path), Options::from(source)).await
}

/// What is needed to send a repository.
struct Way<'a> {
    host: &'a Host,
    shelf: &'a Path,
    source: &'a WorkspaceSource,
    guest: &'a GuestClient,
    progress: &'a Progress,
}

impl Way<'_> {
    async fn send(
        &self,
        inspected: &Source,
        replace: Option<Replace>,
    ) -> Result<Sent, BringInError> {
        let Self { host, shelf, source, guest, progress } = self;
        if let Some(notice) = inspected.notice() {
            progress.notice(notice);
        }
        let cache = &host.paths.cache_dir;
        private::ensure_dir(cache).map_err(BringInError::Temp)?;
        let record = NewRecord::create(shelf).map_err(BringInError::Temp)?;
        let archive = inspected.archive(cache).await?;
        let archive = archive.recorded(record.path(), Path::new(&source.path), record.id()).await?;
        let prepared_at = Some(Timestamp::now().to_string());
        let tools = inspected.tools().map(str::to_owned);
        let workspace = VmWorkspace { tools, prepared_at, ..archive.workspace() };
        let request = UnpackRequest { directory: GUEST_PATH.to_owned(), replace };
        let mut sink = guest.unpack(&request).await?;
        let mut chunks = archive.stream();
        while let Some(chunk) = chunks.next().await? {
            sink.write(&chunk).await?;
            let (done, total) = chunks.progress();
            progress.update("files", done, Some(total));
        }
        Ok(Sent { sink, record, workspace })
    }
}

/// A workspace of which the guest has everything, but has not put it in its place yet. Dropping it
/// leaves what is there.
#[derive(Debug)]
pub(crate) struct Sent {
    sink: UnpackSink<Unpacked>,
    record: NewRecord,
    workspace: VmWorkspace,
}

impl Sent {
    /// Has it put in its place. Once begun, it should not be dropped before its end: what it comes
    /// to would be found out only when somebody asks about the workspace again.
    ///
    /// # Errors
    /// When the guest cannot; then what was there before is there still, unless the guest is not
    /// heard any more.
    pub(crate) async fn settle(self, progress: &Progress) -> Result<VmWorkspace, BringInError> {
        let Self { sink, record, workspace } = self;
        let announced = keep(move || record.announce()).await?;
        let Unpacked { notes, .. } = sink.finish().await?;
        keep(move || announced.settle()).await?;
        for note in notes.into_iter().take(MAX_NOTES) {
            progress.notice(note);
        }
        Ok(workspace)
    }
}

/// Does what concerns a record on a thread that may block.
async fn keep<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BringInError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).flatten().map_err(BringInError::Record)
}
