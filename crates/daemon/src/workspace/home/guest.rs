//! Asking a guest what became of its workspace, and making a tree of it.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use banger_proto::guest::{SurveyRequest, Surveyed};
use banger_tree::changes::Known;
use banger_tree::{Outlet, Piece, pipe};

use super::HomeError;
use super::receive::{Changes, count, receive};
use super::record::{Conversion, Entry, Record, Version};
use super::scratch::Scratch;
use super::shelf::CURRENT;
use crate::exec::{HostEnv, Program};
use crate::guest::{CopyPiece, CopySource, GuestClient};
use crate::workspace::GUEST_PATH;
use crate::workspace::git::{ANSWER_LIMIT, Git, LIST_LIMIT};
use crate::workspace::index::records;
use crate::workspace::source::Head;

/// A workspace that went into a guest, and the repository it came from.
#[derive(Debug)]
pub(crate) struct Gone {
    /// What was brought in.
    pub(crate) record: Record,
    /// The repository, as it is now.
    pub(crate) git: Git,
    /// Where there is room for what is made for one request.
    pub(super) directory: PathBuf,
}

/// Looks up what was recorded in `directory` of the VM called `vm`, and the repository.
pub(crate) async fn load_gone(
    env: &HostEnv,
    directory: PathBuf,
    vm: &str,
) -> Result<Gone, HomeError> {
    let place = directory.join(CURRENT);
    let loaded = tokio::task::spawn_blocking(move || Record::load(&place));
    let record = loaded.await.map_err(|_| HomeError::Interrupted)?.map_err(HomeError::Record)?;
    let record = record.ok_or_else(|| HomeError::NoRecord(vm.to_owned()))?;
    let git = Git::discover(env, &record.base.path).await?;
    if git.object_format != record.base.object_format {
        return Err(HomeError::OtherRepository(record.base.path));
    }
    Ok(Gone { record, git, directory })
}

/// The files of a record, as the guest is told of them.
pub(super) fn known_files(record: &Record) -> Vec<u8> {
    let mut list = Vec::new();
    for entry in &record.entries {
        if let Some(Version { mode, id }) = entry.raw.clone() {
            Known { path: entry.path.clone(), mode, id }.render(&mut list);
        }
    }
    list
}

impl Gone {
    /// What the guest is asked.
    fn request(&self, contents: bool) -> (SurveyRequest, Vec<u8>) {
        let request = SurveyRequest {
            directory: GUEST_PATH.to_owned(),
            object_format: self.record.base.object_format.clone(),
            contents,
        };
        (request, known_files(&self.record))
    }

    /// How many paths the guest has changed, and what it has checked out.
    pub(crate) async fn count(&self, guest: &GuestClient) -> Result<(u64, Surveyed), HomeError> {
        let (request, list) = self.request(false);
        let source = guest.survey(&request, &list).await?;
        follow(source, |mut stream| count(&mut stream)).await
    }

    /// What is checked out on the host, and how many of its files differ from that.
    pub(crate) async fn observe_host(&self) -> Result<(Head, u64), HomeError> {
        let status = async {
            let args = ["--porcelain", "-z", "--no-renames", "--untracked-files=no"];
            let status = self.git.command("status").args(args).output(LIST_LIMIT).await;
            status.map_err(|source| self.git.failure(source))
        };
        let (head, status) = tokio::try_join!(Head::load(&self.git), status)?;
        Ok((head, records(&status).count() as u64))
    }

    /// A scratch repository over this one's objects.
    pub(crate) fn scratch(&self) -> Result<Scratch, HomeError> {
        let alternates = [self.git.objects.as_path(), &self.record.objects];
        Scratch::create(&self.git.env, &self.directory, self.record.format, &alternates)
    }

    /// Brings home what the guest changed: `limit` bytes of contents at most.
    pub(crate) async fn bring_home(
        self,
        guest: &GuestClient,
        limit: u64,
    ) -> Result<GuestTree, HomeError> {
        let scratch = self.scratch()?;
        self.require_base(&scratch).await?;
        let (request, list) = self.request(true);
        let source = guest.survey(&request, &list).await?;
        let objects = scratch.objects();
        let receiving = move |mut stream: Outlet| {
            let known = self.record.entries.iter().map(|entry| (entry.path.as_slice(), entry));
            let known: HashMap<_, _> = known.collect();
            let changes = receive(&mut stream, &known, &objects, limit);
            drop(known);
            changes.map(|changes| (self, changes))
        };
        let ((gone, changes), surveyed) = follow(source, receiving).await?;
        let tree = scratch.write_tree(gone.clean_files(&changes)).await?;
        let notes = gone.notes(&changes, surveyed.notes);
        Ok(GuestTree { gone, scratch, changes, tree, notes })
    }

