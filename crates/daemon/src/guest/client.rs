//! Opening services of an agent and reading their replies.

use std::sync::Arc;
use std::time::Duration;

use banger_link::framed::{FrameReader, FrameWriter, FramedError, framed};
use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{
    AgentHello, AttachJob, Configured, Copied, CopyRequest, DiskGrown, ExecRequest, ForwardRequest,
    GitObjectsRequest, GrowDiskRequest, GuestConfig, GuestStats, Health, Hello, Job, KillJob,
    Service, SetClock, ShutdownRequest, StartJob, SurveyRequest, Surveyed, SystemReport,
    UnpackRequest, Unpacked,
};
use banger_proto::{GUEST_GENERATION, Problem};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout_at};

use super::GuestError;
use super::hostile::Bounded;
use super::jobs::{JobSession, collect_jobs};
use super::ports::PortWatch;
use super::streams::{CopySource, ExecSession, HealthWatch, UnpackSink};
use crate::hypervisor::{GuestStream, RunningVm};

/// How long an agent that was reached may take to reply. Replies take milliseconds; configuring
/// mounts disks and starts an init, in software on a busy host.
const REPLY_DEADLINE: Duration = Duration::from_secs(120);

pub(super) type Reader = FrameReader<ReadHalf<GuestStream>>;
pub(super) type Writer = FrameWriter<WriteHalf<GuestStream>>;

/// The agent of one running VM. Each call is a stream of its own, so calls do not wait for each
/// other; a call that is dropped is given up.
///
/// Reaching the agent waits for its first call, however long that takes: it fails at once when
/// the VM ends, and the caller bounds it with [`within`](Self::within) or a deadline of its own.
#[derive(Debug, Clone)]
pub struct GuestClient {
    vm: Arc<dyn RunningVm>,
    deadline: Option<Duration>,
}

impl GuestClient {
    /// The agent of `vm`.
    #[must_use]
    pub fn new(vm: Arc<dyn RunningVm>) -> Self {
        Self { vm, deadline: None }
    }

