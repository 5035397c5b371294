//! Installing and removing: what is to be done as a value, and doing it.

use std::path::{Path, PathBuf};

use banger_proto::paths::{SYSTEM_RUNTIME_DIR, system_runtime_dir};
use banger_proto::{BridgeName, Paths, build};

use crate::errors::CliError;
use crate::system::files::{Changes, Trust, remove, remove_if_empty};
use crate::system::host::{self, AsOwner, systemctl};
use crate::system::owner::Owner;
use crate::system::programs::Programs;
use crate::system::record::{RECORD, Record};
use crate::system::units::{
    self, BUILD_SOCKET, BUILDS, DAEMON_SERVICE, DAEMON_SOCKET, HELPER_SOCKET, HELPERS, UnitFile,
};

/// What is started, and runs from boot on.
const ENABLED: [&str; 4] = [HELPER_SOCKET, BUILD_SOCKET, DAEMON_SOCKET, DAEMON_SERVICE];

/// All VMs that run, since those that nobody could stop are ended; and what they are in, which the service
/// manager keeps. As patterns: it is no error that nothing fits one.
const SCOPES: [&str; 2] = ["banger-vm-*.scope", "banger.slic[e]"];

/// What an installation comes down to.
#[derive(Debug)]
pub(crate) struct Installation {
    /// Whom it is for.
    pub(crate) owner: Owner,
    programs: Programs,
    bridge: BridgeName,
    units: Vec<UnitFile>,
    before: Option<Record>,
}

impl Installation {
    /// Plans to install the programs that belong to `executable` for `owner`, where `before` is
    /// installed already. The bridge is called as it was, unless `bridge` says otherwise.
    ///
    /// # Errors
    /// When a program is missing, or banger is installed for somebody else or with another bridge.
    pub(crate) fn plan(
        owner: Owner,
        executable: &Path,
        bridge: Option<BridgeName>,
        before: Option<Record>,
    ) -> Result<Self, CliError> {
        if let Some(before) = before.as_ref().filter(|before| before.uid != owner.uid) {
            let message =
                format!("banger is a service of this system already, for `{}`", before.owner);
            return Err(CliError::failure(message)
                .hint(format!("`{}` can use banger without any service: `banger run`", owner.name))
                .hint("to give the service to somebody else: sudo banger system uninstall"));
        }
        let programs = Programs::of(executable, Trust::root())?;
        let bridge = choose_bridge(bridge, before.as_ref())?;
        let units = units::render(&owner, &programs.prefix, &bridge);
        let installation = Self { owner, programs, bridge, units, before };
        installation.check_copies()?;
        Ok(installation)
    }

    /// Programs that somebody else has put where copies would go stay.
    fn check_copies(&self) -> Result<(), CliError> {
        let ours = |path: &Path| {
            self.before.iter().any(|before| before.files.iter().any(|file| file == path))
        };
        let taken = self.programs.copies.iter().find(|copy| copy.to.exists() && !ours(&copy.to));
        let Some(copy) = taken else { return Ok(()) };
        let (from, to) = (copy.from.display(), copy.to.display());
        Err(CliError::failure(format!("`{to}` is there already, and `{from}` is another program"))
            .hint("to use the one that is there: sudo /usr/local/bin/banger system install")
            .hint(format!("to replace it, remove `{to}` first")))
    }

    /// What will be written, with why, a line each.
    pub(crate) fn rows(&self) -> Vec<(String, String)> {
        let copies = self.programs.copies.iter().map(|copy| {
            (copy.to.display().to_string(), format!("copy of `{}`", copy.from.display()))
        });
        let units = self
            .units
            .iter()
            .map(|unit| (unit.path.display().to_string(), unit.purpose.to_owned()));
        let record = (RECORD.to_owned(), "what was installed, for `system uninstall`".to_owned());
        copies.chain(units).chain([record]).collect()
    }

    /// The files whose text is worth reading.
    pub(crate) fn units(&self) -> &[UnitFile] {
        &self.units
    }

