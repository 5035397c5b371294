//! The jail around a VMM: what a guest finds that has broken it.
//!
//! ```text
//!  supervisor ──starts──▶ helper ── enters or makes a user namespace, makes the others, ends
//!      │ parent of both      ├─▶ init    process 1 of the namespace, has nothing and does nothing
//!      └─────────────────────┴─▶ VMM     root directory, limits, no privilege, Landlock; then the program
//! ```
//!
//! The VMM is a child of the supervisor's like any other, so how it ends, what it uses and what signals do
//! to it is the kernel's to tell. It is not process 1 itself, to which the signals that a program ends
//! itself by do nothing. Whichever of supervisor, init and VMM is killed, nothing stays: the kernel kills
//! the first's children, and with the second all in its namespace; the supervisor ends the second when the
//! third has ended. Mounts are gone with who sees them.
//!
//! | module | what it answers for |
//! |---|---|
//! | [`plan`] | what is mounted where, from the description (pure) |
//! | [`root`] | a root directory with that in it |
//! | [`landlock`] | the same by the kernel's Landlock |
//! | [`limits`] | what of the machine may be used |
//! | [`report`] | telling the supervisor, and ending with it |
//! | [`trial`] | what this host lets be, by doing it |

mod landlock;
mod limits;
mod plan;
mod report;
mod root;
mod trial;

use std::error::Error;
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};

use banger_proto::jail::{JailReport, JailSpec, Wall};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{DumpableBehavior, getpid, set_dumpable_behavior, setsid};
use rustix::system::sethostname;

use crate::namespace::{self, Entrance, NamespaceError, create_user};
use crate::privileges;
use crate::sys::{close_from, fork_sibling, leave_session_keyring};
use plan::Plan;
pub use plan::PlanError;
use report::Report;
pub use root::RootError;
pub use trial::try_out;

/// What the host is called inside.
const HOST: &[u8] = b"vmm";

