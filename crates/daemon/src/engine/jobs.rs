//! Jobs of a VM: commands that the guest's agent owns and that outlive everything but the VM. The
//! daemon keeps nothing of them: it asks.

use banger_proto::api::{AttachToJob, ExecVm, JobView};
use banger_proto::guest::{AttachJob, Job, JobOutput, KillJob, StartJob};
use banger_proto::{Code, JobId, Problem, VmName};
use jiff::Timestamp;

use super::{Engine, START_DEADLINE};
use crate::guest::{GuestClient, GuestError, JobSession};
use crate::vm::program;
use crate::vm::uses::Use;

/// The signal that ends a job when nobody said: `SIGTERM`.
const TERM: u8 = 15;
/// Characters of a reference that may stand for an id.
const PREFIX: std::ops::RangeInclusive<usize> = 1..=banger_proto::id::ID_LEN;

/// A job that is followed.
#[derive(Debug)]
pub struct Attachment {
    /// Its stream.
    pub session: JobSession,
    /// What keeps its VM in use.
    pub in_use: Use,
}

impl Engine {
    /// Starts a job in a VM.
    ///
    /// # Errors
    /// As [`exec`](Self::exec), and when the guest has no place to keep its output.
    pub async fn start_job(&self, reference: &str, asked: ExecVm) -> Result<JobView, Problem> {
        let (record, vmm, _in_use) = self.use_awake(reference).await?;
        let command = program::plan_exec(asked, &record)?;
        let id = new_id()?;
        let request = StartJob { id: id.clone(), command };
        let guest = GuestClient::new(vmm).within(START_DEADLINE);
        let job = guest.start_job(&request).await;
        let job = job.map_err(|error| match error {
            GuestError::Refused(problem) if problem.code != Code::UnknownMethod => {
                program::explain_refusal(problem, &request.command, &record)
            }
            error => explain(&record.plan.name, error),
        })?;
        // Whatever it is called there, it is asked for by this.
        Ok(view(Job { id, ..job }))
    }

    /// The jobs of a VM that its guest knows, oldest first.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM does not run, or its agent does not answer.
    pub async fn jobs(&self, reference: &str) -> Result<Vec<JobView>, Problem> {
        let (record, guest) = self.guest(reference)?;
        let jobs = guest.within(START_DEADLINE).list_jobs().await;
        let jobs = jobs.map_err(|error| explain(&record.plan.name, error))?;
        Ok(jobs.into_iter().map(view).collect())
    }

    /// One job of a VM.
    ///
    /// # Errors
    /// As [`jobs`](Self::jobs), and when `job` means none or several.
    pub async fn job(&self, reference: &str, job: &str) -> Result<JobView, Problem> {
        resolve(self.jobs(reference).await?, reference, job)
    }

    /// Follows a job of a VM, or reads what it wrote.
    ///
    /// # Errors
    /// As [`job`](Self::job), and when somebody else has its input.
    pub async fn attach_job(
        &self,
        reference: &str,
        job: &str,
        asked: &AttachToJob,
    ) -> Result<Attachment, Problem> {
        // First: one that sleeps does not tell which jobs it has.
        let (record, vmm, in_use) = self.use_awake(reference).await?;
        let id = self.job_id(reference, job).await?;
        let request = AttachJob {
            id,
            from: asked.from.unwrap_or(JobOutput::Now),
            follow: !asked.no_follow,
            input: asked.input,
        };
        let guest = GuestClient::new(vmm).within(START_DEADLINE);
        let session = guest.attach_job(&request).await;
        let session = session.map_err(|error| explain(&record.plan.name, error))?;
        Ok(Attachment { session, in_use })
    }

    /// Sends a signal to a job of a VM, `SIGTERM` where none is named; returns it as it was.
    ///
    /// # Errors
    /// As [`job`](Self::job), and when it does not run any more or there is no such signal.
    pub async fn kill_job(
        &self,
        reference: &str,
        job: &str,
        signal: Option<u8>,
    ) -> Result<JobView, Problem> {
        let id = self.job_id(reference, job).await?;
        let (record, guest) = self.guest(reference)?;
        let request = KillJob { id: id.clone(), signal: signal.unwrap_or(TERM) };
        let job = guest.within(START_DEADLINE).kill_job(&request).await;
        let job = job.map_err(|error| explain(&record.plan.name, error))?;
        Ok(view(Job { id, ..job }))
    }

