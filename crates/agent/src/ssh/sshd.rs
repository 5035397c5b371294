//! The image's own SSH server, one process a connection: `sshd -i` (sshd(8), "inetd mode") with
//! banger's configuration and the key that the host gave this guest.
//!
//! Its first words, the protocol's version, are waited for before the connection is accepted. So
//! a server that cannot start is told as a failure with its reason, and not as a connection that
//! closes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banger_link::framed::FramedError;
use banger_proto::guest::frame::Kind;
use banger_proto::guest::{ExecRequest, SshKeys};
use banger_proto::{Code, Problem};
use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{POSTURE, SshPlaces, account};
use crate::context::Context;
use crate::exec::{Child, Plan, SpawnError, spawn_on_socket, spawn_with_output};
use crate::root::RootDir;
use crate::services::{FromHost, ServiceError, ToHost};

/// Where distributions have it.
const CANDIDATES: [&str; 3] = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"];
/// Where it locks its unprivileged half in; distributions that have it elsewhere ship it.
const LOCK_UP: &str = "/run/sshd";
/// What tells it how sessions begin, where it can ask that at all. It is asked only where root
/// could not get in without: with systemd it makes every session wait for a service manager of the
/// user, which takes longer than all else and is gone again ten seconds after the session.
const PAM_SERVICE: &str = "/etc/pam.d/sshd";
/// Variables that belong to the session and not to the guest.
const OF_THE_SESSION: [&str; 7] = ["HOME", "LOGNAME", "MAIL", "SHELL", "TERM", "USER", "_"];
/// How long it may take to clear away after its connection has ended.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes of its first words, and of its complaint, that are looked at at once.
const SAID: usize = 4 << 10;

/// The path of the image's server.
pub(crate) fn find(root: &RootDir) -> Option<&'static str> {
    CANDIDATES.into_iter().find(|path| root.open(Path::new(path), OFlags::PATH).is_ok())
}

/// A server with one connection.
#[derive(Debug)]
pub(crate) struct Sshd {
    child: Child,
    socket: UnixStream,
    /// What it said before anybody was asked.
    greeting: Vec<u8>,
}

impl Sshd {
    /// Starts the server `program`.
    ///
    /// # Errors
    /// When its files cannot be written, or it ends without having greeted: with what it says is
    /// wrong with its configuration.
    pub(crate) async fn start(
        context: &Arc<Context>,
        program: &str,
        places: &SshPlaces,
        keys: &SshKeys,
    ) -> Result<Self, Problem> {
        let root = context.root.open().map_err(|error| cannot_start(&error))?;
        let config = write_files(&root, places, keys, &context.env())
            .map_err(|error| cannot_start(&error))?;
        drop(root);
        let words = |flag: &str| [program, flag, "-f", &config].map(str::to_owned).to_vec();
        let plan = Plan::make(context, &ExecRequest { argv: words("-i"), ..Default::default() })?;
        let (child, mut socket) = spawn_on_socket(plan).map_err(not_started)?;
        let mut greeting = vec![0; SAID];
        let read = socket.read(&mut greeting).await.map_err(|error| cannot_start(&error))?;
        if read == 0 {
            let check = ExecRequest { argv: words("-t"), ..Default::default() };
            return Err(complain(&check_config(context, &check).await));
        }
        greeting.truncate(read);
        Ok(Self { child, socket, greeting })
    }

    /// Accepts the connection and carries its bytes until the server has said all.
    pub(crate) async fn carry(
        self,
        from_host: &mut FromHost,
        to_host: &mut ToHost,
    ) -> Result<(), ServiceError> {
        let Self { child, mut socket, greeting } = self;
        to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;
        let (mut from_server, mut to_server) = socket.split();
        let asked = async {
            copy(from_host.bytes(), &mut to_server).await?;
            // The client has said all and may still be told something.
            to_server.shutdown().await?;
            std::future::pending::<io::Result<()>>().await
        };
        let answered = async {
            let host = to_host.bytes();
            host.write_all(&greeting).await?;
            host.flush().await?;
            copy(&mut from_server, host).await?;
            host.shutdown().await
        };
        let carried = tokio::select! {
            // A connection that broke in either direction is of no use in the other.
            broke = asked => broke,
            ended = answered => ended,
        };
        // The server sees the end of its input by this, and gives up.
        drop(socket);
        let _ = timeout(GRACE, child.exited()).await;
        Ok(carried.map_err(FramedError::from)?)
    }
}

