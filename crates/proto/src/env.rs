//! Every environment variable the programs read, in one place. They are read once, where a
//! program starts, and handed down as values.

/// One variable and what it does.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it is for, a fragment.
    pub purpose: &'static str,
}

/// Directory of configuration files; default `~/.config`.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Directory of state; default `~/.local/state`.
pub const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
/// Directory of images and kernels; default `~/.local/share`.
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
/// Directory of what can be made again; default `~/.cache`.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Directory of sockets; default a private directory in `/tmp`.
pub const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
/// The user's home.
pub const HOME: &str = "HOME";
/// Search path for host programs.
pub const PATH: &str = "PATH";
/// The agent to boot with, instead of the one beside the executable.
pub const BANGER_AGENT_BIN: &str = "BANGER_AGENT_BIN";
/// Firecracker, instead of the one on the search path.
pub const BANGER_FIRECRACKER_BIN: &str = "BANGER_FIRECRACKER_BIN";
/// Log level of daemon and supervisors, before the configuration's.
pub const BANGER_LOG: &str = "BANGER_LOG";
/// Socket of a program that follows the steps of what is done to VMs; for tests.
pub const BANGER_STEPS: &str = "BANGER_STEPS";
/// Address of the releases that `banger update` looks at, instead of the one built in.
pub const BANGER_RELEASES: &str = "BANGER_RELEASES";
/// File of the public key that those are signed with, PEM, instead of the one built in.
pub const BANGER_RELEASE_KEY: &str = "BANGER_RELEASE_KEY";
/// Proxy for https addresses; also in lower case, which wins.
pub const HTTPS_PROXY: &str = "HTTPS_PROXY";
/// Proxy for http addresses; also in lower case, which wins.
pub const HTTP_PROXY: &str = "HTTP_PROXY";
/// Hosts that are reached without a proxy; also in lower case, which wins.
pub const NO_PROXY: &str = "NO_PROXY";
/// File of further certificate authorities, PEM.
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
/// Directories of further certificate authorities, PEM, separated by `:`.
pub const SSL_CERT_DIR: &str = "SSL_CERT_DIR";
/// File of registry logins, instead of those of Podman and Docker.
pub const REGISTRY_AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
/// Directory of Docker's configuration, which has registry logins; default `~/.docker`.
pub const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// No colour when set to anything.
pub const NO_COLOR: &str = "NO_COLOR";
/// Terminal type, handed to interactive guest commands.
pub const TERM: &str = "TERM";

/// Who called `sudo`, as the kernel numbers them.
pub const SUDO_UID: &str = "SUDO_UID";

/// The table of them all.
pub const TABLE: &[Variable] = &[
    Variable { name: XDG_CONFIG_HOME, purpose: "directory of configuration files" },
    Variable { name: XDG_STATE_HOME, purpose: "directory of the database and VM disks" },
    Variable { name: XDG_DATA_HOME, purpose: "directory of images and kernels" },
    Variable { name: XDG_CACHE_HOME, purpose: "directory of what can be made again" },
    Variable { name: XDG_RUNTIME_DIR, purpose: "directory of sockets" },
    Variable { name: HOME, purpose: "home directory the defaults above are under" },
    Variable { name: PATH, purpose: "search path for host programs" },
    Variable { name: BANGER_AGENT_BIN, purpose: "agent to boot VMs with" },
    Variable { name: BANGER_FIRECRACKER_BIN, purpose: "Firecracker program" },
    Variable { name: BANGER_LOG, purpose: "log level of the daemon" },
    Variable { name: BANGER_STEPS, purpose: "socket that is told of each step, for tests" },
    Variable { name: BANGER_RELEASES, purpose: "address of the releases to update from" },
    Variable { name: BANGER_RELEASE_KEY, purpose: "file of the key that those are signed with" },
    Variable { name: HTTPS_PROXY, purpose: "proxy for https addresses" },
    Variable { name: HTTP_PROXY, purpose: "proxy for http addresses" },
    Variable { name: NO_PROXY, purpose: "hosts reached without a proxy" },
    Variable { name: SSL_CERT_FILE, purpose: "file of further certificate authorities" },
    Variable { name: SSL_CERT_DIR, purpose: "directories of further certificate authorities" },
    Variable { name: REGISTRY_AUTH_FILE, purpose: "file of registry logins" },
    Variable { name: DOCKER_CONFIG, purpose: "directory of Docker's registry logins" },
    Variable { name: NO_COLOR, purpose: "no colour in output" },
    Variable { name: SUDO_UID, purpose: "user whose VMs a service of the system runs" },
    Variable { name: TERM, purpose: "terminal type for interactive guest commands" },
];
