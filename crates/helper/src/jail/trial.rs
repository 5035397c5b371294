//! What of the jail this host lets be, found out by making one in which nothing is executed.

use std::io::{self, BufRead, BufReader, PipeReader};

use banger_proto::jail::{JailReport, JailSpec, Wall};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::report::Report;
use super::{Side, raise};
use crate::sys::fork_child;

/// Makes a jail and lets it go; tells which walls it was without, and why. This process must have one
/// thread, and stays as it is.
///
/// # Errors
///
/// It cannot be tried, or is no jail at all.
pub fn try_out() -> io::Result<Vec<(Wall, String)>> {
    let (read, write) = io::pipe()?;
    let Some(starter) = fork_child()? else {
        drop(read);
        let spec = JailSpec { offline: true, ..JailSpec::default() };
        let code = match raise(&spec, None, &Report::on(write)) {
            Ok(Side::Vmm | Side::Starter) => 0,
            Err(error) => {
                eprintln!("banger-helper: {}", super::told(&error));
                1
            }
        };
        std::process::exit(code);
    };
    drop(write);
    let reports = listen(read);
    let mut missing = Vec::new();
    let mut processes = vec![(starter, true)];
    for report in reports? {
        match report {
            JailReport::Started { vmm, init } => {
                processes.extend((vmm != starter).then_some((vmm, true)));
                processes.extend(init.map(|init| (init, false)));
            }
            JailReport::Without { wall, reason } => missing.push((wall, reason)),
        }
    }
    let mut raised = true;
    // The first of a namespace is done with last, once nobody else is in it.
    for (process, ends) in processes {
        let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { continue };
        if !ends {
            kill_process(pid, Signal::KILL)?;
        }
        let ended = waitpid(Some(pid), WaitOptions::empty())?;
        raised &= !ends || ended.is_some_and(|(_, status)| status.exit_status() == Some(0));
    }
    if raised { Ok(missing) } else { Err(io::Error::other("the jail is broken")) }
}

/// What is said until nobody is left to say anything.
fn listen(pipe: PipeReader) -> io::Result<Vec<JailReport>> {
    BufReader::new(pipe).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}
