//! Has mise install the tools that a new VM's workspace names. Whether there are any, and whether the VM can
//! get them from anywhere, the daemon has found out before it made the VM.
//!
//! | | |
//! |---|---|
//! | a shell | in the background, while the shell is used already |
//! | in the background (`-d`) | before `run` returns, and a failure is `run`'s |
//! | one command | never |
//! | `--no-bootstrap` | never |
//!
//! Each way it is a job: it outlives this process, and its output is kept.

use std::collections::BTreeMap;

use banger_proto::api::{AttachToJob, ExecVm, JobView, VmView};
use banger_proto::guest::{ExecExit, JobOutput, JobState, MISE};
use banger_proto::harmless::render_line;
use banger_proto::{Code, exit_code};

use crate::client::Client;
use crate::cmd::Context;
use crate::errors::CliError;
use crate::reference::vm_path;
use crate::session::{self, Ended, Wiring};
use crate::signals::Signals;

/// Has mise say yes to every question, as there is nobody who could (mise's own name for it).
const YES: (&str, &str) = ("MISE_YES", "1");

/// A VM whose workspace names tools.
#[derive(Debug)]
pub(super) struct Bootstrap<'a> {
    context: &'a Context,
    client: &'a Client,
    vm: &'a VmView,
    /// The file that names them.
    file: String,
    /// Who is going to use them.
    user: Option<String>,
}

impl<'a> Bootstrap<'a> {
    /// What is to be installed in `vm` for `user`, if anything is.
    pub(super) fn plan(
        context: &'a Context,
        client: &'a Client,
        vm: &'a VmView,
        user: Option<String>,
    ) -> Option<Self> {
        let file = render_line(vm.workspace.as_ref()?.tools.as_deref()?);
        Some(Self { context, client, vm, file, user })
    }

    /// Begins, and says where to look. What goes wrong is said, and keeps nobody from a shell.
    ///
    /// # Errors
    /// When a signal ends it.
    pub(super) async fn begin(&self, signals: &mut Signals) -> Result<(), CliError> {
        match self.start(signals).await {
            Ok(Some(job)) => {
                let Self { file, vm, .. } = self;
                let text = format!(
                    "mise installs the tools of `{file}`: banger vm job logs -f {} {}",
                    vm.name, job.id
                );
                self.context.ui.note(self.context.ui.dim(&text));
            }
            Ok(None) => {}
            Err(error) if *error.code() == Code::Cancelled => return Err(error),
            Err(error) => error.show(&self.context.ui),
        }
        Ok(())
    }

    /// Does it, and shows on standard error what mise says.
    ///
    /// # Errors
    /// When mise fails, when nobody can tell, and when a signal comes first. The VM runs then, too.
    pub(super) async fn finish(&self, signals: &mut Signals) -> Result<(), CliError> {
        let started = self.start(signals).await.map_err(|error| self.kept(error))?;
        let Some(job) = started else { return Ok(()) };
        let name = &self.vm.name;
        let log = format!("what mise said: banger vm job logs {name} {}", job.id);
        let ended = self.follow(&job, signals).await.map_err(|error| {
            let follow = format!("mise goes on: banger vm job logs -f {name} {}", job.id);
            self.kept(error).hint(follow)
        })?;
        let why = match ended {
            Ended::Exit(ExecExit { code: Some(0), .. }) => return Ok(()),
            Ended::Exit(ExecExit { code: Some(code), .. }) => format!("exit code {code}"),
            Ended::Exit(ExecExit { signal: Some(signal), .. }) => {
                format!("signal {signal} ended it")
            }
            Ended::Exit(_) | Ended::Open | Ended::Detached => "nobody saw how it ended".to_owned(),
        };
        let message =
            format!("mise could not install the tools of `{}` in VM `{name}`: {why}", self.file);
        Err(self.kept(CliError::failure(message)).hint(log))
    }

    /// Starts the job; none where the image has no mise, which is said.
    async fn start(&self, signals: &mut Signals) -> Result<Option<JobView>, CliError> {
        let (yes, value) = YES;
        let request = ExecVm {
            argv: [MISE, "install"].map(str::to_owned).to_vec(),
            env: BTreeMap::from([(yes.to_owned(), value.to_owned())]),
            user: self.user.clone(),
            ..ExecVm::default()
        };
        let path = vm_path(&self.vm.id, "/jobs");
        let job: JobView = signals.race(self.client.post(&path, &request)).await?;
        let missing = Some(exit_code::COMMAND_NOT_FOUND);
        // What never ran has no process.
        if job.pid == 0 && matches!(job.state, JobState::Exited { code, .. } if code == missing) {
            self.context.ui.note(format!(
                "note: `{}` names tools, and image `{}` has no mise to install them; use one that has, \
                 or bring it as ~/.local/bin/mise with [[file_sync]]",
                self.file, self.vm.image
            ));
            return Ok(None);
        }
        Ok(Some(job))
    }

    async fn follow(&self, job: &JobView, signals: &mut Signals) -> Result<Ended, CliError> {
        let asked = AttachToJob { from: Some(JobOutput::Start), no_follow: false, input: false };
        let path = vm_path(&self.vm.id, &format!("/jobs/{}/attach", job.id));
        let session = signals.race(self.client.upgrade(&path, &asked)).await?;
        let wiring = Wiring {
            terminal: false,
            raw: false,
            input: false,
            detachable: true,
            filtered: true,
            aside: true,
        };
        session::run(session, wiring, signals).await
    }

    /// The same failure, with the way to the VM that is there all the same.
    fn kept(&self, error: CliError) -> CliError {
        error.hint(format!("VM `{0}` is running: banger exec {0}", self.vm.name))
    }
}
