//! Places on the host: the runtime directory, the store and the space on disk.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;
use rustix::fs::{Access, access, statvfs};

use super::super::inputs::Inputs;
use super::super::{Finding, Outcome};
use crate::store::examine;

/// With less free space than this no VM gets far.
const LITTLE: ByteSize = ByteSize::from_mib(1 << 10);
/// With less free space than this an image cannot be made beside some used VMs.
const ENOUGH: ByteSize = ByteSize::from_mib(10 << 10);

/// The runtime directory holds sockets that give command over VMs: it must be the user's alone.
pub(in crate::doctor) async fn runtime_directory(inputs: &Inputs) -> Outcome {
    let path = &inputs.paths.runtime_dir;
    let shown = path.display();
    let metadata = match fs_err::tokio::symlink_metadata(path).await {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(match writable_ancestor(path) {
                Ok(_) => Finding::pass(format!("`{shown}` is made when it is needed")),
                Err(above) => Finding::fail(
                    format!("`{shown}` cannot be made: `{}` may not be written", above.display()),
                    "Set `XDG_RUNTIME_DIR` to a directory of your own.",
                ),
            });
        }
        Err(error) => return Err(error.into()),
    };
    let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
    Ok(if !metadata.is_dir() {
        Finding::fail(
            format!("`{shown}` is not a directory"),
            format!("Look who made it, and remove it: `rm '{shown}'`."),
        )
    } else if owner != inputs.host.uid {
        Finding::fail(
            format!("`{shown}` belongs to another user ({owner})"),
            "Set `XDG_RUNTIME_DIR` to a directory of your own.",
        )
    } else if mode != 0o700 {
        Finding::warn(
            format!("`{shown}` is open to others (mode {mode:o})"),
            format!("Close it: `chmod 700 '{shown}'`; banger does so, too, when it starts."),
        )
    } else {
        Finding::pass(format!("`{shown}`"))
    })
}

pub(in crate::doctor) async fn store(inputs: &Inputs) -> Outcome {
    let directory = &inputs.paths.state_dir;
    if let Err(above) = writable_ancestor(directory) {
        return Ok(Finding::fail(
            format!("`{}` may not be written", above.display()),
            format!("Make `{}` yours.", directory.display()),
        ));
    }
    let path = inputs.paths.database();
    let shown = path.display();
    let metadata = match fs_err::tokio::metadata(&path).await {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Finding::pass(format!("`{shown}` is made when it is needed")));
        }
        Err(error) => return Err(error.into()),
    };
    let looked_at = path.clone();
    let examined = tokio::task::spawn_blocking(move || examine(&looked_at)).await?;
    Ok(match examined {
        Err(error) => match error.hints() {
            hints if hints.is_empty() => return Err(error.into()),
            hints => Finding::fail(error.to_string(), hints.join("; ")),
        },
        Ok(_) if metadata.mode() & 0o077 != 0 => Finding::warn(
            format!("`{shown}` is open to others (mode {:o})", metadata.mode() & 0o777),
            format!("Close it: `chmod 600 '{shown}'`."),
        ),
        Ok(version) => Finding::pass(format!("`{shown}`, version {version}")),
    })
}

/// Space where VM disks and images grow.
pub(in crate::doctor) async fn disk_space(inputs: &Inputs) -> Outcome {
    let mut worst = None;
    let mut texts = Vec::new();
    for directory in [&inputs.paths.state_dir, &inputs.paths.data_dir] {
        let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let statistics = statvfs(there).map_err(|errno| {
            format!("cannot ask about the space of `{}`: {errno}", there.display())
        })?;
        let free = ByteSize::from_bytes(statistics.f_bavail.saturating_mul(statistics.f_frsize));
        texts.push(format!("{} free for `{}`", free.human(), directory.display()));
        worst = worst.min(Some(free)).or(Some(free));
    }
    Ok(grade_space(worst.unwrap_or_default(), texts.join(", ")))
}

fn grade_space(free: ByteSize, found: String) -> Finding {
    let remedy = "Make room, or set `XDG_STATE_HOME` and `XDG_DATA_HOME` to a larger disk.";
    match free {
        free if free < LITTLE => Finding::fail(found, remedy),
        free if free < ENOUGH => Finding::warn(found, remedy),
        _ => Finding::pass(found),
    }
}

/// The directory, or the nearest one above it that exists, if it may be written; else that one.
fn writable_ancestor(path: &Path) -> Result<PathBuf, PathBuf> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned();
    let writable = there.is_dir() && access(&there, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if writable { Ok(there) } else { Err(there) }
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus::{Fail, Pass, Warn};

    use super::super::super::inputs::tests::Host;
    use super::*;

    #[tokio::test]
    async fn the_runtime_directory_is_the_users_alone() {
        let mut host = Host::new();
        assert_eq!(runtime_directory(&host.inputs).await.unwrap().status, Pass);
        fs_err::create_dir_all(&host.inputs.paths.runtime_dir).unwrap();
        for (mode, expected) in [(0o700, Pass), (0o750, Warn)] {
            host.set_mode("run/banger", mode);
            assert_eq!(runtime_directory(&host.inputs).await.unwrap().status, expected);
        }
        host.inputs.host.uid += 1;
        assert_eq!(runtime_directory(&host.inputs).await.unwrap().status, Fail);
        host.inputs.host.uid -= 1;
        host.set_mode("run/banger", 0o700);
        fs_err::rename(host.path("run/banger"), host.path("elsewhere")).unwrap();
        std::os::unix::fs::symlink(host.path("elsewhere"), host.path("run/banger")).unwrap();
        assert_eq!(runtime_directory(&host.inputs).await.unwrap().status, Fail);
        host.remove("run/banger");
        fs_err::remove_dir(host.path("run")).unwrap();
        host.write("run", "a file");
        assert!(runtime_directory(&host.inputs).await.is_err());
    }

    #[tokio::test]
    async fn the_store_is_a_private_database() {
        let host = Host::new();
        assert_eq!(store(&host.inputs).await.unwrap().status, Pass);
        for (content, expected) in [(&b""[..], Pass), (b"something that is no database", Fail)] {
            host.write("state/banger.db", content);
            host.set_mode("state/banger.db", 0o600);
            assert_eq!(store(&host.inputs).await.unwrap().status, expected, "{content:?}");
        }
        host.remove("state/banger.db");
        drop(crate::store::Store::open(&host.inputs.paths.database()).unwrap());
        for (mode, expected) in [(0o600, Pass), (0o644, Warn)] {
            host.set_mode("state/banger.db", mode);
            assert_eq!(store(&host.inputs).await.unwrap().status, expected, "{mode:o}");
        }
    }

    #[test]
    fn space_runs_out_in_steps() {
        for (gib, expected) in [(0, Fail), (1, Warn), (9, Warn), (10, Pass)] {
            let free = ByteSize::from_mib(gib << 10);
            assert_eq!(grade_space(free, String::new()).status, expected, "{gib}");
        }
    }

    #[tokio::test]
    async fn space_is_found_for_directories_to_come() {
        let host = Host::new();
        let finding = disk_space(&host.inputs).await.unwrap();
        assert!(finding.found.contains("free for"), "{finding:?}");
    }
}
