//! What is mounted where, from the description. Pure.
//!
//! Everything is at the path that it has on the host, so nobody who names a file to the VMM has to know of
//! the jail.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use banger_proto::jail::JailSpec;

/// What is done with something in the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// It is read.
    Read,
    /// It is read and executed.
    Execute,
    /// It is a device.
    Device,
    /// It is read and written.
    Write,
}

/// A file or a directory of the host that is in the jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Where, here and there.
    pub(super) path: PathBuf,
    /// What for.
    pub(super) usage: Use,
}

/// What is in the jail besides the processes' own view of themselves, directories before what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// The places.
    pub(super) places: Vec<Place>,
    /// Where the VMM begins.
    pub(super) directory: PathBuf,
}

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A path is not the way to something in the root directory.
    #[error("`{}` in the description is no absolute path, or not the shortest", .0.display())]
    Path(PathBuf),
}

/// The plan for what is described. Of what is described twice, the wider use holds.
///
/// # Errors
///
/// A path has to be looked up before one knows where it leads.
pub(super) fn plan(spec: &JailSpec) -> Result<Plan, PlanError> {
    let mut places = BTreeMap::new();
    for (paths, usage) in [
        (&spec.read, Use::Read),
        (&spec.execute, Use::Execute),
        (&spec.devices, Use::Device),
        (&spec.write, Use::Write),
    ] {
        for path in paths {
            if !is_plain(path) {
                return Err(PlanError::Path(path.clone()));
            }
            places.insert(path.clone(), usage);
        }
    }
    let places = places.into_iter().map(|(path, usage)| Place { path, usage }).collect();
    let directory = spec.directory.clone().unwrap_or_else(|| "/".into());
    Ok(Plan { places, directory })
}

/// Whether the path begins at the root, leads somewhere below it, and never back.
fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(list: &[&str]) -> Vec<PathBuf> {
        list.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn directories_come_before_what_is_in_them() {
        let spec = JailSpec {
            directory: None,
            execute: paths(&["/usr/lib", "/usr/bin/qemu", "/lib64"]),
            read: paths(&["/home/u/vms/7/vmlinux", "/usr/lib/qemu.d/rom", "/run/7/qemu.conf"]),
            write: paths(&["/home/u/vms/7/disk.ext4", "/run/7/vmm", "/usr/lib/qemu.d/rom"]),
            devices: paths(&["/dev/null", "/dev/kvm"]),
            offline: true,
        };
        let Plan { places, .. } = plan(&spec).unwrap();
        let lines: Vec<String> = places
            .iter()
            .map(|Place { path, usage }| format!("{usage:?} {}", path.display()))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        Device /dev/kvm
        Device /dev/null
        Write /home/u/vms/7/disk.ext4
        Read /home/u/vms/7/vmlinux
        Execute /lib64
        Read /run/7/qemu.conf
        Write /run/7/vmm
        Execute /usr/bin/qemu
        Execute /usr/lib
        Write /usr/lib/qemu.d/rom
        ");
    }

    #[test]
    fn the_root_is_no_place_and_nothing_leads_back() {
        for path in ["/", "", "etc", "/a/../b", "../a", "."] {
            let spec = JailSpec { read: paths(&[path]), ..JailSpec::default() };
            assert_eq!(plan(&spec), Err(PlanError::Path(path.into())));
        }
    }
}
