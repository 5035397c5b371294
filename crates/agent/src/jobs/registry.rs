//! Which jobs there are: running ones, and finished ones for a while.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use banger_proto::guest::frame::Kind;
use banger_proto::guest::{Job as JobView, JobState, StartJob};
use banger_proto::{Code, JobId, Problem};
use tokio::sync::OnceCell;

use super::directory::Directory;
use super::job::{Job, JobInput, Live, Record, now_ms};
use super::log::Log;
use super::pipes::Pipes;
use super::process::{Process, start_ticks};
use crate::context::{Context, boot_id};
use crate::exec::{Output, Plan, Running, SpawnError, spawn_lasting};

/// Where jobs are kept in a guest.
pub(crate) const DIRECTORY: &str = "/var/lib/banger/jobs";
/// Jobs that may run at a time: each takes 128 KiB of the agent's memory.
const RUNNING_LIMIT: usize = 128;
/// Finished jobs that are kept.
const FINISHED_LIMIT: usize = 100;
/// Bytes of output of finished jobs that are kept.
const FINISHED_BYTES: u64 = 64 << 20;
/// Bytes of a command that are shown.
const COMMAND_LIMIT: usize = 4 << 10;

/// All jobs of one guest.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// Opened, and what is in it known, with the first question.
    directory: OnceCell<Arc<Directory>>,
    jobs: Mutex<BTreeMap<JobId, Arc<Job>>>,
    /// Held while one is started.
    starting: tokio::sync::Mutex<()>,
}

impl Jobs {
    /// Jobs that run now, as far as they are known.
    pub(crate) fn running(&self) -> u32 {
        let running = self.jobs().values().filter(|job| job.state() == JobState::Running).count();
        u32::try_from(running).unwrap_or(u32::MAX)
    }

