//! How this host reaches the network: proxies, certificate authorities, patience. A value that is
//! made once, where the program starts, and handed down; nothing here or in the libraries below
//! looks into the environment later.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use banger_proto::{build, env};

/// How the network is reached.
#[derive(Clone)]
pub struct Network {
    /// Proxy for `http` addresses: `http://[user:password@]host[:port]`.
    pub http_proxy: Option<String>,
    /// Proxy for `https` addresses, asked to connect through (`CONNECT`).
    pub https_proxy: Option<String>,
    /// Hosts reached without a proxy: names with their subdomains, addresses, networks, or `*`,
    /// separated by commas. This host itself is never reached through a proxy.
    pub no_proxy: String,
    /// Files of certificate authorities trusted besides the system's, PEM.
    pub ca_files: Vec<PathBuf>,
    /// Directories of such files.
    pub ca_dirs: Vec<PathBuf>,
    /// What servers are told who asks.
    pub user_agent: String,
    /// Longest time to find a host's address, connect and agree on encryption.
    pub connect_timeout: Duration,
    /// Longest time in which a server may send nothing. A transfer as a whole has no limit.
    pub idle_timeout: Duration,
    /// What happens when connections break.
    pub retry: Retry,
}

/// How often and when something is tried again that broke for a reason that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Tries in a row without progress, the first one included.
    pub attempts: u32,
    /// Time before the second try; it doubles from then on.
    pub first_pause: Duration,
    /// Longest time a server may ask to wait (`Retry-After`), and longest pause.
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(300),
            longest_pause: Duration::from_secs(60),
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            http_proxy: None,
            https_proxy: None,
            no_proxy: String::new(),
            ca_files: Vec::new(),
            ca_dirs: Vec::new(),
            user_agent: format!("banger/{}", build::current().version),
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            retry: Retry::default(),
        }
    }
}

impl Network {
    /// What the environment says, which `lookup` reads; an empty variable counts as absent, and
    /// the lower-case form of a proxy variable wins, as it does for curl.
    #[must_use]
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let either = |name: &str| value(&name.to_lowercase()).or_else(|| value(name));
        Self {
            http_proxy: either(env::HTTP_PROXY),
            https_proxy: either(env::HTTPS_PROXY),
            no_proxy: either(env::NO_PROXY).unwrap_or_default(),
            ca_files: value(env::SSL_CERT_FILE).map(PathBuf::from).into_iter().collect(),
            ca_dirs: value(env::SSL_CERT_DIR)
                .map(|dirs| std::env::split_paths(&dirs).collect())
                .unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// Without the proxies' passwords.
impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = |proxy: &Option<String>| {
            proxy.as_deref().map(|proxy| proxy.rsplit('@').next().unwrap_or_default().to_owned())
        };
        f.debug_struct("Network")
            .field("http_proxy", &proxy(&self.http_proxy))
            .field("https_proxy", &proxy(&self.https_proxy))
            .field("no_proxy", &self.no_proxy)
            .field("ca_files", &self.ca_files)
            .field("ca_dirs", &self.ca_dirs)
            .field("user_agent", &self.user_agent)
            .field("connect_timeout", &self.connect_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("retry", &self.retry)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(variables: &[(&str, &str)]) -> Network {
        Network::from_env(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_is_read_once() {
        let network = network(&[
            ("HTTPS_PROXY", "http://upper"),
            ("https_proxy", "http://user:hunter2@lower:3128"),
            ("HTTP_PROXY", "http://plain"),
            ("http_proxy", ""),
            ("no_proxy", "a.b,10.0.0.0/8"),
            ("SSL_CERT_FILE", "/ca.pem"),
            ("SSL_CERT_DIR", "/one:/two"),
        ]);
        assert_eq!(network.https_proxy.as_deref(), Some("http://user:hunter2@lower:3128"));
        assert_eq!(network.http_proxy.as_deref(), Some("http://plain"));
        assert_eq!(network.no_proxy, "a.b,10.0.0.0/8");
        assert_eq!(network.ca_files, [PathBuf::from("/ca.pem")]);
        assert_eq!(network.ca_dirs, [PathBuf::from("/one"), PathBuf::from("/two")]);
        let text = format!("{network:?}");
        assert!(text.contains("lower:3128") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn an_empty_environment_is_a_direct_connection() {
        let network = network(&[]);
        assert_eq!((network.http_proxy, network.https_proxy), (None, None));
        assert!(network.ca_files.is_empty() && network.ca_dirs.is_empty());
    }
}
