//! Whose certificates are trusted: the authorities of the system and, in addition, those of the
//! settings (a company's own, most often).

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{CertificateResult, load_certs_from_paths};

use super::SetupError;
use crate::network::Network;

/// Where systems keep all authorities in one file; the first that exists is read.
const SYSTEM_FILES: &[&str] = &[
    // Debian, Ubuntu, Arch, Gentoo
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // openSUSE
    "/etc/ssl/ca-bundle.pem",
    // Alpine
    "/etc/ssl/cert.pem",
];

/// How TLS is spoken with servers.
pub(super) fn client_config(network: &Network) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = SYSTEM_FILES.iter().map(Path::new).find(|file| file.is_file()) {
        let found = load_certs_from_paths(Some(file), None);
        // One broken certificate among the system's hundreds does not keep the others away, and
        // a system without any is told apart when a connection fails.
        roots.add_parsable_certificates(found.certs);
    }
    for file in &network.ca_files {
        add(&mut roots, file, load_certs_from_paths(Some(file), None))?;
    }
    for dir in &network.ca_dirs {
        add(&mut roots, dir, load_certs_from_paths(None, Some(dir)))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// What a user names must be there: a silent failure would show up as an untrusted server.
fn add(roots: &mut RootCertStore, path: &Path, found: CertificateResult) -> Result<(), SetupError> {
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let path = path.to_owned();
        return Err(match found.errors.into_iter().next() {
            Some(source) => SetupError::CaFile { path, source: Box::new(source) },
            None => SetupError::NoCertificate { path },
        });
    }
    Ok(())
}