    /// Looks for the jobs that an earlier agent left, unless that was done.
    ///
    /// # Errors
    /// When there is no place for jobs.
    pub(crate) async fn recover(context: &Arc<Context>) -> Result<(), Problem> {
        directory(context).await.map(drop)
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All jobs, oldest first.
pub(super) async fn all(context: &Arc<Context>) -> Result<Vec<Arc<Job>>, Problem> {
    directory(context).await?;
    let mut jobs: Vec<_> = context.jobs.jobs().values().cloned().collect();
    jobs.sort_by_key(|job| job.record().job.started_unix_ms);
    Ok(jobs)
}

/// The job of this id.
pub(super) async fn find(context: &Arc<Context>, id: &JobId) -> Result<Arc<Job>, Problem> {
    directory(context).await?;
    let found = context.jobs.jobs().get(id).cloned();
    found.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no job `{id}`")))
}

/// Starts a job. One whose program cannot be started has ended with what a shell would say.
///
/// # Errors
/// When there are too many, the request is malformed, or there is no room to keep its output.
pub(super) async fn start(context: &Arc<Context>, asked: StartJob) -> Result<Arc<Job>, Problem> {
    let directory = directory(context).await?;
    let _starting = context.jobs.starting.lock().await;
    let StartJob { id, command } = asked;
    if context.jobs.jobs().contains_key(&id) {
        return Err(Problem::new(Code::AlreadyExists, format!("there is a job `{id}`")));
    }
    if context.jobs.running() as usize >= RUNNING_LIMIT {
        let message = format!("{RUNNING_LIMIT} jobs run in this VM, and more there cannot be");
        return Err(Problem::new(Code::Conflict, message).hint("banger vm job kill VM JOB"));
    }
    let plan = Plan::make(context, &command)?;
    let log = {
        let (directory, id) = (Arc::clone(&directory), id.clone());
        tokio::task::spawn_blocking(move || Log::create(directory, &id)).await
    };
    let log = log.map_err(io::Error::other).flatten().map_err(|error| no_place(&error))?;
    let log = Arc::new(log);
    let mut job = JobView {
        id: id.clone(),
        argv: cut(command.argv),
        terminal: command.terminal.is_some(),
        input: command.stdin,
        pid: 0,
        state: JobState::Running,
        started_unix_ms: now_ms(),
        ended_unix_ms: None,
    };
    let record = |job, start_ticks, pipes| {
        let boot_id = boot_id().to_owned();
        Record { job, boot_id, start_ticks, pipes }
    };
    let (job, running) = match spawn_lasting(plan, command.terminal, command.stdin) {
        Ok(Running { child, stdin, stdout, stderr, terminal }) => {
            job.pid = child.pid();
            // It is there, if only as a zombie, until it is waited for.
            let ticks = start_ticks(job.pid).unwrap_or(0);
            let live = Live {
                process: Some(Arc::new(Process::Own(child))),
                // A terminal that nobody may type at is one for its looks.
                input: match stdin.filter(|_| command.stdin) {
                    Some(stream) => JobInput::Free(stream),
                    None => JobInput::None,
                },
                screen: terminal.then(|| stdout.clone()),
            };
            let pipes = stderr.as_ref().and_then(|stderr| Pipes::of(&stdout, stderr));
            let outputs = (Output::new(Some(stdout)), Output::new(stderr));
            (Job::new(record(job, ticks, pipes), log, live), Some(outputs))
        }
        Err(SpawnError::Program { code, message }) => {
            log.append(Kind::Stderr, message.as_bytes());
            let state = JobState::Exited { code: Some(code), signal: None };
            let job = Job::new(record(job, 0, None), log, Live::default());
            job.end(state);
            (job, None)
        }
        Err(SpawnError::System(problem)) => {
            log.remove();
            return Err(problem);
        }
    };
    context.jobs.jobs().insert(id, Arc::clone(&job));
    store(&directory, &job).await;
    match running {
        Some((out, err)) => live_with(context, &directory, Arc::clone(&job), out, err),
        None => finish(context, &directory, &job).await,
    }
    Ok(job)
}

/// The task of a job that runs.
fn live_with(
    context: &Arc<Context>,
    directory: &Arc<Directory>,
    job: Arc<Job>,
    out: Output,
    err: Output,
) {
    let (context, directory) = (Arc::clone(context), Arc::clone(directory));
    tokio::spawn(async move {
        // Whoever ends the guest waits for the last command, which this may be.
        let _count = context.count_command();
        let state = job.run(out, err).await;
        job.end(state);
        finish(&context, &directory, &job).await;
    });
}

/// Stores how a job ended, tells whoever follows, and removes those that are too many now.
async fn finish(context: &Arc<Context>, directory: &Arc<Directory>, job: &Arc<Job>) {
    store(directory, job).await;
    job.log.close();
    let removed: Vec<_> = {
        let mut jobs = context.jobs.jobs();
        plan_removal(&jobs).iter().filter_map(|id| jobs.remove(id)).collect()
    };
    let directory = Arc::clone(directory);
    let _ = tokio::task::spawn_blocking(move || {
        for job in removed {
            // A record that stays is found by the next agent.
            let _ = directory.remove(&record_name(&job.record().job.id));
            job.log.remove();
        }
    })
    .await;
}

/// Finished jobs that are more than are kept, the one that ended first first.
fn plan_removal(jobs: &BTreeMap<JobId, Arc<Job>>) -> Vec<JobId> {
    let mut finished: Vec<_> = jobs
        .values()
        // The others' records may still be written.
        .filter(|job| job.log.watch().borrow().closed)
        .map(|job| (job.record().job, job.log.size()))
        .collect();
    finished.sort_by_key(|(job, _)| job.ended_unix_ms);
    let mut bytes: u64 = finished.iter().map(|(_, size)| size).sum();
    let mut left = finished.len();
    let mut removed = Vec::new();
    for (job, size) in finished {
        // The last one to end stays, however much it wrote.
        if left <= 1 || (left <= FINISHED_LIMIT && bytes <= FINISHED_BYTES) {
            break;
        }
        removed.push(job.id);
        bytes -= size;
        left -= 1;
    }
    removed
}

/// Stores what is known of a job. On a disk that is full it is known until the agent ends.
async fn store(directory: &Arc<Directory>, job: &Job) {
    let record = job.record();
    let directory = Arc::clone(directory);
    let stored = tokio::task::spawn_blocking(move || save(&directory, &record)).await;
    if let Ok(Err(error)) = stored {
        eprintln!("banger-agent: cannot store a job: {error}");
    }
}

fn save(directory: &Directory, record: &Record) -> io::Result<()> {
    directory.replace(&record_name(&record.job.id), &serde_json::to_vec(record)?)
}

fn record_name(id: &JobId) -> String {
    format!("{id}.json")
}

/// The directory of all jobs, with what is in it known.
async fn directory(context: &Arc<Context>) -> Result<Arc<Directory>, Problem> {
    let opened = context.jobs.directory.get_or_try_init(|| async {
        let worker = {
            let context = Arc::downgrade(context);
            let open = move || {
                let context = context.upgrade().ok_or(io::ErrorKind::NotConnected)?;
                context.machine.open_jobs(&context.root)
            };
            move || {
                let directory = Arc::new(Directory::new(open)?);
                let found = load(&directory)?;
                Ok((directory, found))
            }
        };
        let (directory, found) =
            tokio::task::spawn_blocking(worker).await.map_err(io::Error::other).flatten()?;
        for (record, log) in found {
            resume(context, &directory, record, Arc::new(log)).await;
        }
        Ok(directory)
    });
    opened.await.map(Arc::clone).map_err(|error: io::Error| no_place(&error))
}

/// What earlier agents stored. A file that is damaged is as good as none.
fn load(directory: &Arc<Directory>) -> io::Result<Vec<(Record, Log)>> {
    let boot_id = boot_id();
    let mut found = Vec::new();
    for name in directory.names()? {
        let Some(id) = name.strip_suffix(".json").and_then(|id| id.parse::<JobId>().ok()) else {
            continue;
        };
        let Ok(bytes) = directory.read(&name) else { continue };
        let Ok(record) = serde_json::from_slice::<Record>(&bytes) else { continue };
        let goes_on = record.job.state == JobState::Running && record.boot_id == boot_id;
        if record.job.id == id
            && let Ok(log) = Log::reopen(Arc::clone(directory), &id, goes_on)
        {
            found.push((record, log));
        }
    }
    Ok(found)
}

/// Takes on a job that an earlier agent left.
async fn resume(context: &Arc<Context>, directory: &Arc<Directory>, record: Record, log: Arc<Log>) {
    let id = record.job.id.clone();
    let ran = record.job.state == JobState::Running;
    let process = (ran && record.boot_id == boot_id())
        .then(|| Process::adopt(record.job.pid, record.start_ticks))
        .flatten();
    let adopted = process.is_some();
    let (pid, pipes) = (record.job.pid, record.pipes);
    let live = Live { process: process.map(Arc::new), ..Live::default() };
    let job = Job::new(record, log, live);
    context.jobs.jobs().insert(id, Arc::clone(&job));
    if adopted {
        let (out, err) = pipes.map_or((None, None), |pipes| pipes.reopen(pid));
        live_with(context, directory, job, Output::new(out), Output::new(err));
    } else if ran {
        job.end(JobState::Lost);
        finish(context, directory, &job).await;
    }
}

/// As much of a command as is shown.
fn cut(argv: Vec<String>) -> Vec<String> {
    let mut room = COMMAND_LIMIT;
    let mut shown = Vec::new();
    for mut word in argv {
        if word.len() > room {
            let end = (0..=room).rev().find(|at| word.is_char_boundary(*at)).unwrap_or(0);
            word.truncate(end);
            word.push('…');
            shown.push(word);
            break;
        }
        // An empty one takes room, too.
        room = room.saturating_sub(word.len() + 1);
        shown.push(word);
    }
    shown
}

fn no_place(error: &io::Error) -> Problem {
    Problem::new(Code::OperationFailed, "the guest has no place to keep jobs in").because(error)
}
