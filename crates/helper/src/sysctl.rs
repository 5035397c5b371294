//! What the kernel is told by `/proc/sys`: a closed list, each with its file, its value and the reason.
//!
//! These files are those of the network namespace of whoever opens them.

use std::io;
use std::path::PathBuf;

/// One setting. Names of interfaces in it come from [`crate::place`] and ids, never from a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sysctl<'a> {
    /// Packets go from any interface to another.
    Forward,
    /// Those that come in by this interface go to others.
    ForwardFrom(&'a str),
    /// Frames on a bridge are not shown to the rules for packets: those would judge them twice.
    BridgeToRules(&'static str),
    /// No IPv6 on this interface; on `all` and `default`, on none.
    NoIpv6(&'a str),
    /// The bridge answers for guests on its other ports, who cannot hear each other.
    ProxyArp(&'a str),
    /// It answers at once, not within the 0.8 s in which others might.
    NoProxyDelay(&'a str),
    /// Guests are not told that another is on the same wire: it is not.
    NoRedirects(&'a str),
}

/// A setting that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set `{}`", path.display())]
pub struct SysctlError {
    path: PathBuf,
    source: io::Error,
}

impl Sysctl<'_> {
    fn path(self) -> PathBuf {
        let net = PathBuf::from("/proc/sys/net");
        match self {
            Self::Forward => net.join("ipv4/ip_forward"),
            Self::ForwardFrom(name) => net.join(format!("ipv4/conf/{name}/forwarding")),
            Self::BridgeToRules(family) => {
                net.join(format!("bridge/bridge-nf-call-{family}tables"))
            }
            Self::NoIpv6(name) => net.join(format!("ipv6/conf/{name}/disable_ipv6")),
            Self::ProxyArp(name) => net.join(format!("ipv4/conf/{name}/proxy_arp_pvlan")),
            Self::NoProxyDelay(name) => net.join(format!("ipv4/neigh/{name}/proxy_delay")),
            Self::NoRedirects(name) => net.join(format!("ipv4/conf/{name}/send_redirects")),
        }
    }

    fn value(self) -> &'static str {
        match self {
            Self::Forward | Self::ForwardFrom(_) | Self::NoIpv6(_) | Self::ProxyArp(_) => "1",
            Self::BridgeToRules(_) | Self::NoProxyDelay(_) | Self::NoRedirects(_) => "0",
        }
    }

    /// Whether a kernel that does not have the file does what is wanted: one without IPv6, or without
    /// the module that shows frames to rules.
    fn may_be_absent(self) -> bool {
        matches!(self, Self::BridgeToRules(_) | Self::NoIpv6(_))
    }

    /// Sets it, unless it is so already.
    ///
    /// # Errors
    ///
    /// The file is missing or cannot be written.
    pub fn ensure(self) -> Result<(), SysctlError> {
        let path = self.path();
        let done = match fs_err::read_to_string(&path) {
            Ok(now) if now.trim() == self.value() => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.may_be_absent() => Ok(()),
            // The error carries the path already, which this one names.
            _ => std::fs::write(&path, self.value()),
        };
        done.map_err(|source| SysctlError { path, source })
    }
}
