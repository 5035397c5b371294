//! The way from the namespace to what lies beyond the host: pasta, which makes an interface in the
//! namespace and passes on, as this user, what comes from it.
//!
//! It does so only outwards. It gives the namespace no way to the host's loopback address
//! (`--no-map-gw`), takes no ports of the host, and has no part in names and addresses of guests.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::super::privileged::NetworkError;
use super::UserOptions;
use super::record::Namespace;
use crate::exec::Program;
use crate::supervise::identity::ProcessIdentity;
use banger_proto::helper::{OWN_MTU, UPLINK};

/// The program; part of passt.
pub(super) const PASTA: &str = "pasta";
/// How long it may take to make its interface.
const DEADLINE: Duration = Duration::from_secs(20);
/// File in the runtime directory with its process id.
pub(super) const PID_FILE: &str = "uplink.pid";
/// Its log, beside that; it starts anew at 1 MiB.
pub(super) const LOG_FILE: &str = "uplink.log";

/// Ends one that was started and not noted, because the daemon was killed in between, and removes what
/// it has written. There can be one only.
pub(super) async fn remove_leftovers(runtime_dir: &Path) -> io::Result<()> {
    let pid_file = runtime_dir.join(PID_FILE);
    if let Ok(text) = fs_err::read_to_string(&pid_file)
        && let Some(process) = text.trim().parse().ok().and_then(ProcessIdentity::observe)
    {
        let arguments = fs_err::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        // The number may be another process's by now.
        if arguments.any(|argument| argument == pid_file.as_os_str().as_encoded_bytes()) {
            process.end().await?;
        }
    }
    for file in [pid_file, runtime_dir.join(LOG_FILE)] {
        match fs_err::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Opens the way: returns when the interface is there.
pub(super) async fn start(
    options: &UserOptions,
    namespace: &Namespace,
) -> Result<ProcessIdentity, NetworkError> {
    let (pid_file, log) = (options.runtime_dir.join(PID_FILE), options.runtime_dir.join(LOG_FILE));
    remove_leftovers(&options.runtime_dir).await.map_err(NetworkError::Record)?;
    let pid = namespace.holder.pid;
    let mut program = Program::new(&options.env, PASTA)
        .args(["--config-net", "--ipv4-only", "--quiet", "--ns-ifname", UPLINK])
        .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw"])
        // A network of two, which is seen in the namespace only.
        .args(["-a", "10.255.77.2", "-n", "30", "-g", "10.255.77.1"])
        .args(["--mtu".to_owned(), OWN_MTU.to_string()])
        .arg("--pid")
        .arg(&pid_file)
        .arg("--log-file")
        .arg(log)
        .args(["--netns".to_owned(), format!("/proc/{pid}/ns/net")])
        .args(["--userns".to_owned(), format!("/proc/{pid}/ns/user")]);
    // It would become `nobody`, who may not enter what is root's.
    if rustix::process::geteuid().is_root() {
        program = program.args(["--runas", "0"]);
    }
    // It goes to the background once the interface is there.
    program.deadline(DEADLINE).run().await.map_err(NetworkError::Uplink)?;
    let failed = NetworkError::Record;
    let text = fs_err::read_to_string(&pid_file).map_err(failed)?;
    let process = text.trim().parse().ok().and_then(ProcessIdentity::observe);
    fs_err::remove_file(&pid_file).map_err(failed)?;
    process.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_was_not_noted_is_ended_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join(PID_FILE);
        fs_err::write(&pid_file, "").unwrap();
        // A program that has the file among its arguments, as pasta has it, and one that has not.
        let follow = |file: &Path| std::process::Command::new("tail").arg("-f").arg(file).spawn();
        let mut ours = follow(&pid_file).unwrap();
        let mut other = follow(Path::new("/dev/null")).unwrap();
        fs_err::write(dir.path().join(LOG_FILE), "x").unwrap();
        fs_err::write(&pid_file, format!("{}\n", ours.id())).unwrap();
        remove_leftovers(dir.path()).await.unwrap();
        assert!(!ours.wait().unwrap().success());
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
        fs_err::write(&pid_file, format!("{}\n", other.id())).unwrap();
        remove_leftovers(dir.path()).await.unwrap();
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
