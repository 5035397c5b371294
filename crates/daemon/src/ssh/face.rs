//! What the command line does with the client's files, without a daemon.

use std::path::PathBuf;

use banger_proto::installation::lasting_name;
use banger_proto::{Code, Problem};

use super::{client, include as line};
use crate::config::{load_config, observe_host, resolve};
use crate::lifecycle::Options;

/// The line in the user's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Included {
    /// That configuration, `~/.ssh/config`.
    pub user_config: PathBuf,
    /// Whether the line is in it.
    pub installed: bool,
    /// Whether the file was changed now.
    pub changed: bool,
}

/// Makes sure that the user's key, the file of known hosts and the client's configuration are
/// there, and returns the path of the last.
///
/// # Errors
/// When they cannot be made. A client must not be started without them: it would trust what it
/// should not.
pub fn prepare_client(options: &Options) -> Result<PathBuf, Problem> {
    let failed = |error: &dyn std::error::Error| Problem::from_error(Code::OperationFailed, error);
    let (file, _) = load_config(&options.paths.config_file).map_err(|error| failed(&error))?;
    let ssh = options.ssh(&resolve(file, observe_host()));
    Ok(client::ensure_client(&ssh, &options.paths, &lasting_name(&options.executable))?)
}

/// Includes the client's configuration in the user's own if that is `wanted`, takes it out if
/// not, and only looks when nothing is.
///
/// # Errors
/// When there is no home, or the user's own configuration cannot be read or changed.
pub fn include(options: &Options, wanted: Option<bool>) -> Result<Included, Problem> {
    let home = options.env.home().ok_or_else(|| {
        Problem::new(Code::OperationFailed, "cannot tell where `~/.ssh` is: `HOME` is not set")
    })?;
    let (user_config, config) = (line::path(home), options.paths.ssh_config());
    let mut installed = false;
    let changed = line::change_file(&user_config, |text| {
        let after = match wanted {
            Some(true) => line::install(text, &config),
            Some(false) => line::uninstall(text),
            None => text.to_vec(),
        };
        installed = line::includes(&after, &config);
        after
    });
    let changed = changed.map_err(|error| {
        let message = format!("cannot change `{}`", user_config.display());
        Problem::new(Code::OperationFailed, message).because(&error)
    })?;
    Ok(Included { user_config, installed, changed })
}
