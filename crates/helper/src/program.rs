//! Programs of the host that the helper starts: found in folders of the system's only, without anything of
//! the caller's environment.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Where programs are looked for. Whoever starts the helper has no say in it.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Most of what a program says that is passed on, bytes.
const SAID: usize = 1 << 10;

/// A program that is started.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// What it is called.
    pub name: &'static str,
    /// What has it.
    pub package: &'static str,
    /// How long it may take; without, whoever asks the helper has a deadline of its own.
    pub deadline: Option<Duration>,
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not installed.
    #[error(
        "program `{name}` is missing in {}: install the package {package}",
        FOLDERS.join(", ")
    )]
    Missing {
        /// The program.
        name: &'static str,
        /// What has it.
        package: &'static str,
    },
    /// It could not be started or spoken to.
    #[error("cannot run `{}`", .0.display())]
    Run(PathBuf, #[source] io::Error),
    /// It took too long, and was killed.
    #[error("`{0}` did not end within {1} s")]
    Late(&'static str, u64),
    /// It ended with an error.
    #[error("`{name}` failed with {status}: {said}")]
    Failed {
        /// The program.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last of what it said.
        said: String,
    },
}

impl Program {
    /// Runs it with `arguments`, and `input` to read.
    ///
    /// # Errors
    ///
    /// It is missing, fails, or takes too long.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<Output, ProgramError> {
        let Self { name, package, deadline } = *self;
        let path = FOLDERS
            .iter()
            .map(|folder| PathBuf::from(folder).join(name))
            .find(|path| path.is_file())
            .ok_or(ProgramError::Missing { name, package })?;
        let failed = |error| ProgramError::Run(path.clone(), error);
        let mut child = Command::new(&path)
            .args(arguments)
            .env_clear()
            .env("PATH", FOLDERS.join(":"))
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let written = match child.stdin.take() {
            // It reads everything before it says anything, so this cannot wait for each other.
            Some(mut stdin) => stdin.write_all(input.as_bytes()),
            None => Ok(()),
        };
        if let Some(deadline) = deadline
            && !wait(&mut child, deadline).map_err(failed)?
        {
            return Err(ProgramError::Late(name, deadline.as_secs()));
        }
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            let said = last(&output.stderr);
            return Err(ProgramError::Failed { name, status: output.status, said });
        }
        // One that has ended well and did not want all of it would have done less.
        written.map_err(failed)?;
        Ok(output)
    }
}

/// Waits until the child has ended; one that takes longer than `deadline` is killed, and the answer is no.
/// What it says meanwhile fits into its pipes, or it does not end.
fn wait(child: &mut Child, deadline: Duration) -> io::Result<bool> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let timeout = Timespec::try_from(deadline).map_err(|_| Errno::INVAL)?;
    let ended =
        retry_on_intr(|| poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)))?;
    if ended == 0 {
        child.kill()?;
        child.wait()?;
    }
    Ok(ended > 0)
}

fn last(said: &[u8]) -> String {
    let tail = &said[said.len().saturating_sub(SAID)..];
    String::from_utf8_lossy(tail).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &'static str) -> Program {
        Program { name, package: "coreutils", deadline: Some(Duration::from_secs(60)) }
    }

    #[test]
    fn what_a_program_says_and_how_it_ends() {
        assert_eq!(program("cat").run(&[], "given").unwrap().stdout, b"given");
        let error = program("ls").run(&["/nowhere"], "").unwrap_err().to_string();
        assert!(error.starts_with("`ls` failed with exit status: 2: "), "{error}");
        assert!(error.contains("/nowhere"), "{error}");
        let error = program("no-such-program").run(&[], "").unwrap_err().to_string();
        assert!(error.ends_with("/sbin, /bin: install the package coreutils"), "{error}");
        let environment = program("env").run(&[], "").unwrap().stdout;
        let environment = String::from_utf8(environment).unwrap();
        let mut environment: Vec<_> = environment.lines().collect();
        environment.sort_unstable();
        assert_eq!(environment, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    }

    #[test]
    fn one_that_does_not_end_is_ended() {
        let late = Program { deadline: Some(Duration::ZERO), ..program("sleep") };
        let error = late.run(&["infinity"], "").unwrap_err();
        assert!(matches!(error, ProgramError::Late("sleep", 0)), "{error}");
    }
}
