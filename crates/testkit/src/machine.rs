//! The machine under the agent of a guest in memory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use banger_agent::{Context, Hosted, Machine, Root, SshPlaces};
use banger_proto::Problem;
use banger_proto::guest::{Configured, GuestConfig, SetClock};
use banger_proto::supervisor::VmmExit;
use tempfile::TempDir;
use tokio::sync::watch;

/// What a test's VM has for a machine: powering it off ends the VMM.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) hosted: Hosted,
    pub(crate) exit: watch::Sender<Option<VmmExit>>,
    pub(crate) stubborn: bool,
    /// Absent for that of this process's system.
    pub(crate) load: Option<Load>,
    /// Where a guest without a root of its own keeps jobs.
    pub(crate) _jobs: Arc<TempDir>,
}

/// What a guest's processors do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    None,
    Full,
}

impl Machine for Guest {
    fn configure(
        &self,
        context: &Arc<Context>,
        config: &GuestConfig,
    ) -> Result<Configured, Problem> {
        self.hosted.configure(context, config)
    }

    fn renew(&self, context: &Arc<Context>, config: &GuestConfig) -> Result<Vec<String>, Problem> {
        self.hosted.renew(context, config)
    }

    fn set_clock(&self, request: &SetClock) -> Result<(), Problem> {
        self.hosted.set_clock(request)
    }

    fn ssh_places(&self) -> Option<SshPlaces> {
        self.hosted.ssh_places()
    }

    fn open_console(&self) -> io::Result<File> {
        self.hosted.open_console()
    }

    fn open_jobs(&self, root: &Root) -> io::Result<OwnedFd> {
        self.hosted.open_jobs(root)
    }

    fn read_cpu_times(&self) -> io::Result<String> {
        // In hundredths of a second.
        let busy = match self.load {
            None => return self.hosted.read_cpu_times(),
            Some(Load::None) => 100,
            Some(Load::Full) => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                now.tv_sec * 100 + now.tv_nsec / 10_000_000
            }
        };
        Ok(format!("cpu  {busy} 0 0 0 0 0 0 0 0 0\ncpu0 {busy} 0 0 0 0 0 0 0 0 0\n"))
    }

    fn grow_disk(&self, serial: &str, bytes: u64) -> Result<u64, Problem> {
        self.hosted.grow_disk(serial, bytes)
    }

    fn power_off(&self, reboot: bool) -> Result<(), Problem> {
        self.hosted.power_off(reboot)?;
        if !self.stubborn {
            let exit =
                VmmExit { code: Some(0), signal: None, killed: false, stderr: String::new() };
            self.exit.send_replace(Some(exit));
        }
        Ok(())
    }
}
