//! Following a job: its output from the log, input and signals to it.
//!
//! A host that goes away leaves the job alone; one that reads slowly slows nobody down but itself.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{AttachJob, ExecExit, JobOutput, JobState, StdinTaken};
use banger_proto::{Code, Problem};
use tokio::sync::watch;

use super::job::Job;
use super::log::{Log, Position, Reader};
use crate::exec::{Input, take_input};
use crate::services::{FromHost, ServiceError, ToHost};

/// Bytes that are read at a time.
const BATCH: usize = 256 << 10;
/// Most lines a tail can have.
const TAIL_LIMIT: u32 = 100_000;

/// Attaches to `job`.
pub(super) async fn serve(
    job: &Arc<Job>,
    request: &AttachJob,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    let stream = if request.input { job.take_input()? } else { None };
    let taken = stream.is_some();
    let (granted, grants) = watch::channel(0);
    let terminal = job.record().job.terminal;
    let mut input = Input::new(stream, terminal, granted);
    let served = async {
        to_host.send_json(Kind::Accepted, &job.record().job).await?;
        let signal = |signal| {
            // One that has ended meanwhile tells so itself.
            let _ = job.signal(signal);
        };
        let mut input = pin!(take_input(from_host, &mut input, signal, job.screen()));
        tokio::select! {
            sent = send(job, request, to_host, grants) => sent,
            hung_up = &mut input => Ok(hung_up?),
        }
    };
    let served = served.await;
    // What another has is not this one's to give back.
    if taken {
        job.return_input(input.into_stream());
    }
    served
}

/// Sends the log as asked, how much input was taken, and how it ended.
async fn send(
    job: &Job,
    request: &AttachJob,
    to_host: &mut ToHost,
    mut grants: watch::Receiver<u64>,
) -> Result<(), ServiceError> {
    let mut end = job.log.watch();
    let (mut reader, mut cut) = find(&job.log, request.from).await.map_err(unreadable)?;
    let mut told = 0;
    let closed = loop {
        // Looked at before the log is: what it has then is there.
        let closed = end.borrow_and_update().closed;
        let (read, batch) = read_batch(reader).await.map_err(unreadable)?;
        reader = read;
        let is_all = batch.is_empty();
        for mut frame in batch {
            if matches!(frame.kind, Kind::Stdout | Kind::Stderr) {
                frame.payload.drain(..std::mem::take(&mut cut).min(frame.payload.len()));
            }
            to_host.send(&frame).await?;
        }
        if is_all && (closed || !request.follow) {
            break closed;
        }
        if is_all {
            tokio::select! {
                Ok(()) = end.changed() => {}
                Ok(()) = grants.changed() => {}
            }
        }
        let granted = *grants.borrow_and_update();
        if granted > told {
            to_host.send_json(Kind::StdinTaken, &StdinTaken { bytes: granted - told }).await?;
            told = granted;
        }
    };
    if !closed {
        return Ok(to_host.send(&Frame::new(Kind::End, [])).await?);
    }
    let exit = match job.state() {
        JobState::Exited { code, signal } => ExecExit { code, signal },
        JobState::Running | JobState::Lost => ExecExit { code: None, signal: None },
    };
    Ok(to_host.send_json(Kind::Exit, &exit).await?)
}

/// A reader from there on, and bytes of its first output that are before it.
async fn find(log: &Arc<Log>, from: JobOutput) -> io::Result<(Reader, usize)> {
    let log = Arc::clone(log);
    let now = log.watch().borrow().at;
    match from {
        JobOutput::Start => Ok((Reader::new(log, 0), 0)),
        JobOutput::Now | JobOutput::Tail(0) => Ok((Reader::new(log, now), 0)),
        JobOutput::Tail(lines) => {
            blocking(move || {
                let (at, cut) = find_tail(&log, lines.min(TAIL_LIMIT), now)?;
                Ok((Reader::new(log, at), cut))
            })
            .await
        }
    }
}

/// Where the last `lines` before `until` begin: a frame and bytes of it.
fn find_tail(log: &Arc<Log>, lines: u32, until: Position) -> io::Result<(Position, usize)> {
    let mut reader = Reader::new(Arc::clone(log), 0);
    let mut starts = VecDeque::new();
    let mut begins = true;
    while let Some((at, frame)) = reader.next()?.filter(|(at, _)| *at < until) {
        if !matches!(frame.kind, Kind::Stdout | Kind::Stderr) {
            continue;
        }
        for (index, byte) in frame.payload.iter().enumerate() {
            if begins {
                if starts.len() == lines as usize {
                    starts.pop_front();
                }
                starts.push_back((at, index));
            }
            begins = *byte == b'\n';
        }
    }
    Ok(starts.front().copied().unwrap_or((until, 0)))
}

async fn read_batch(mut reader: Reader) -> io::Result<(Reader, Vec<Frame>)> {
    blocking(move || {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH
            && let Some((_, frame)) = reader.next()?
        {
            bytes += frame.payload.len();
            frames.push(frame);
        }
        Ok((reader, frames))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn unreadable(error: io::Error) -> Problem {
    Problem::new(Code::OperationFailed, "cannot read what the job wrote").because(&error)
}
