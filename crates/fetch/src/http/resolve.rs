//! Names to addresses, without the C library: linked statically, it would load the host's name
//! service modules at run time, which may be of another version than what it was built with.
//!
//! `localhost` is this host by definition (RFC 6761, section 6.3) and never asked for. The files of
//! the system are read for every lookup, because a daemon outlives changes of the network;
//! connections are kept, so that there are few lookups.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is no such host.
    #[error("no such host")]
    NoSuchHost,
    /// The name servers gave no answer.
    #[error("the name servers of `/etc/resolv.conf` gave no answer: {0}")]
    NoAnswer(String),
}

/// Looks into `/etc/hosts`, then asks the servers of `/etc/resolv.conf`.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostFiles;

impl Resolve for HostFiles {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = lookup(name.as_str()).await?;
            let addresses: Addrs =
                Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

async fn lookup(name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    if name.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let resolver = resolver().map_err(|error| ResolveError::NoAnswer(error.to_string()))?;
    match resolver.lookup_ip(name).await {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if error.is_no_records_found() => Err(ResolveError::NoSuchHost),
        Err(error) => Err(ResolveError::NoAnswer(error.to_string())),
    }
}

fn resolver() -> Result<TokioResolver, NetError> {
    let mut builder = match TokioResolver::builder_tokio() {
        Ok(builder) => builder,
        // Where there is no such file, the hosts of `/etc/hosts` can still be found.
        Err(error) if is_missing_file(&error) => TokioResolver::builder_with_config(
            ResolverConfig::from_parts(None, Vec::new(), Vec::new()),
            TokioRuntimeProvider::default(),
        ),
        Err(error) => return Err(error),
    };
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    builder.build()
}

fn is_missing_file(error: &NetError) -> bool {
    matches!(error, NetError::Io(error) if error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_this_host() {
        for name in ["localhost", "LocalHost"] {
            let addresses = lookup(name).await.unwrap();
            assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback));
        }
    }
}