    /// The same agent, with `deadline` for each call: reaching the agent and having its reply.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self { vm: Arc::clone(&self.vm), deadline: Some(deadline) }
    }

    /// First contact: agrees on a generation of the protocol.
    ///
    /// # Errors
    /// [`GuestError`]; `Protocol` also when the agent insists on a generation unknown here.
    pub async fn hello(&self) -> Result<AgentHello, GuestError> {
        let service = Service::Hello(Hello { generation: GUEST_GENERATION });
        let hello: AgentHello = self.ask(&service).await?;
        if (1..=GUEST_GENERATION).contains(&hello.generation) {
            Ok(hello)
        } else {
            Err(GuestError::Protocol(service.name()))
        }
    }

    /// Gives the guest the configuration of this boot; afterwards commands can run.
    ///
    /// # Errors
    /// [`GuestError`].
    pub async fn configure(&self, config: &GuestConfig) -> Result<Configured, GuestError> {
        self.ask(&Service::Configure(Box::new(config.clone()))).await
    }

    /// Makes a guest that was copied while it ran the VM that `config` describes.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` also by an agent that cannot do it yet.
    pub async fn renew(&self, config: &GuestConfig) -> Result<Configured, GuestError> {
        self.ask(&Service::Renew(Box::new(config.clone()))).await
    }

    /// Sets the clock of a guest that did not run for a while.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` also by an agent that cannot do it yet.
    pub async fn set_clock(&self, request: &SetClock) -> Result<(), GuestError> {
        self.open::<IgnoredAny>(&Service::SetClock(request.clone())).await?;
        Ok(())
    }

    /// How the guest is.
    ///
    /// # Errors
    /// [`GuestError`].
    pub async fn health(&self) -> Result<Health, GuestError> {
        self.ask(&Service::Health).await
    }

    /// What the guest has used.
    ///
    /// # Errors
    /// [`GuestError`].
    pub async fn stats(&self) -> Result<GuestStats, GuestError> {
        self.ask(&Service::Stats).await
    }

    /// What the guest's systemd says; none where it has none or does not answer.
    ///
    /// # Errors
    /// [`GuestError`].
    pub async fn system(&self) -> Result<Option<SystemReport>, GuestError> {
        self.ask(&Service::System).await
    }

    /// How the guest is, now and at every change.
    ///
    /// # Errors
    /// [`GuestError`].
    pub async fn watch(&self) -> Result<HealthWatch, GuestError> {
        let (mut first, reader, writer) = self.open::<Health>(&Service::Watch).await?;
        first.bound();
        Ok(HealthWatch::new(first, reader, writer))
    }

    /// Has the guest use all of a disk that has grown; how large its file system is then.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` also by an agent that cannot do it yet.
    pub async fn grow_disk(&self, request: &GrowDiskRequest) -> Result<DiskGrown, GuestError> {
        self.ask(&Service::GrowDisk(request.clone())).await
    }

    /// Powers the guest off or reboots it, cleanly. The reply says that it has begun.
    ///
    /// # Errors
    /// [`GuestError`].
    pub async fn shutdown(&self, request: &ShutdownRequest) -> Result<(), GuestError> {
        self.open::<IgnoredAny>(&Service::Shutdown(request.clone())).await?;
        Ok(())
    }

    /// Starts a command.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` when there is no such program, user or directory.
    pub async fn exec(&self, request: &ExecRequest) -> Result<ExecSession, GuestError> {
        let service = Service::Exec(Box::new(request.clone()));
        let (started, reader, writer) = self.open(&service).await?;
        Ok(ExecSession { started, stream: reader.into_inner().unsplit(writer.into_inner()) })
    }

    /// Starts a job.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` when there is no such user or directory, or no place for it.
    pub async fn start_job(&self, request: &StartJob) -> Result<Job, GuestError> {
        self.ask(&Service::StartJob(Box::new(request.clone()))).await
    }

    /// The jobs that the guest knows, oldest first.
    ///
    /// # Errors
    /// [`GuestError`]; `Protocol` also when they have no end.
    pub async fn list_jobs(&self) -> Result<Vec<Job>, GuestError> {
        let service = Service::ListJobs;
        let (IgnoredAny, reader, _writer) = self.open(&service).await?;
        let after = self.deadline.unwrap_or(REPLY_DEADLINE);
        let whole = Some((Instant::now() + after, after));
        bounded(service.name(), whole, collect_jobs(service.name(), reader)).await?
    }

    /// Follows a job, or reads what it wrote.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` when there is none of that id.
    pub async fn attach_job(&self, request: &AttachJob) -> Result<JobSession, GuestError> {
        let service = Service::AttachJob(request.clone());
        let (mut job, reader, writer) = self.open::<Job>(&service).await?;
        job.bound();
        Ok(JobSession { job, stream: reader.into_inner().unsplit(writer.into_inner()) })
    }

    /// Sends a signal to a job.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` when there is none of that id, or it has ended.
    pub async fn kill_job(&self, request: &KillJob) -> Result<Job, GuestError> {
        self.ask(&Service::KillJob(request.clone())).await
    }

    /// Begins writing a tree of files.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` when the directory exists.
    pub async fn unpack(
        &self,
        request: &UnpackRequest,
    ) -> Result<UnpackSink<Unpacked>, GuestError> {
        let service = Service::Unpack(request.clone());
        let (IgnoredAny, reader, writer) = self.open(&service).await?;
        Ok(UnpackSink::new(service.name(), reader, writer))
    }

    /// Begins writing files where they are wanted.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` when that cannot be, or by an agent that cannot do it yet.
    pub async fn copy_in(&self, request: &CopyRequest) -> Result<UnpackSink<Copied>, GuestError> {
        let service = Service::CopyIn(request.clone());
        let (IgnoredAny, reader, writer) = self.open(&service).await?;
        Ok(UnpackSink::new(service.name(), reader, writer))
    }

    /// Begins reading files.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` when there are none, or by an agent that cannot do it yet.
    pub async fn copy_out(&self, request: &CopyRequest) -> Result<CopySource<Copied>, GuestError> {
        let service = Service::CopyOut(request.clone());
        let (IgnoredAny, reader, writer) = self.open(&service).await?;
        Ok(CopySource::new(service.name(), reader, writer))
    }

    /// Begins comparing a repository with the list `known`.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` when there is none, or by an agent that cannot do it yet.
    pub async fn survey(
        &self,
        request: &SurveyRequest,
        known: &[u8],
    ) -> Result<CopySource<Surveyed>, GuestError> {
        let service = Service::Survey(request.clone());
        let (IgnoredAny, reader, writer) = self.open(&service).await?;
        let mut source = CopySource::new(service.name(), reader, writer);
        source.tell(known).await?;
        Ok(source)
    }

    /// Begins reading the objects of a repository.
    ///
    /// # Errors
    /// As [`survey`](Self::survey).
    pub async fn git_objects(
        &self,
        request: &GitObjectsRequest,
    ) -> Result<CopySource<Surveyed>, GuestError> {
        let service = Service::GitObjects(request.clone());
        let (IgnoredAny, reader, writer) = self.open(&service).await?;
        Ok(CopySource::new(service.name(), reader, writer))
    }

    /// Connects to the guest's SSH server.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` when there is none, or by an agent that cannot do it yet.
    pub async fn ssh(&self) -> Result<GuestStream, GuestError> {
        let (IgnoredAny, reader, writer) = self.open(&Service::Ssh).await?;
        Ok(reader.into_inner().unsplit(writer.into_inner()))
    }

    /// The ports that programs listen at, now and at every change.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` also by an agent that cannot do it yet.
    pub async fn ports(&self) -> Result<PortWatch, GuestError> {
        let (IgnoredAny, reader, writer) = self.open(&Service::Ports).await?;
        Ok(PortWatch::new(reader, writer))
    }

    /// Connects to a TCP port of the guest. Each direction of the stream has an end of its own.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` with `not_found` when nobody listens there, and by an agent that
    /// cannot do it yet.
    pub async fn forward(&self, port: u16) -> Result<GuestStream, GuestError> {
        let service = Service::Forward(ForwardRequest { port });
        let (IgnoredAny, reader, writer) = self.open(&service).await?;
        Ok(reader.into_inner().unsplit(writer.into_inner()))
    }

    async fn ask<T: DeserializeOwned + Bounded>(&self, service: &Service) -> Result<T, GuestError> {
        let (mut reply, ..) = self.open::<T>(service).await?;
        reply.bound();
        Ok(reply)
    }

    async fn open<T: DeserializeOwned>(
        &self,
        service: &Service,
    ) -> Result<(T, Reader, Writer), GuestError> {
        let name = service.name();
        let whole = self.deadline.map(|after| (Instant::now() + after, after));
        let stream = bounded(name, whole, self.vm.dial())
            .await?
            .map_err(|source| GuestError::Unreachable { service: name, source })?;
        let reply = whole.unwrap_or_else(|| (Instant::now() + REPLY_DEADLINE, REPLY_DEADLINE));
        bounded(name, Some(reply), request(stream, service)).await?
    }
}

