//! The daemon's socket: who may have made it, and connecting to it.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use banger_proto::Paths;
use banger_proto::paths::PathsError;
use tokio::net::UnixStream;

use super::Client;
use crate::environment::Environment;
use crate::errors::CliError;

/// Whether a daemon runs.
#[derive(Debug)]
pub(crate) enum Presence {
    /// It answers at its socket.
    Running(Client),
    /// It does not.
    Absent,
}

/// Looks for a running daemon and changes nothing.
///
/// # Errors
/// When the runtime directory or the socket is not this user's own.
pub(crate) async fn find(environment: &Environment) -> Result<Presence, CliError> {
    let paths = paths(environment)?;
    match check_runtime_dir(&paths.runtime_dir, environment.uid) {
        Err(DirError::Missing) => return Ok(Presence::Absent),
        Err(error) => return Err(error.into_cli(&paths.runtime_dir)),
        Ok(()) => {}
    }
    probe(paths.daemon_socket(), environment.uid).await
}

/// Looks for a daemon at `socket`.
pub(super) async fn probe(socket: PathBuf, uid: u32) -> Result<Presence, CliError> {
    match UnixStream::connect(&socket).await {
        Ok(stream) => {
            check_peer(&stream, &socket, uid)?;
            Ok(Presence::Running(Client { socket, uid }))
        }
        Err(error) if is_absent(&error) => Ok(Presence::Absent),
        Err(error) => Err(cannot_connect(&socket, &error)),
    }
}

/// Opens a connection.
pub(super) async fn connect(socket: &Path, uid: u32) -> Result<UnixStream, CliError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| match is_absent(&error) {
        true => CliError::lost("the daemon went away").because(&error),
        false => cannot_connect(socket, &error),
    })?;
    check_peer(&stream, socket, uid)?;
    Ok(stream)
}

/// The user's directories, or why there are none.
pub(crate) fn paths(environment: &Environment) -> Result<&Paths, CliError> {
    environment.paths.as_ref().map_err(|error| {
        CliError::failure(error.to_string()).hint(match error {
            PathsError::NoHome => "export HOME=/home/YOU".to_owned(),
            PathsError::Relative { variable, .. } => {
                format!("unset {variable}, or give it a path that begins with `/`")
            }
        })
    })
}

/// A socket nobody listens at is a daemon's that was killed.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn cannot_connect(socket: &Path, error: &io::Error) -> CliError {
    CliError::failure(format!("cannot connect to the daemon at `{}`", socket.display()))
        .because(error)
        .hint("`banger daemon status` says whether it runs")
}

/// Commands, environments and files go through this socket: the peer must be ourselves, or root, as
/// whom the service manager listens for a daemon that is yet to start.
fn check_peer(stream: &UnixStream, socket: &Path, uid: u32) -> Result<(), CliError> {
    let peer = stream.peer_cred().map_err(|error| cannot_connect(socket, &error))?.uid();
    if peer == uid || peer == 0 {
        return Ok(());
    }
    Err(CliError::failure(format!(
        "refused to speak to `{}`: its owner is user {peer}, not {uid}",
        socket.display()
    ))
    .hint("run banger as the user whose VMs they are; after `su`, log in anew"))
}

/// What is wrong with a runtime directory.
#[derive(Debug)]
pub(super) enum DirError {
    Missing,
    NotADirectory,
    Owner(u32),
    Mode(u32),
    Io(io::Error),
}

impl DirError {
    pub(super) fn into_cli(self, dir: &Path) -> CliError {
        let refused = |why: String| {
            CliError::failure(format!(
                "refused to use runtime directory `{}`: {why}",
                dir.display()
            ))
            .hint(format!("remove `{}` and try again", dir.display()))
        };
        match self {
            Self::Missing => refused("it does not exist".to_owned()),
            Self::NotADirectory => refused("it is not a directory".to_owned()),
            Self::Owner(uid) => refused(format!("it belongs to user {uid}")),
            Self::Mode(mode) => refused(format!("others may enter it (mode {mode:o})")),
            Self::Io(error) => {
                CliError::failure(format!("cannot use runtime directory `{}`", dir.display()))
                    .because(&error)
                    .hint("its place is below `XDG_RUNTIME_DIR`: log in anew, or unset that")
            }
        }
    }
}

/// Checks that nobody else can have put anything into `dir`.
pub(super) fn check_runtime_dir(dir: &Path, uid: u32) -> Result<(), DirError> {
    let metadata = match std::fs::symlink_metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DirError::Missing),
        Err(error) => return Err(DirError::Io(error)),
    };
    if !metadata.is_dir() {
        return Err(DirError::NotADirectory);
    }
    if metadata.uid() != uid {
        return Err(DirError::Owner(metadata.uid()));
    }
    match metadata.permissions().mode() & 0o777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(DirError::Mode(mode)),
    }
}

/// Makes the runtime directory, or tightens one of ours that others may enter.
///
/// A directory in `/tmp` is never tightened: while it was open, anybody could have put a socket
/// into it.
pub(super) fn ensure_runtime_dir(dir: &Path, uid: u32) -> Result<(), CliError> {
    let shared_parent = dir.parent() == Some(Path::new("/tmp"));
    let result = match check_runtime_dir(dir, uid) {
        Err(DirError::Missing) => std::fs::DirBuilder::new()
            .recursive(!shared_parent)
            .mode(0o700)
            .create(dir)
            .or_else(|error| match error.kind() {
                // Another command made it in between; whose it is, is checked below.
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            })
            .map_err(DirError::Io)
            .and_then(|()| check_runtime_dir(dir, uid)),
        Err(DirError::Mode(_)) if !shared_parent => {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
                .map_err(DirError::Io)
        }
        checked => checked,
    };
    result.map_err(|error| error.into_cli(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_says_the_way_out() {
        let dir = Path::new("/run/user/1000/banger");
        let denied = io::ErrorKind::PermissionDenied.into();
        let told = format!("{:?}", cannot_connect(&dir.join("bangerd.sock"), &denied));
        assert!(told.contains("cannot connect to the daemon at `/run/user/"), "{told}");
        assert!(told.contains("`banger daemon status` says"), "{told}");
        for error in [
            DirError::Missing,
            DirError::NotADirectory,
            DirError::Owner(0),
            DirError::Mode(0o777),
            DirError::Io(io::ErrorKind::PermissionDenied.into()),
        ] {
            let error = format!("{:?}", error.into_cli(dir));
            assert!(!error.contains("hints: []"), "{error}");
        }
    }

    fn uid() -> u32 {
        rustix::process::getuid().as_raw()
    }

    #[test]
    fn makes_and_tightens_its_directory() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("run/banger");
        ensure_runtime_dir(&dir, uid()).unwrap();
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(check_runtime_dir(&dir, uid()), Err(DirError::Mode(0o755))));
        ensure_runtime_dir(&dir, uid()).unwrap();
        assert!(check_runtime_dir(&dir, uid()).is_ok());
    }

    #[test]
    fn refuses_what_others_could_have_made() {
        let base = tempfile::tempdir().unwrap();
        let link = base.path().join("link");
        std::os::unix::fs::symlink(base.path(), &link).unwrap();
        assert!(matches!(check_runtime_dir(&link, uid()), Err(DirError::NotADirectory)));
        assert!(matches!(check_runtime_dir(base.path(), uid() + 1), Err(DirError::Owner(_))));
        assert!(matches!(
            check_runtime_dir(&base.path().join("none"), uid()),
            Err(DirError::Missing)
        ));
    }
}
