//! A machine that is not one, for tests and fakes: commands run on the system that the process is
//! on, and what else is asked for is recorded.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use banger_proto::Problem;
use banger_proto::guest::{Configured, GuestConfig, InitKind, InitState, SetClock};

use crate::context::{Context, Machine};
use crate::jobs;
use crate::root::Root;
use crate::ssh::SshPlaces;

/// A machine that is not one: it records what it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Hosted {
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, Default)]
struct Record {
    configured: Option<GuestConfig>,
    refusal: Option<Problem>,
    renewed: Vec<GuestConfig>,
    clock_set: Vec<SetClock>,
    grown: Vec<u64>,
    power_off: Option<bool>,
    console: Option<File>,
    ssh_places: Option<SshPlaces>,
    own_program: Option<String>,
    jobs: Option<PathBuf>,
}

impl Hosted {
    /// A machine whose next configuration fails with this problem.
    #[must_use]
    pub fn refusing(problem: Problem) -> Self {
        let hosted = Self::default();
        hosted.record().refusal = Some(problem);
        hosted
    }

    /// The same machine with this console.
    #[must_use]
    pub fn with_console(self, console: File) -> Self {
        self.record().console = Some(console);
        self
    }

    /// The same machine with these places for SSH.
    #[must_use]
    pub fn with_ssh_places(self, places: SshPlaces) -> Self {
        self.record().ssh_places = Some(places);
        self
    }

    /// The same machine with this agent's program: a test's own is no agent.
    #[must_use]
    pub fn with_own_program(self, path: &str) -> Self {
        self.record().own_program = Some(path.to_owned());
        self
    }

    /// The same machine with this directory for its jobs; without, a guest that is not in a
    /// directory of its own has none.
    #[must_use]
    pub fn with_jobs(self, directory: PathBuf) -> Self {
        self.record().jobs = Some(directory);
        self
    }

    /// The configuration it got.
    #[must_use]
    pub fn configured(&self) -> Option<GuestConfig> {
        self.record().configured.clone()
    }

    /// What VMs it became after it was configured, in order.
    #[must_use]
    pub fn renewed(&self) -> Vec<GuestConfig> {
        self.record().renewed.clone()
    }

    /// What its clock was set with, in order.
    #[must_use]
    pub fn clock_set(&self) -> Vec<SetClock> {
        self.record().clock_set.clone()
    }

    /// Sizes in bytes that its disk was grown to, in order.
    #[must_use]
    pub fn grown(&self) -> Vec<u64> {
        self.record().grown.clone()
    }

    /// Whether it was told to end, and then whether to boot again.
    #[must_use]
    pub fn powered_off(&self) -> Option<bool> {
        self.record().power_off
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine for Hosted {
    fn configure(
        &self,
        context: &Arc<Context>,
        config: &GuestConfig,
    ) -> Result<Configured, Problem> {
        if let Some(problem) = self.record().refusal.take() {
            return Err(problem);
        }
        self.record().configured = Some(config.clone());
        context.set_progress(InitKind::Agent, InitState::Running);
        Ok(Configured { init: InitKind::Agent, service: None, warnings: Vec::new() })
    }

    fn renew(&self, _context: &Arc<Context>, config: &GuestConfig) -> Result<Vec<String>, Problem> {
        self.record().renewed.push(config.clone());
        Ok(Vec::new())
    }

    fn set_clock(&self, request: &SetClock) -> Result<(), Problem> {
        self.record().clock_set.push(request.clone());
        Ok(())
    }

    fn open_console(&self) -> io::Result<File> {
        match &self.record().console {
            Some(console) => console.try_clone(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn ssh_places(&self) -> Option<SshPlaces> {
        self.record().ssh_places.clone()
    }

    fn own_program(&self) -> String {
        self.record().own_program.clone().unwrap_or_default()
    }

    fn open_jobs(&self, root: &Root) -> io::Result<OwnedFd> {
        let own = self.record().jobs.clone();
        match own {
            Some(directory) => Root::Directory(directory).open()?.directory(Path::new("/")),
            None if root.is_foreign() => root.open()?.ensure_directory(Path::new(jobs::DIRECTORY)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn grow_disk(&self, _serial: &str, bytes: u64) -> Result<u64, Problem> {
        self.record().grown.push(bytes);
        Ok(bytes)
    }

    fn power_off(&self, reboot: bool) -> Result<(), Problem> {
        self.record().power_off = Some(reboot);
        Ok(())
    }
}