async fn bounded<F: Future>(
    service: &'static str,
    deadline: Option<(Instant, Duration)>,
    work: F,
) -> Result<F::Output, GuestError> {
    match deadline {
        Some((at, after)) => {
            timeout_at(at, work).await.map_err(|_| GuestError::Timeout { service, after })
        }
        None => Ok(work.await),
    }
}

async fn request<T: DeserializeOwned>(
    stream: GuestStream,
    service: &Service,
) -> Result<(T, Reader, Writer), GuestError> {
    let name = service.name();
    let (mut reader, mut writer) = framed(stream);
    let sent = writer.send_json(Kind::Open, service).await;
    // An agent that refuses may close the stream before it has read everything.
    let reply = match (receive(&mut reader, Kind::Accepted, name).await, sent) {
        (Err(GuestError::Lost { .. }), Err(error)) => return Err(stream_error(name, error)),
        (reply, _) => reply?,
    };
    Ok((reply, reader, writer))
}

/// The next frame, which must be of `kind`, read as JSON.
pub(super) async fn receive<T: DeserializeOwned>(
    reader: &mut Reader,
    kind: Kind,
    service: &'static str,
) -> Result<T, GuestError> {
    match reader.next().await {
        Ok(Some(frame)) => interpret(&frame, kind, service),
        Ok(None) => Err(GuestError::Lost { service, source: None }),
        Err(error) => Err(stream_error(service, error)),
    }
}

/// Reads a frame that must be of `kind`, or a refusal.
pub(super) fn interpret<T: DeserializeOwned>(
    frame: &Frame,
    kind: Kind,
    service: &'static str,
) -> Result<T, GuestError> {
    let parsed = if frame.kind == Kind::Refused {
        frame.parse::<Problem>().map(|mut problem| {
            problem.bound();
            Err(GuestError::Refused(problem))
        })
    } else if frame.kind == kind {
        frame.parse().map(Ok)
    } else {
        tracing::warn!(service, kind = ?frame.kind, "unexpected frame from the agent");
        return Err(GuestError::Protocol(service));
    };
    parsed.unwrap_or_else(|error| {
        tracing::warn!(service, %error, "malformed frame from the agent");
        Err(GuestError::Protocol(service))
    })
}

/// What a failed stream means: bytes that are no frames are the agent's doing, the rest is not.
pub(super) fn stream_error(service: &'static str, error: FramedError) -> GuestError {
    match error {
        FramedError::Frame(error) => {
            tracing::warn!(service, %error, "malformed frame from the agent");
            GuestError::Protocol(service)
        }
        source @ (FramedError::Io(_) | FramedError::Truncated) => {
            GuestError::Lost { service, source: Some(source) }
        }
    }
}
