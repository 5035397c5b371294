//! The environment of host programs, and finding them in it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use banger_proto::env;

/// Search path where the environment has none, as `execvp` has one.
const FALLBACK_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the web is reached through a proxy; in both cases, as programs differ in which they read.
const PROXIES: [&str; 8] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// The environment host programs get, read once when a program starts.
///
/// Nothing else of the daemon's environment reaches them: a daemon that happened to be started
/// from inside a git hook or a build must not carry `GIT_DIR` or `LD_PRELOAD` into every VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEnv {
    variables: BTreeMap<OsString, OsString>,
    builder: Option<Builder>,
}

/// Another service that has the user namespaces which this process may not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// The banger executable, which asks it.
    pub executable: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
}

impl HostEnv {
    /// Takes the search path, the home, the place of configuration files and the proxies from
    /// environment variables (`lookup`).
    #[must_use]
    pub fn from_env(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let taken = [env::PATH, env::HOME, env::XDG_CONFIG_HOME].into_iter().chain(PROXIES);
        let mut variables: BTreeMap<OsString, OsString> =
            taken.filter_map(|name| Some((name.into(), lookup(name)?))).collect();
        variables.entry(env::PATH.into()).or_insert_with(|| FALLBACK_PATH.into());
        // Messages end up in errors and logs, and some are searched: they stay English.
        variables.insert("LC_ALL".into(), "C".into());
        Self { variables, builder: None }
    }

    /// The same environment, in which user namespaces are had from `builder`.
    #[must_use]
    pub fn building_through(mut self, builder: Option<Builder>) -> Self {
        self.builder = builder;
        self
    }

    /// Who has user namespaces, where this process has none.
    pub(crate) fn builder(&self) -> Option<&Builder> {
        self.builder.as_ref()
    }

    /// The same environment with one more variable.
    #[must_use]
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// The variables.
    pub(super) fn variables(&self) -> &BTreeMap<OsString, OsString> {
        &self.variables
    }

    /// The user's home, when known.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.variables.get(OsStr::new(env::HOME)).map(Path::new)
    }

    /// Where the user's configuration files are, when known.
    #[must_use]
    pub fn config_home(&self) -> Option<PathBuf> {
        let set = self.variables.get(OsStr::new(env::XDG_CONFIG_HOME));
        set.map(PathBuf::from).or_else(|| Some(self.home()?.join(".config")))
    }

    /// Finds an executable file: `program` itself if it has a slash, else the first of that name
    /// on the search path. Relative parts of the search path are skipped, because what they mean
    /// would depend on where the daemon was started.
    #[must_use]
    pub fn find(&self, program: impl AsRef<Path>) -> Option<PathBuf> {
        let program = program.as_ref();
        let executable = |path: &Path| {
            path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
        };
        if program.as_os_str().as_encoded_bytes().contains(&b'/') {
            return executable(program).then(|| program.to_owned());
        }
        let path = self.variables.get(OsStr::new(env::PATH))?;
        std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(program))
            .find(|candidate| executable(candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_on_the_given_path_only() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("plain"), "").unwrap();
        let path = format!("relative:{}:/usr/bin:/bin", directory.path().display());
        let env = HostEnv::from_env(|name| (name == "PATH").then(|| path.clone().into()));
        assert!(env.find("sh").is_some_and(|found| found.is_absolute()));
        assert_eq!(env.find("plain"), None);
        assert_eq!(env.find("/bin/sh"), Some("/bin/sh".into()));
        assert_eq!(env.home(), None);
    }

    #[test]
    fn proxies_come_through_and_the_rest_does_not() {
        let env = HostEnv::from_env(|name| Some(format!("of {name}").into()));
        for name in ["http_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"] {
            assert_eq!(env.variables()[OsStr::new(name)], *format!("of {name}"));
        }
        let without = HostEnv::from_env(|_| None);
        let names: Vec<_> = without.variables().keys().collect();
        assert_eq!(names, ["LC_ALL", "PATH"]);
        assert!(!env.variables().contains_key(OsStr::new("LD_PRELOAD")));
    }
}
