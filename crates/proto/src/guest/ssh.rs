//! What a guest needs to let its owner in by SSH.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Keys of one guest. The host makes them, so that it knows the guest before its first boot.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKeys {
    /// The guest's own private key in the format of OpenSSH, `-----BEGIN OPENSSH PRIVATE KEY-----`
    /// and so on.
    pub host_key: String,
    /// Public keys that let in as root, each one line as in `authorized_keys` without options.
    #[serde(default)]
    pub authorized_keys: Vec<String>,
}

/// Does not show the private key: a configuration may end up in a log.
impl fmt::Debug for SshKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshKeys")
            .field("authorized_keys", &self.authorized_keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_key_is_not_shown() {
        let keys = SshKeys { host_key: "secret".into(), authorized_keys: vec!["public".into()] };
        let shown = format!("{keys:?}");
        assert!(shown.contains("public") && !shown.contains("secret"), "{shown}");
    }
}
