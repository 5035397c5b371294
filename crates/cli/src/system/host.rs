//! Programs of the host: the service manager, the users' register, and banger itself as the owner.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use banger_proto::api::{VmList, VmView};
use banger_proto::env;
use tokio::process::Command;
use tokio::time::timeout;

use crate::errors::CliError;
use crate::system::owner::Owner;

/// What programs are looked for in: root's own path may be anything.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// There while systemd is the service manager (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";
/// How long one program may take. A daemon recovers all VMs before it answers, and VMs take a while
/// to stop.
const DEADLINE: Duration = Duration::from_secs(180);
/// Name by which supervisors are known.
const SUPERVISOR: &[u8] = b"banger-supervisor\0";

/// Says why nothing can be installed on this host, if so.
///
/// # Errors
/// When systemd does not run it.
pub(crate) fn check_manager() -> Result<(), CliError> {
    if Path::new(SYSTEMD).is_dir() {
        return Ok(());
    }
    Err(CliError::failure("this host is not run by systemd, which banger's services are made for")
        .hint("without any service: `banger run`, as the user whose VMs they are"))
}

/// Looks up a user by name or number.
///
/// # Errors
/// When there is none, or what is known of them cannot stand in a unit.
pub(super) fn look_up_user(wanted: &str) -> Result<Owner, CliError> {
    // The directory services of a host are known to this program, and not to a static one.
    let found = std::process::Command::new("getent")
        .args(["passwd", "--", wanted])
        .env("PATH", PATH)
        .stderr(Stdio::null())
        .output()
        .map_err(|error| CliError::failure("cannot run `getent`").because(&error))?;
    let text = String::from_utf8_lossy(&found.stdout);
    let Some(line) = text.lines().next().filter(|_| found.status.success()) else {
        return Err(CliError::failure(format!("there is no user `{wanted}`")));
    };
    Owner::parse(line)
        .map_err(|why| CliError::failure(format!("user `{wanted}` cannot be the owner: {why}")))
}

/// Asks the service manager for something.
///
/// # Errors
/// When it fails, with what it said.
pub(crate) async fn systemctl(args: &[&str]) -> Result<String, CliError> {
    run("systemctl", args).await
}

/// Makes directories and files as `file` in `tmpfiles.d` says.
///
/// # Errors
/// When it fails, with what it said.
pub(super) async fn create_temporary_files(file: &Path) -> Result<(), CliError> {
    let file = file.to_string_lossy();
    run("systemd-tmpfiles", &["--create", &file]).await.map(drop)
}

async fn run(program: &str, args: &[&str]) -> Result<String, CliError> {
    let mut command = Command::new(program);
    command.args(args).env("PATH", PATH);
    let shown = format!("{program} {}", args.join(" "));
    finish(command, &shown).await
}

async fn finish(mut command: Command, shown: &str) -> Result<String, CliError> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let failed = || CliError::failure(format!("`{shown}` failed"));
    let Ok(ended) = timeout(DEADLINE, command.output()).await else {
        return Err(CliError::failure(format!(
            "`{shown}` has not ended in {} s",
            DEADLINE.as_secs()
        )));
    };
    let Output { status, stdout, stderr } = ended.map_err(|error| failed().because(&error))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr);
    let said = match said.trim() {
        "" => status.to_string(),
        said => said.to_owned(),
    };
    Err(failed().because(&io::Error::other(said)))
}

/// How banger is run as its owner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsOwner<'a> {
    /// The program.
    pub(crate) banger: &'a Path,
    /// The owner.
    pub(crate) owner: &'a Owner,
}

impl AsOwner<'_> {
    /// Runs banger with nothing of root's: not the rights, not the environment.
    async fn run(&self, runtime_dir: Option<&Path>, args: &[&str]) -> Result<String, CliError> {
        let Owner { name, uid, gid, home } = self.owner;
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={uid}"))
            .arg(format!("--regid={gid}"))
            .args(["--init-groups", "--inh-caps=-all", "--no-new-privs", "--"])
            .arg(self.banger)
            .args(args)
            .env_clear()
            .env(env::PATH, PATH)
            .env(env::HOME, home)
            .envs([("USER", name), ("LOGNAME", name)])
            .envs(runtime_dir.map(|dir| (OsStr::new(env::XDG_RUNTIME_DIR), dir)))
            .current_dir("/");
        finish(command, &format!("banger {} (as `{name}`)", args.join(" "))).await
    }
}

/// Whether the daemon of the service answers its owner. That starts it, if it does not run.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn check_daemon(owner: AsOwner<'_>) -> Result<(), CliError> {
    owner.run(None, &["daemon", "status", "--json"]).await.map(drop)
}

/// Ends the daemon that the owner has without any service, wherever its socket is.
///
/// # Errors
/// When it does not end.
pub(crate) async fn stop_own_daemon(owner: AsOwner<'_>) -> Result<(), CliError> {
    let session = format!("/run/user/{}", owner.owner.uid);
    let session = Some(Path::new(&session)).filter(|dir| dir.is_dir());
    for runtime_dir in std::iter::once(None).chain(session.map(Some)) {
        owner.run(runtime_dir, &["daemon", "stop"]).await?;
    }
    Ok(())
}

/// The VMs of the service that run.
///
/// # Errors
/// When the daemon does not tell.
pub(crate) async fn list_running(owner: AsOwner<'_>) -> Result<Vec<VmView>, CliError> {
    let said = owner.run(None, &["ps", "--json"]).await?;
    let list: VmList = serde_json::from_str(&said).map_err(|error| {
        CliError::failure("the list of VMs is not what this program understands").because(&error)
    })?;
    Ok(list.vms)
}

/// Stops VMs, all at once.
///
/// # Errors
/// When one does not stop.
pub(crate) async fn stop_vms(owner: AsOwner<'_>, vms: &[VmView]) -> Result<(), CliError> {
    if vms.is_empty() {
        return Ok(());
    }
    let ids = vms.iter().map(|vm| vm.id.as_str());
    let args: Vec<&str> = ["vm", "stop"].into_iter().chain(ids).collect();
    owner.run(None, &args).await.map(drop)
}

/// How many VMs of the user run, looked at from outside: no daemon has to run for that.
///
/// # Errors
/// When the processes cannot be listed.
pub(crate) fn count_supervisors(uid: u32) -> Result<usize, CliError> {
    let entries = std::fs::read_dir("/proc")
        .map_err(|error| CliError::failure("cannot look at the processes").because(&error))?;
    let is_supervisor = |dir: &Path| {
        // One that ends meanwhile is none.
        std::fs::metadata(dir).is_ok_and(|metadata| metadata.uid() == uid)
            && std::fs::read(dir.join("cmdline")).is_ok_and(|line| line.starts_with(SUPERVISOR))
    };
    Ok(entries.flatten().filter(|entry| is_supervisor(&entry.path())).count())
}
