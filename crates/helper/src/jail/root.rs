//! A root directory of its own: an empty file system with the places of a plan in it, in place of the
//! host's.
//!
//! Whatever a host may refuse is asked of it first. Until all of that is at hand, nothing is changed, and
//! the process can go on without.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt;
use nix::libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use rustix::fs::{CWD, FileType, Mode, fstat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root, umask};

use super::plan::{Place, Plan, Use};
use crate::sys::{Reach, restrict_mount};

/// Where processes see themselves.
const PROC: &str = "/proc";

/// Why there is no root directory of its own.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The host does not let it be. Nothing was changed.
    #[error("cannot {what}")]
    Refused {
        /// What it does not let be done.
        what: String,
        /// Its word.
        #[source]
        source: io::Error,
    },
    /// Half of it is there, with which nothing can be begun.
    #[error("cannot {what}")]
    Broken {
        /// What could not be done.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Everything that there will be in the root directory, not in any directory yet.
#[derive(Debug)]
pub(super) struct Parts {
    root: OwnedFd,
    proc: OwnedFd,
    /// In the order of the plan.
    places: Vec<(Place, Mount)>,
}

/// A part of the host's file system.
#[derive(Debug)]
struct Mount {
    tree: OwnedFd,
    is_directory: bool,
}

/// Gathers the parts. The process must be in a mount namespace and be the first or a later process of a
/// process namespace of its own.
///
/// # Errors
///
/// [`RootError::Refused`].
pub(super) fn gather(plan: &Plan) -> Result<Parts, RootError> {
    let refused = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| RootError::Refused { what, source }
    };
    // What the host mounts or unmounts from now on is none of the jail's business.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| refused("keep the host's mounts apart")(errno.into()))?;
    let proc = make("proc", &[("subset", "pid")], MountAttrFlags::MOUNT_ATTR_RDONLY)
        .map_err(|errno| refused("mount `/proc`")(errno.into()))?;
    let root = make("tmpfs", &[("mode", "0755"), ("size", "1m")], MountAttrFlags::empty())
        .map_err(|errno| refused("mount an empty file system")(errno.into()))?;
    let mut places = Vec::new();
    for place in &plan.places {
        let what = format!("take `{}` along", place.path.display());
        if let Some(mount) = clone(place).map_err(refused(&what))? {
            places.push((place.clone(), mount));
        }
    }
    Ok(Parts { root, proc, places })
}

/// A new file system of this kind.
fn make(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    let all = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, all | attributes)
}

/// The place as a mount of its own, with what it is used for as its limits; none when it is not there, or
/// not for this user: who opens it will say so.
fn clone(place: &Place) -> io::Result<Option<Mount>> {
    let how = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = match open_tree(CWD, &place.path, how) {
        Ok(tree) => tree,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let limits = match place.usage {
        Use::Read => MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
        Use::Execute => MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV,
        // Of a device, this is who owns it and when it was used; what is written goes to its driver.
        Use::Device => MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC,
        Use::Write => MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
    };
    restrict_mount(&tree, limits | MOUNT_ATTR_NOSUID, Reach::Tree)?;
    let is_directory = FileType::from_raw_mode(fstat(&tree)?.st_mode).is_dir();
    Ok(Some(Mount { tree, is_directory }))
}

impl Parts {
    /// Puts them together and makes that the root directory of all processes in this mount namespace.
    ///
    /// # Errors
    ///
    /// [`RootError::Broken`].
    pub(super) fn enter(self) -> Result<(), RootError> {
        let broken = |what: String| move |source| RootError::Broken { what, source };
        // Who is without privilege has to find a way through what is made here.
        let before = umask(Mode::WGRP | Mode::WOTH);
        self.exchange().map_err(broken("leave the host's root directory".to_owned()))?;
        for (Place { path, .. }, mount) in &self.places {
            attach(&mount.tree, path, mount.is_directory)
                .map_err(broken(format!("mount `{}`", path.display())))?;
        }
        attach(&self.proc, Path::new(PROC), true).map_err(broken("mount `/proc`".to_owned()))?;
        umask(before);
        restrict_mount(&self.root, MOUNT_ATTR_RDONLY, Reach::Mount)
            .map_err(broken("keep the root directory from being written".to_owned()))
    }

    fn exchange(&self) -> io::Result<()> {
        // It has to be mounted somewhere to become the root directory, and this place is everywhere.
        put(&self.root, PROC)?;
        fchdir(&self.root)?;
        // The old one lands on top of the new one, in which this process is, and is taken off.
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        std::env::set_current_dir("/")
    }
}

fn put(tree: &OwnedFd, path: impl rustix::path::Arg) -> io::Result<()> {
    Ok(move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Mounts it, in directories that are made. In a place that has been mounted already, there is what it is
/// mounted on.
fn attach(tree: &OwnedFd, path: &Path, is_directory: bool) -> io::Result<()> {
    if fs_err::symlink_metadata(path).is_err() {
        let parent = if is_directory { Some(path) } else { path.parent() };
        if let Some(parent) = parent {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        if !is_directory {
            let mut empty = fs_err::OpenOptions::new();
            empty.write(true).create_new(true).mode(0o444).open(path)?;
        }
    }
    put(tree, path)
}
