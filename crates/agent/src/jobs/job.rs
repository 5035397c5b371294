//! One job: what is known of it, and the task that lives with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use banger_proto::guest::frame::Kind;
use banger_proto::guest::{Job as JobView, JobState};
use banger_proto::{Code, Problem};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::log::Log;
use super::pipes::Pipes;
use super::process::Process;
use crate::exec::{Output, Stream};

/// What is stored of a job: what is shown, and what tells its process from a later one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(flatten)]
    pub(super) job: JobView,
    /// The boot that it was started in.
    pub(super) boot_id: String,
    /// When its process was started; see [`super::process::start_ticks`].
    pub(super) start_ticks: u64,
    /// Where its output can be read again.
    #[serde(default)]
    pub(super) pipes: Option<Pipes>,
}

/// A job.
#[derive(Debug)]
pub(super) struct Job {
    record: watch::Sender<Record>,
    pub(super) log: Arc<Log>,
    live: Mutex<Live>,
}

/// What a job has while it runs.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) process: Option<Arc<Process>>,
    pub(super) input: JobInput,
    /// Its terminal.
    pub(super) screen: Option<Stream>,
}

/// A job's input.
#[derive(Debug, Default)]
pub(super) enum JobInput {
    /// It has none, or that was ended.
    #[default]
    None,
    /// Nobody attached has it.
    Free(Stream),
    /// Somebody attached has it.
    Taken,
}

impl Job {
    /// A job of which this is known.
    pub(super) fn new(record: Record, log: Arc<Log>, live: Live) -> Arc<Self> {
        let (record, live) = (watch::Sender::new(record), Mutex::new(live));
        Arc::new(Self { record, log, live })
    }

    /// What is stored of it.
    pub(super) fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    /// How it is.
    pub(super) fn state(&self) -> JobState {
        self.record.borrow().job.state
    }

    /// Sends a signal to its processes.
    ///
    /// # Errors
    /// When it does not run any more.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Problem> {
        match &self.live().process {
            Some(process) => process.signal_group(signal),
            None => {
                let message = format!("job `{}` has ended", self.record.borrow().job.id);
                return Err(Problem::new(Code::Conflict, message));
            }
        }
        Ok(())
    }

    /// Its terminal, while it has one.
    pub(super) fn screen(&self) -> Option<Stream> {
        self.live().screen.clone()
    }

    /// Takes its input, to be given back; none when it has none.
    ///
    /// # Errors
    /// When somebody has it.
    pub(super) fn take_input(&self) -> Result<Option<Stream>, Problem> {
        let input = &mut self.live().input;
        match std::mem::replace(input, JobInput::Taken) {
            JobInput::Free(stream) => Ok(Some(stream)),
            JobInput::None => {
                *input = JobInput::None;
                Ok(None)
            }
            JobInput::Taken => {
                let id = self.record.borrow().job.id.clone();
                let message = format!("somebody else has the input of job `{id}`");
                Err(Problem::new(Code::Conflict, message)
                    .hint("to see its output only: banger vm attach --no-stdin"))
            }
        }
    }

    /// Gives its input back; none when that was ended.
    pub(super) fn return_input(&self, stream: Option<Stream>) {
        let mut live = self.live();
        // With the job, its input ended.
        if live.process.is_some() {
            live.input = stream.map_or(JobInput::None, JobInput::Free);
        }
    }

    /// Keeps what it writes until its process ends, and nothing comes any more. How it ended.
    pub(super) async fn run(&self, mut out: Output, mut err: Output) -> JobState {
        let Some(process) = self.live().process.clone() else { return JobState::Lost };
        let mut ended = None;
        while ended.is_none() || !out.is_over() || !err.is_over() {
            tokio::select! {
                piece = out.next() => self.keep(Kind::Stdout, piece).await,
                piece = err.next() => self.keep(Kind::Stderr, piece).await,
                state = process.ended(), if ended.is_none() => {
                    ended = Some(state);
                    out.note_end();
                    err.note_end();
                }
            }
        }
        ended.unwrap_or(JobState::Lost)
    }

    /// Nothing more is read before this is written: a slow disk slows the job down.
    async fn keep(&self, kind: Kind, piece: &[u8]) {
        // The end of an output is no frame.
        if !piece.is_empty() {
            let (log, piece) = (Arc::clone(&self.log), piece.to_vec());
            let _ = tokio::task::spawn_blocking(move || log.append(kind, &piece)).await;
        }
    }

    /// Notes how it ended. Followers of the log that see its end see this.
    pub(super) fn end(&self, state: JobState) {
        self.record.send_modify(|record| {
            record.job.state = state;
            record.job.ended_unix_ms = Some(now_ms());
        });
        *self.live() = Live::default();
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
