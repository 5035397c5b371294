//! The pipes of a job's output when the agent that read them was killed.
//!
//! ```text
//!   job ── fd 1, for reading and writing ──▶ pipe ──▶ agent
//!                                              └────▶ the next agent, by /proc/PID/fd
//! ```
//!
//! The job's own end is a reader, too. So the pipe has one for as long as the job lives: what is
//! in it stays, a full one makes the job wait, and writing is never a mistake that kills it. The
//! next agent opens the pipe once more through the job's process (proc_pid_fd(5)), and knows it
//! by its number.

use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::exec::Stream;

/// The numbers of a job's two pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pipes {
    stdout: u64,
    stderr: u64,
}

impl Pipes {
    /// Those that these are the agent's ends of; none when that cannot be told.
    pub(super) fn of(stdout: &Stream, stderr: &Stream) -> Option<Self> {
        Some(Self { stdout: stdout.inode()?, stderr: stderr.inode()? })
    }

    /// Opens them through the process `pid`, as (standard output, standard error): each of them
    /// only where that process has it still.
    pub(super) fn reopen(self, pid: u32) -> (Option<Stream>, Option<Stream>) {
        (find(pid, self.stdout), find(pid, self.stderr))
    }
}

/// Looks for the pipe among all files of the process: a shell in the middle of `>&2` has its own
/// output at another number.
fn find(pid: u32, inode: u64) -> Option<Stream> {
    let link = format!("pipe:[{inode}]");
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    files.flatten().find_map(|file| {
        // Looked at first: opening some files does something.
        let found = std::fs::read_link(file.path()).is_ok_and(|to| to == Path::new(&link));
        if found { open(&file.path(), inode) } else { None }
    })
}

fn open(path: &Path, inode: u64) -> Option<Stream> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let pipe = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    // The process may have put another file there meanwhile.
    let stat = rustix::fs::fstat(&pipe).ok()?;
    let same = FileType::from_raw_mode(stat.st_mode).is_fifo() && stat.st_ino == inode;
    if same { Stream::new(pipe).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use banger_proto::guest::ExecRequest;
    use rustix::fs::CWD;
    use rustix::process::Signal;
    use tokio::time::timeout;

    use super::*;
    use crate::context::Context;
    use crate::exec::{Output, Plan, Running, spawn_lasting};
    use crate::hosted::Hosted;

    async fn within<T>(work: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(60), work).await.expect("it hangs")
    }

    async fn piece(stream: Option<Stream>) -> String {
        let mut output = Output::new(stream);
        String::from_utf8(within(output.next()).await.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_nobody_reads_waits_for_the_next_agent() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = |name: &str| {
            let path = dir.path().join(name);
            rustix::fs::mkfifoat(CWD, &path, Mode::RWXU).unwrap();
            path
        };
        let (gate, done) = (fifo("gate"), fifo("done"));
        let script = "echo one; read line <\"$1\"; echo two; echo oops >&2; : >\"$2\"; sleep 1000";
        let argv = ["sh", "-c", script, "sh", gate.to_str().unwrap(), done.to_str().unwrap()];
        let request = ExecRequest { argv: argv.map(str::to_owned).to_vec(), ..Default::default() };
        let plan = Plan::make(&Context::hosted(Hosted::default()), &request).unwrap();
        let Running { child, stdout, stderr, .. } = spawn_lasting(plan, None, false).unwrap();
        let pipes = Pipes::of(&stdout, stderr.as_ref().unwrap()).unwrap();
        // The agent reads this, and is killed: what it had is closed.
        assert_eq!(piece(Some(stdout)).await, "one\n");
        drop(stderr);

        let written = tokio::task::spawn_blocking(move || {
            std::fs::write(gate, "go\n")?;
            // Opens when the job has written all.
            std::fs::read(done)
        });
        within(written).await.unwrap().unwrap();
        let (out, err) = pipes.reopen(child.pid());
        assert_eq!([piece(out.clone()).await, piece(err).await], ["two\n", "oops\n"]);

        child.signal_group(Signal::KILL);
        assert_eq!(piece(out).await, "", "with the job, its output ends");
        within(child.exited()).await.unwrap();
        assert!(matches!(pipes.reopen(child.pid()), (None, None)));
    }
}
