//! The host's resolvers: what `/etc/resolv.conf` says, as it says it now.
//!
//! The daemon is in the host's network, so an address there means what it means to other programs,
//! that of systemd-resolved's stub (127.0.0.53) included.

use std::fs::Metadata;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use resolv_conf::ScopedIp;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

/// Where resolvers listen.
const PORT: u16 = 53;
/// Who is asked when the file names nobody, or is not there (resolv.conf(5)).
const NOBODY_NAMED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
/// Most of the file that is read: far more than the C library looks at.
const LONGEST: u64 = 64 << 10;

/// Where questions are forwarded to.
#[derive(Debug)]
pub struct Resolvers(Source);

#[derive(Debug)]
enum Source {
    File { path: PathBuf, seen: Mutex<Seen> },
    These(Vec<SocketAddr>),
}

#[derive(Debug, Default)]
struct Seen {
    /// Which file, of which time and length; none before the first look.
    stamp: Option<(u64, i64, i64, u64)>,
    named: Vec<SocketAddr>,
}

impl Resolvers {
    /// Those that the file at `path` names, which may change at any time.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        Self(Source::File { path: path.to_owned(), seen: Mutex::default() })
    }

    /// Those of this host.
    #[must_use]
    pub fn of_host() -> Self {
        Self::of_file("/etc/resolv.conf".as_ref())
    }

    /// These and no others.
    #[must_use]
    pub fn these(resolvers: Vec<SocketAddr>) -> Self {
        Self(Source::These(resolvers))
    }

    /// Who is to be asked now, in this order; never nobody.
    pub(super) fn observe(&self) -> Vec<SocketAddr> {
        let named = match &self.0 {
            Source::These(resolvers) => resolvers.clone(),
            Source::File { path, seen } => {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.look(path);
                seen.named.clone()
            }
        };
        if named.is_empty() { vec![NOBODY_NAMED] } else { named }
    }
}

impl Seen {
    /// Reads the file if it is another one than at the last look. One that cannot be read, like one
    /// that is just being replaced, changes nothing.
    fn look(&mut self, path: &Path) {
        let Ok(stamp) = fs_err::metadata(path).map(|file| stamp(&file)) else { return };
        if self.stamp == Some(stamp) {
            return;
        }
        let mut text = Vec::new();
        let read =
            fs_err::File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
        match read {
            Ok(_) => {
                self.named = parse_resolvers(&text);
                self.stamp = Some(stamp);
                tracing::debug!(resolvers = ?self.named, "read the host's resolvers");
            }
            Err(error) => tracing::warn!(%error, "cannot read the host's resolvers"),
        }
    }
}

fn stamp(file: &Metadata) -> (u64, i64, i64, u64) {
    (file.ino(), file.mtime(), file.mtime_nsec(), file.len())
}

/// The addresses in the text of a `resolv.conf`; lines that are wrong are left out, as the C library
/// does.
fn parse_resolvers(text: &[u8]) -> Vec<SocketAddr> {
    let (config, _) = resolv_conf::Config::parse_with_errors(text);
    config.nameservers.iter().filter_map(find_address).collect()
}

/// The address; none when it is on an interface that is not there.
fn find_address(named: &ScopedIp) -> Option<SocketAddr> {
    Some(match named {
        ScopedIp::V4(address) => (*address, PORT).into(),
        ScopedIp::V6(address, None) => (*address, PORT).into(),
        ScopedIp::V6(address, Some(scope)) => {
            let index = scope.parse().ok().or_else(|| {
                let any = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
                name_to_index(any, scope).ok()
            })?;
            SocketAddrV6::new(*address, PORT, 0, index).into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_file_says_now() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let resolvers = Resolvers::of_file(&path);
        assert_eq!(resolvers.observe(), [NOBODY_NAMED]);
        let text = "# mine\nsearch example.org\nnameserver 127.0.0.53\noptions edns0\nnonsense\n\
                    nameserver fe80::1%lo\nnameserver fe80::1%absent\nnameserver 2001:db8::1\n";
        fs_err::write(&path, text).unwrap();
        let named: Vec<_> = resolvers.observe().iter().map(ToString::to_string).collect();
        assert_eq!(named, ["127.0.0.53:53", "[fe80::1%1]:53", "[2001:db8::1]:53"]);
        // Replaced as such files are: another one takes its name.
        let next = dir.path().join("next");
        fs_err::write(&next, "nameserver 192.0.2.1\n").unwrap();
        fs_err::rename(&next, &path).unwrap();
        assert_eq!(resolvers.observe(), ["192.0.2.1:53".parse().unwrap()]);
        fs_err::remove_file(&path).unwrap();
        assert_eq!(resolvers.observe(), ["192.0.2.1:53".parse().unwrap()], "what was there last");
    }
}
