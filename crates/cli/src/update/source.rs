//! Where releases come from, and where they go.

use std::path::Path;

use banger_proto::installation::Installation;
use banger_proto::{build, env};
use banger_release::{Key, Server, Version};

use crate::environment::Environment;
use crate::errors::CliError;

/// All that an update begins with.
#[derive(Debug)]
pub(crate) struct Source {
    /// The server.
    pub(crate) server: Server,
    /// What is updated.
    pub(crate) installation: Installation,
    /// The release in use: this program's.
    pub(crate) installed: Version,
}

impl Source {
    /// What this program was built to be updated from, and where it is.
    ///
    /// # Errors
    /// When it was not installed as a release, or knows no releases.
    pub(crate) fn find(environment: &Environment) -> Result<Self, CliError> {
        let executable = environment.exe.as_ref().map_err(|error| {
            CliError::failure("cannot tell where this program is, to update it").because(error)
        })?;
        let installation = Installation::of(executable).ok_or_else(|| not_ours(executable))?;
        let build = build::current();
        let installed = build.version.parse().map_err(|error| {
            CliError::failure("cannot tell which release this is").because(&error)
        })?;
        let Some(base) = environment.releases.as_deref().or(build.releases) else {
            return Err(CliError::failure("this banger does not know where its releases are")
                .hint(format!("set {} to their address", env::BANGER_RELEASES)));
        };
        let server = Server::new(base, read_key(environment)?, |name| std::env::var(name).ok())
            .map_err(|error| CliError::failure("cannot use the network").because(&error))?;
        Ok(Self { server, installation, installed })
    }
}

fn not_ours(executable: &Path) -> CliError {
    CliError::failure(format!("`{}` was not installed by banger's installer", executable.display()))
        .hint("update it with what installed it: the package manager, or `make install` in its checkout")
}

/// The key that releases are signed with.
fn read_key(environment: &Environment) -> Result<Key, CliError> {
    let Some(file) = &environment.release_key else {
        let Some(pem) = build::current().release_key else {
            return Err(CliError::failure(
                "this banger knows no key, so that it can trust no release",
            )
            .hint(format!("set {} to the file of a public key", env::BANGER_RELEASE_KEY)));
        };
        return Key::parse(pem)
            .map_err(|error| CliError::failure("the key built in is none").because(&error));
    };
    let failed = |error: &dyn std::error::Error| {
        CliError::failure(format!("cannot use the key `{}`", file.display())).because(error)
    };
    let pem = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
    Key::parse(&pem).map_err(|error| failed(&error))
}
