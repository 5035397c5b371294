//! Builds outside of the daemon's service.
//!
//! Making an image takes user namespaces with several users in them, for which a setuid program
//! (`newuidmap`) is needed. The daemon's service may have neither. So there is another service, which the
//! service manager starts for each connection to its socket, as the same owner, and which does nothing
//! but run one program for whoever is at the other end. The daemon does not notice: what it runs is
//! [`ask`], which stands for the program until that has ended.
//!
//! One line of JSON, the [`Request`], is answered by lines of JSON, each a [`Reply`]. When the connection
//! ends, so does the program.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use banger_proto::exit_code;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Uid, geteuid};
use serde::{Deserialize, Serialize};

use crate::errors::CliError;

/// Longest request, bytes: words and paths.
const MAX_REQUEST: u64 = 1 << 20;

/// A program to run.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Request {
    /// Itself and its arguments.
    words: Vec<String>,
    /// Where.
    directory: PathBuf,
    /// Its whole environment.
    variables: BTreeMap<String, String>,
}

/// What is told of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// A line that it wrote on standard error.
    Said(String),
    /// It has ended, with this code as a shell has it. Nothing follows.
    Ended(u8),
}

/// Runs what is asked for on standard input, a connected socket; the program of that service.
pub(crate) fn serve() -> ExitCode {
    let served = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let served = served.and_then(|client| answer(client, geteuid()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may read it any more, which is no reason to panic.
            let _ = writeln!(io::stderr(), "banger: {error}");
            ExitCode::from(exit_code::FAILURE)
        }
    }
}

/// The directory lets nobody but `owner` near the socket; should somebody be handed a way past it, this is
/// what stands between them and running programs as the owner.
fn answer(client: UnixStream, owner: Uid) -> io::Result<()> {
    let peer = socket_peercred(&client)?.uid;
    if peer != owner {
        return Err(io::Error::other(format!("refused user {}", peer.as_raw())));
    }
    run(client)
}

/// Runs what is asked for at the other end.
fn run(mut client: UnixStream) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(client.try_clone()?);
    reader.by_ref().take(MAX_REQUEST).read_line(&mut line)?;
    let Request { words, directory, variables } = serde_json::from_str(&line)?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(io::Error::other("no program is asked for"));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start `{program}`: {error}")))
        .or_else(|error| {
            tell(&mut client, &Reply::Said(error.to_string()))?;
            tell(&mut client, &Reply::Ended(exit_code::COMMAND_NOT_FOUND))?;
            Err(error)
        })?;
    std::thread::spawn(move || {
        // Nothing more comes: this is how the other end's going away shows. Whatever is left of the
        // program then is ended by the service manager, with the service.
        let _ = reader.read(&mut [0]);
        std::process::exit(exit_code::FAILURE.into());
    });
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            tell(&mut client, &Reply::Said(String::from_utf8_lossy(&line?).into_owned()))?;
        }
    }
    let status = child.wait()?;
    let signal = status.signal().and_then(|signal| u8::try_from(signal).ok()).unwrap_or(0);
    let by_signal = exit_code::SIGNAL_BASE.saturating_add(signal);
    let code = status.code().map_or(by_signal, |code| u8::try_from(code).unwrap_or(u8::MAX));
    tell(&mut client, &Reply::Ended(code))
}

fn tell(client: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    client.write_all(&line)
}

/// Has `words` run by the service that listens at `socket`, and stands for it: says on standard error
/// what it says, and returns its exit code.
///
/// # Errors
/// When the service cannot be asked, or ends before the program has.
pub(crate) fn ask(
    socket: &Path,
    words: Vec<String>,
    directory: PathBuf,
    variables: BTreeMap<String, String>,
) -> Result<u8, CliError> {
    let failed = |error: &dyn std::error::Error| {
        CliError::failure(format!("cannot build through `{}`", socket.display()))
            .because(error)
            .hint("what the service says: `journalctl -u 'banger-build@*'`")
    };
    let mut stream = UnixStream::connect(socket).map_err(|error| failed(&error))?;
    let mut request = serde_json::to_vec(&Request { words, directory, variables })
        .map_err(|error| failed(&error))?;
    request.push(b'\n');
    stream.write_all(&request).map_err(|error| failed(&error))?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(|error| failed(&error))?;
        match serde_json::from_str(&line).map_err(|error| failed(&error))? {
            // Whoever listens may have gone, and ends this process, too.
            Reply::Said(said) => drop(writeln!(io::stderr().lock(), "{said}")),
            Reply::Ended(code) => return Ok(code),
        }
    }
    Err(failed(&io::Error::from(io::ErrorKind::UnexpectedEof)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> (Vec<Reply>, io::Result<()>) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let request = Request {
            words: words.iter().map(ToString::to_string).collect(),
            directory: "/".into(),
            variables: [("PATH", "/usr/bin:/bin"), ("A", "1 2")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let mut line = serde_json::to_vec(&request).unwrap();
        line.push(b'\n');
        ours.write_all(&line).unwrap();
        let served = std::thread::spawn(|| answer(theirs, geteuid()));
        // Until the word that is the last.
        let mut replies = Vec::new();
        for line in BufReader::new(&ours).lines() {
            replies.push(serde_json::from_str(&line.unwrap()).unwrap());
            if matches!(replies.last(), Some(Reply::Ended(_))) {
                break;
            }
        }
        let served = served.join().unwrap();
        // Kept open: its end would end this process, as it does the service.
        std::mem::forget(ours);
        (replies, served)
    }

    #[test]
    fn tells_what_a_program_says_and_how_it_ends() {
        let (told, served) = run(&["sh", "-c", "echo \"$A in $PWD\" >&2; echo unheard; exit 3"]);
        assert_eq!(told, [Reply::Said("1 2 in /".to_owned()), Reply::Ended(3)]);
        served.unwrap();
        let (told, _) = run(&["sh", "-c", "kill -9 $$"]);
        assert_eq!(told, [Reply::Ended(137)]);
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let (told, served) = run(&["no-such-program"]);
        let [Reply::Said(said), Reply::Ended(127)] = &told[..] else { panic!("{told:?}") };
        assert!(said.contains("no-such-program"), "{said}");
        assert!(served.is_err());
    }

    #[test]
    fn nobody_but_the_owner_is_served() {
        let (mut stranger, theirs) = UnixStream::pair().unwrap();
        let served = answer(theirs, Uid::from_raw(geteuid().as_raw() + 1));
        assert!(served.unwrap_err().to_string().contains("refused user"));
        assert_eq!(stranger.read(&mut [0]).unwrap(), 0);
    }
}