    /// The id that `job` means: a whole one needs no list.
    async fn job_id(&self, reference: &str, job: &str) -> Result<JobId, Problem> {
        match job.parse() {
            Ok(id) => Ok(id),
            Err(_) => Ok(self.job(reference, job).await?.id),
        }
    }
}

/// The job that `wanted`, an id or its beginning, means.
fn resolve(jobs: Vec<JobView>, vm: &str, wanted: &str) -> Result<JobView, Problem> {
    let prefix = PREFIX.contains(&wanted.len());
    let mut found = jobs.into_iter().filter(|job| prefix && job.id.as_str().starts_with(wanted));
    let hint = format!("its jobs: banger vm jobs {vm}");
    match (found.next(), found.next()) {
        (Some(job), None) => Ok(job),
        (None, _) => {
            let message = format!("VM `{vm}` has no job `{wanted}`");
            Err(Problem::new(Code::NotFound, message).hint(hint))
        }
        (Some(_), Some(_)) => {
            let message = format!("`{wanted}` means several jobs of VM `{vm}`");
            Err(Problem::new(Code::BadRequest, message).hint(hint))
        }
    }
}

fn new_id() -> Result<JobId, Problem> {
    let mut random = [0; banger_proto::id::ID_LEN / 2];
    getrandom::fill(&mut random)
        .map_err(|error| Problem::from_error(Code::OperationFailed, &error))?;
    Ok(JobId::from_random(random))
}

fn view(job: Job) -> JobView {
    let time = |ms: u64| {
        let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        // A guest's clock may say anything.
        time.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
    };
    JobView {
        id: job.id,
        state: job.state,
        command: job.argv,
        terminal: job.terminal,
        input: job.input,
        pid: job.pid,
        started_at: time(job.started_unix_ms),
        ended_at: job.ended_unix_ms.map(time),
    }
}

fn explain(vm: &VmName, error: GuestError) -> Problem {
    match error {
        GuestError::Refused(problem) if problem.code == Code::UnknownMethod => {
            let message = format!("the agent of VM `{vm}` is too old for jobs");
            Problem::new(Code::Conflict, message)
                .hint(format!("it gets a new one when it starts: banger vm restart {vm}"))
        }
        GuestError::Refused(problem) if problem.code == Code::NotFound => {
            problem.hint(format!("its jobs: banger vm jobs {vm}"))
        }
        GuestError::Refused(problem) => problem,
        error => {
            let message = format!("cannot ask VM `{vm}` about its jobs");
            Problem::new(Code::OperationFailed, message)
                .because(&error)
                .hint(format!("how it is: banger vm show {vm}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::guest::JobState;

    use super::*;

    fn job(random: [u8; 6]) -> JobView {
        view(Job {
            id: JobId::from_random(random),
            argv: Vec::new(),
            terminal: false,
            input: false,
            pid: 1,
            state: JobState::Running,
            started_unix_ms: u64::MAX,
            ended_unix_ms: Some(1500),
        })
    }

    #[test]
    fn a_beginning_that_one_job_has_means_it() {
        let jobs = || vec![job([0xab; 6]), job([0xac; 6]), job([0xcd; 6])];
        let found = |wanted| resolve(jobs(), "web", wanted);
        assert_eq!(found("c").unwrap().id.as_str(), "cdcdcdcdcdcd");
        assert_eq!(found("abababababab").unwrap(), jobs()[0]);
        assert_eq!(found("a").unwrap_err().code, Code::BadRequest);
        for none in ["", "f", "abababababab0"] {
            assert_eq!(found(none).unwrap_err().code, Code::NotFound, "{none}");
        }
    }

    #[test]
    fn a_clock_that_is_out_of_its_mind_is_shown_as_none() {
        let job = job([1; 6]);
        assert_eq!(job.started_at, "1970-01-01T00:00:00Z");
        assert_eq!(job.ended_at.as_deref(), Some("1970-01-01T00:00:01.5Z"));
    }
}