    async fn require_base(&self, scratch: &Scratch) -> Result<(), HomeError> {
        let Some(commit) = &self.record.base.commit else { return Ok(()) };
        let object = format!("{commit}^{{commit}}");
        let looked = scratch.command("cat-file").args(["-e", &object]).run().await;
        looked.map_err(|_| HomeError::NoBase {
            commit: commit.clone(),
            path: self.git.top_level.clone(),
        })
    }

    /// What git would store of the guest's files.
    fn clean_files<'a>(
        &'a self,
        changes: &'a Changes,
    ) -> impl Iterator<Item = (&'a [u8], &'a Version)> {
        let same = self.record.entries.iter().filter(|entry| !changes.contains_key(&entry.path));
        let same = same.map(|entry| (entry.path.as_slice(), &entry.clean));
        let changed = changes
            .iter()
            .filter_map(|(path, changed)| Some((path.as_slice(), changed.clean.as_ref()?)));
        same.chain(changed)
    }

    fn notes(&self, changes: &Changes, mut notes: Vec<String>) -> Vec<String> {
        let filtered = |entry: &&Entry| {
            let changed = changes.get(&entry.path).and_then(|changed| changed.clean.as_ref());
            entry.conversion == Conversion::Filter
                && changed.is_some_and(|clean| clean.id != entry.clean.id)
        };
        let mut filtered = self.record.entries.iter().filter(filtered);
        if let Some(first) = filtered.next() {
            let more = match filtered.count() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            notes.push(format!(
                "`{}`{more}: a filter of the host stores it in another form; here it is as in the guest",
                String::from_utf8_lossy(&first.path)
            ));
        }
        notes
    }
}

/// What a guest made of its workspace.
#[derive(Debug)]
pub(crate) struct GuestTree {
    /// What went in.
    pub(crate) gone: Gone,
    /// Where its objects are; goes with this.
    pub(crate) scratch: Scratch,
    /// What is different from what went in.
    pub(crate) changes: Changes,
    /// The guest's files as a tree.
    tree: String,
    /// What a person should know of it.
    pub(crate) notes: Vec<String>,
}

impl GuestTree {
    /// What lies between the commit that was brought in and the guest's files.
    pub(crate) async fn diff(&self, form: &[&str]) -> Result<Program, HomeError> {
        let from = match &self.gone.record.base.commit {
            Some(commit) => commit.clone(),
            None => self.scratch.write_tree(std::iter::empty()).await?,
        };
        Ok(self.scratch.diff(form, &from, &self.tree))
    }

    /// Whether the guest's files are not those of `commit`.
    pub(super) async fn differs_from(&self, commit: &str) -> Result<bool, HomeError> {
        let compare = self.scratch.diff(&["--quiet"], commit, &self.tree);
        let ended = compare.capture(ANSWER_LIMIT).await.map_err(HomeError::Git)?;
        Ok(!ended.status.success())
    }
}

/// Hands what comes of `source` to a thread, and waits for both.
pub(super) async fn follow<T: Send + 'static>(
    mut source: CopySource<Surveyed>,
    read: impl FnOnce(Outlet) -> io::Result<T> + Send + 'static,
) -> Result<(T, Surveyed), HomeError> {
    let (inlet, outlet) = pipe();
    let mut reading = tokio::task::spawn_blocking(move || read(outlet));
    let pump = async {
        loop {
            match source.next().await? {
                CopyPiece::Bytes(bytes) => {
                    if !inlet.send(Piece::Bytes(bytes.into())).await {
                        // The thread takes no more, and says why.
                        return Ok(None);
                    }
                }
                CopyPiece::End(surveyed) => {
                    inlet.send(Piece::End).await;
                    return Ok::<_, HomeError>(Some(surveyed));
                }
            }
        }
    };
    let surveyed = pump.await;
    drop(inlet);
    let read = (&mut reading).await.map_err(|_| HomeError::Interrupted)?;
    // An agent that broke off makes the thread fail, too.
    let surveyed = surveyed?;
    let read = read.map_err(HomeError::Changes)?;
    surveyed.map(|surveyed| (read, surveyed)).ok_or(HomeError::Interrupted)
}