    /// Whether this replaces an installation for the same owner.
    pub(crate) fn is_again(&self) -> bool {
        self.before.is_some()
    }

    /// What the owner runs.
    fn banger(&self) -> PathBuf {
        self.programs.prefix.join("bin/banger")
    }

    /// Says why the owner's own VMs are in the way, if so.
    ///
    /// # Errors
    /// When some run without the service: it would not find them.
    pub(crate) fn check_own_vms(&self) -> Result<(), CliError> {
        if self.is_again() || host::count_supervisors(self.owner.uid)? == 0 {
            return Ok(());
        }
        let name = &self.owner.name;
        let message = format!("VMs of `{name}` are running, and the service could not reach them");
        Err(CliError::failure(message)
            .hint(format!("as `{name}`: `banger ps` shows them, `banger vm stop NAME` stops them")))
    }

    /// Does it. What was written is taken back if a step fails.
    ///
    /// # Errors
    /// When a step fails.
    pub(crate) async fn perform(&self) -> Result<(), CliError> {
        let mut changes = Changes::default();
        let done = match self.write(&mut changes) {
            Ok(()) => self.start().await,
            Err(error) => Err(error),
        };
        let Err(mut error) = done else { return Ok(()) };
        if !self.is_again() {
            // What is not there yet cannot be stopped, which is just as good.
            let _ = disable().await;
        }
        let left = changes.undo();
        for left in &left {
            error = error.hint(format!("could not be taken back: {left:?}"));
        }
        let _ = systemctl(&["daemon-reload"]).await;
        if self.is_again() {
            let _ = systemctl(&["try-restart", DAEMON_SERVICE]).await;
        } else {
            forget_failures().await;
            remove_runtime(self.owner.uid);
        }
        Err(if left.is_empty() { error.hint("everything is as it was before") } else { error })
    }