/// Why there is no jail, and no VMM.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The description.
    #[error("cannot read the description of the jail `{}`", .0.display())]
    Description(PathBuf, #[source] io::Error),
    /// What is described cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The namespaces that there are.
    #[error("cannot get to where the network is")]
    Namespace(#[from] NamespaceError),
    /// The root directory.
    #[error(transparent)]
    Root(#[from] RootError),
    /// Anything else on the way.
    #[error("cannot {0}")]
    Settle(&'static str, #[source] io::Error),
}

/// Which of the processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What is to become the VMM: it is in the jail.
    Vmm,
    /// The one that was started. The others are there and need it no more.
    Starter,
}

/// A part of the jail that the host does not let be.
#[derive(Debug)]
struct Without {
    wall: Wall,
    reason: String,
}

/// Reads the description in `file` and makes the jail, in the namespaces that `entrance` leads to.
///
/// Where the host does not let parts of it be, it is without these, and says so to whoever started this
/// process.
///
/// # Errors
///
/// What is asked for makes no sense, or is half there.
pub fn enter(file: &Path, entrance: Option<&Entrance>) -> Result<Side, JailError> {
    let description = |error| JailError::Description(file.to_owned(), error);
    let text = std::fs::read(file).map_err(description)?;
    let spec = serde_json::from_slice(&text).map_err(|error| description(error.into()))?;
    let report = Report::take().map_err(settle("tell who started this process"))?;
    raise(&spec, entrance, &report)
}

fn raise(spec: &JailSpec, entrance: Option<&Entrance>, report: &Report) -> Result<Side, JailError> {
    let plan = plan::plan(spec)?;
    let mut missing = Vec::new();
    if !separate(spec, entrance, &mut missing)? {
        let vmm = getpid().as_raw_nonzero().get().unsigned_abs();
        let told = report.say(&JailReport::Started { vmm, init: None });
        told.map_err(settle("tell who started this process"))?;
        close_in(&plan, false, missing, report)?;
        return Ok(Side::Vmm);
    }
    // The others begin once it is known who they are; if it never is, they end.
    let (go, mut tell) = io::pipe().map_err(settle("make a pipe"))?;
    let Some(init) = fork_sibling().map_err(settle("make a process"))? else {
        drop(tell);
        sleep_as_init(report, go);
    };
    let Some(vmm) = fork_sibling().map_err(settle("make a process"))? else {
        drop(tell);
        wait(report, go).map_err(settle("stay bound to the process that started this one"))?;
        setsid().map_err(|errno| JailError::Settle("leave the session", errno.into()))?;
        close_in(&plan, true, missing, report)?;
        return Ok(Side::Vmm);
    };
    report
        .say(&JailReport::Started { vmm, init: Some(init) })
        .and_then(|()| tell.write_all(&[0; 2]))
        .map_err(settle("tell who started this process"))?;
    Ok(Side::Starter)
}

/// Gets into namespaces; tells whether the process's children will be in one of processes of their own.
fn separate(
    spec: &JailSpec,
    entrance: Option<&Entrance>,
    missing: &mut Vec<Without>,
) -> Result<bool, JailError> {
    let mut without = |wall, reason| missing.push(Without { wall, reason });
    match entrance {
        Some(entrance) => namespace::enter(entrance)?,
        None => {
            if let Err(error) = create_user() {
                without(Wall::Namespaces, told(&error));
                return Ok(false);
            }
        }
    }
    let own = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if let Err(errno) = unshare(own) {
        without(Wall::Namespaces, format!("cannot make namespaces: {}", io::Error::from(errno)));
        return Ok(false);
    }
    if spec.offline
        && let Err(errno) = unshare(CloneFlags::CLONE_NEWNET)
    {
        let error = io::Error::from(errno);
        without(Wall::Network, format!("cannot make a network namespace: {error}"));
    }
    // Whoever is in there need not know what this host is called; no wall stands on it.
    let _ = sethostname(HOST);
    Ok(true)
}

/// All that is left to do in the process that becomes the VMM.
fn close_in(
    plan: &Plan,
    separate: bool,
    mut missing: Vec<Without>,
    report: &Report,
) -> Result<(), JailError> {
    let mut rooted = false;
    if separate {
        match root::gather(plan) {
            Ok(parts) => {
                parts.enter()?;
                rooted = true;
                // The one that it began in is not there any more.
                std::env::set_current_dir(&plan.directory)
                    .map_err(settle("change to its directory"))?;
            }
            Err(error @ RootError::Refused { .. }) => {
                missing.push(Without { wall: Wall::Root, reason: told(&error) });
            }
            Err(error) => return Err(error.into()),
        }
    }
    limits::set().map_err(|errno| JailError::Settle("set limits", errno.into()))?;
    // A kernel without keys has none to let go of.
    let _ = leave_session_keyring();
    let given_up = match privileges::give_up_all() {
        // Outside of a user namespace of one's own, one has none that could be lost for others.
        Err(_) if !separate => privileges::give_up_own(),
        given_up => given_up,
    };
    given_up.map_err(|errno| JailError::Settle("give up capabilities", errno.into()))?;
    missing.extend(landlock::restrict(plan, rooted));
    // The kernel may have forgotten it where privileges changed.
    report.bind().map_err(settle("stay bound to the process that started this one"))?;
    for Without { wall, reason } in missing {
        report
            .say(&JailReport::Without { wall, reason })
            .map_err(settle("tell who started this process"))?;
    }
    Ok(())
}

/// The life of the first process in a namespace of processes.
fn sleep_as_init(report: &Report, go: PipeReader) -> ! {
    let settled = wait(report, go)
        .and_then(|()| Ok(privileges::give_up_all()?))
        // The VMM, which is the same user's, would otherwise have a process without Landlock.
        .and_then(|()| Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?))
        .and_then(|()| Ok(setsid().map(drop)?))
        .and_then(|()| report.bind())
        // The console and the link of the VMM end with the VMM. Nothing here is used or dropped again.
        .and_then(|()| close_from(0));
    match settled {
        Ok(()) => loop {
            nix::unistd::pause();
        },
        Err(_) => std::process::exit(1),
    }
}

/// Waits for the word that this process is known, bound to whoever knows it.
fn wait(report: &Report, mut go: PipeReader) -> io::Result<()> {
    report.bind()?;
    go.read_exact(&mut [0])
}

fn settle(what: &'static str) -> impl FnOnce(io::Error) -> JailError {
    move |error| JailError::Settle(what, error)
}

fn told(error: &dyn Error) -> String {
    let all = std::iter::once(error.to_string()).chain(crate::causes(error));
    all.collect::<Vec<_>>().join(": ")
}