/// Writes what the server reads, and returns its configuration's path. Done for each connection:
/// what is as it should be is not written again.
fn write_files(
    root: &RootDir,
    places: &SshPlaces,
    keys: &SshKeys,
    env: &BTreeMap<String, String>,
) -> io::Result<String> {
    let dir = &places.dir;
    root.ensure_directory(dir)?;
    // By its own descriptor: a place cannot be given another mode.
    let opened = root.open(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
    rustix::fs::fchmod(opened, Mode::RWXU)?;
    root.ensure_directory(Path::new(LOCK_UP))?;
    root.ensure_file(&dir.join("host_key"), keys.host_key.as_bytes(), 0o600)?;
    let config = dir.join("sshd_config");
    let pam = account::is_locked(root) && root.has(Path::new(PAM_SERVICE));
    let text = render_config(places, pam, env);
    root.ensure_file(&config, text.as_bytes(), 0o600)?;
    Ok(config.to_string_lossy().into_owned())
}

/// The server's configuration (sshd_config(5)).
fn render_config(places: &SshPlaces, pam: bool, env: &BTreeMap<String, String>) -> String {
    let mut text = format!(
        "# Written by banger for every connection.\n\
         HostKey \"{}\"\n\
         AuthorizedKeysFile \"{}\"\n\
         {POSTURE}\
         UsePAM {}\n\
         UseDNS no\n\
         PidFile none\n\
         PrintMotd no\n\
         X11Forwarding no\n\
         AcceptEnv LANG LC_* COLORTERM\n\
         Subsystem sftp internal-sftp\n",
        places.dir.join("host_key").display(),
        places.authorized_keys.display(),
        if pam { "yes" } else { "no" },
    );
    let variables: String = env.iter().filter_map(render_variable).collect();
    if !variables.is_empty() {
        // One line: only the first of its kind counts.
        text.push_str(&format!("SetEnv{variables}\n"));
    }
    text
}

/// A variable of the guest for every session. What the server's quoting cannot express, which
/// differs between its versions, is left out.
fn render_variable((name, value): (&String, &String)) -> Option<String> {
    let plain = |text: &str| !text.contains(['"', '\\']) && !text.contains(char::is_control);
    let own = name.starts_with("SSH_") || OF_THE_SESSION.contains(&name.as_str());
    let named = !name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
    (named && !own && plain(value)).then(|| format!(" \"{name}={value}\""))
}

/// What the server says is wrong with its configuration; nothing where it says nothing.
async fn check_config(context: &Arc<Context>, check: &ExecRequest) -> String {
    let Ok(plan) = Plan::make(context, check) else { return String::new() };
    let Ok((child, mut output)) = spawn_with_output(plan) else { return String::new() };
    let mut said = Vec::new();
    let mut ended = false;
    while !output.is_over() && said.len() < SAID {
        tokio::select! {
            piece = output.next() => said.extend_from_slice(piece),
            _ = child.exited(), if !ended => {
                ended = true;
                output.note_end();
            }
        }
    }
    let _ = timeout(GRACE, child.exited()).await;
    String::from_utf8_lossy(&said).trim().to_owned()
}

fn complain(said: &str) -> Problem {
    let problem =
        Problem::new(Code::OperationFailed, "the image's SSH server ended before it had begun");
    if said.is_empty() { problem } else { problem.cause(said) }
}

fn cannot_start(error: &io::Error) -> Problem {
    Problem::new(Code::OperationFailed, "cannot start the image's SSH server").because(error)
}

fn not_started(error: SpawnError) -> Problem {
    match error {
        SpawnError::System(problem) => problem,
        SpawnError::Program { message, .. } => complain(message.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_lets_in_by_key_only() {
        let env = [
            ("PATH", "/usr/local/cargo/bin:/bin"),
            ("GREETING", "two words # and"),
            ("HOME", "/elsewhere"),
            ("SSH_AUTH_SOCK", "/x"),
            ("QUOTED", "a\"b"),
            ("LINES", "a\nPermitRootLogin yes"),
            ("A B", "c"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let text = render_config(&SshPlaces::default(), false, &env);
        let expected = "\
# Written by banger for every connection.
HostKey \"/run/banger/ssh/host_key\"
AuthorizedKeysFile \"/root/.ssh/authorized_keys\"
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes yes
UsePAM no
UseDNS no
PidFile none
PrintMotd no
X11Forwarding no
AcceptEnv LANG LC_* COLORTERM
Subsystem sftp internal-sftp
SetEnv \"GREETING=two words # and\" \"PATH=/usr/local/cargo/bin:/bin\"
";
        assert_eq!(text, expected);
    }
}