    fn write(&self, changes: &mut Changes) -> Result<(), CliError> {
        let trust = Trust::root();
        let mut directories =
            self.before.iter().flat_map(|before| before.directories.clone()).collect();
        let targets = self.programs.copies.iter().map(|copy| copy.to.clone());
        let files: Vec<PathBuf> =
            targets.chain(self.units.iter().map(|unit| unit.path.clone())).collect();
        for file in files.iter().map(PathBuf::as_path).chain([Path::new(RECORD)]) {
            let dir = file.parent().unwrap_or(Path::new("/"));
            changes.make_directories(dir, trust, &mut directories)?;
        }
        let record = Record {
            version: build::current().version.to_owned(),
            owner: self.owner.name.clone(),
            uid: self.owner.uid,
            prefix: self.programs.prefix.clone(),
            bridge: self.bridge.clone(),
            files,
            directories,
        };
        // First: whoever ends this half-way can be cleaned up after.
        changes.write(Path::new(RECORD), &record.render()?, 0o644)?;
        for copy in &self.programs.copies {
            let program = std::fs::read(&copy.from).map_err(|error| {
                CliError::failure(format!("cannot read `{}`", copy.from.display())).because(&error)
            })?;
            changes.write(&copy.to, &program, 0o755)?;
        }
        for unit in &self.units {
            changes.write(&unit.path, unit.text.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    async fn start(&self) -> Result<(), CliError> {
        let banger = self.banger();
        let owner = AsOwner { banger: &banger, owner: &self.owner };
        systemctl(&["daemon-reload"]).await?;
        if !self.is_again() {
            host::stop_own_daemon(owner).await?;
        }
        for unit in self.units.iter().filter(|unit| unit.path.starts_with("/etc/tmpfiles.d")) {
            host::create_temporary_files(&unit.path).await?;
        }
        let enable: Vec<&str> = ["enable", "--now"].into_iter().chain(ENABLED).collect();
        systemctl(&enable).await?;
        if self.is_again() {
            restart().await?;
        }
        let hint = format!("what it says: journalctl -u {DAEMON_SERVICE}");
        host::check_daemon(owner).await.map_err(|error| error.hint(hint))
    }
}

/// Starts the daemon and all helpers anew. VMs run on.
///
/// # Errors
/// When the service manager fails.
pub(crate) async fn restart() -> Result<(), CliError> {
    systemctl(&["stop", HELPERS]).await?;
    systemctl(&["restart", DAEMON_SERVICE]).await.map(drop)
}

/// What the bridge is called: of another name than that of a bridge that is there, it would be a second one.
///
/// # Errors
/// When it would be.
fn choose_bridge(
    wanted: Option<BridgeName>,
    before: Option<&Record>,
) -> Result<BridgeName, CliError> {
    match (wanted, before.map(|before| &before.bridge)) {
        (Some(wanted), Some(there)) if wanted != *there => {
            let message =
                format!("banger is a service of this system already, with bridge `{there}`");
            Err(CliError::failure(message)
                .hint("to have another: sudo banger system uninstall, then install again"))
        }
        (wanted, there) => Ok(there.cloned().or(wanted).unwrap_or_default()),
    }
}

async fn disable() -> Result<(), CliError> {
    let disable: Vec<&str> = ["disable", "--now"].into_iter().chain(ENABLED).collect();
    systemctl(&disable).await?;
    systemctl(&["stop", HELPERS, BUILDS]).await.map(drop)
}

/// Removes what `record` says, and nothing else. The VMs have been stopped.
///
/// # Errors
/// When something stays. It can be tried again.
pub(crate) async fn uninstall(record: &Record) -> Result<(), CliError> {
    // A unit that is gone already, because this was tried before, is disabled.
    if record.files.iter().any(|file| file.ends_with(DAEMON_SERVICE) && file.exists()) {
        disable().await?;
        systemctl(&["stop", SCOPES[0], SCOPES[1]]).await?;
    }
    for file in &record.files {
        remove(file)?;
    }
    remove_runtime(record.uid);
    remove(Path::new(RECORD))?;
    for dir in record.directories.iter().rev() {
        remove_if_empty(dir);
    }
    systemctl(&["daemon-reload"]).await?;
    forget_failures().await;
    Ok(())
}

/// The service manager remembers what failed once, although it is gone.
async fn forget_failures() {
    // A pattern, so that it is no error that nothing failed.
    let _ = systemctl(&["reset-failed", "banger*"]).await;
}

/// Removes what daemon and commands leave in the directory of sockets.
fn remove_runtime(uid: u32) {
    let dir = system_runtime_dir(uid);
    for name in ["bangerd.sock", "build.sock", "start.lock"] {
        let _ = remove(&dir.join(name));
    }
    for dir in [&dir.join("vms"), &dir, Path::new(SYSTEM_RUNTIME_DIR)] {
        remove_if_empty(dir);
    }
}

/// Directories that stay: what belongs to the user.
pub(crate) fn user_directories(owner: &Owner) -> Vec<PathBuf> {
    let home = owner.home.to_str().map(ToOwned::to_owned);
    let lookup = |name: &str| home.clone().filter(|_| name == banger_proto::env::HOME);
    // Who has no home has nothing in it.
    Paths::from_env(lookup, owner.uid, false).map_or_else(
        |_| Vec::new(),
        |paths| vec![paths.config_file, paths.state_dir, paths.data_dir, paths.cache_dir],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_keeps_its_name() {
        let name = |text: &str| text.parse::<BridgeName>().unwrap();
        let before = Record {
            version: "1.2.3".into(),
            owner: "jo".into(),
            uid: 1000,
            prefix: "/usr/local".into(),
            bridge: name("vms"),
            files: vec![],
            directories: vec![],
        };
        assert_eq!(choose_bridge(None, None).unwrap().as_str(), "br-fc");
        assert_eq!(choose_bridge(Some(name("x")), None).unwrap(), name("x"));
        assert_eq!(choose_bridge(None, Some(&before)).unwrap(), name("vms"));
        assert_eq!(choose_bridge(Some(name("vms")), Some(&before)).unwrap(), name("vms"));
        assert!(choose_bridge(Some(name("x")), Some(&before)).is_err());
    }
}
