//! The client side of TLS: whom to trust, and what to show.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::{ClientConfig, RootCertStore};

use super::Failure;
use crate::config::ClientTls;

/// Reads what a connection needs, anew each time: certificates are renewed while we run. Blocks. The provider is named
/// here and not taken from the process, where anyone may set it.
pub fn config(settings: &ClientTls) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::lasting(error.to_string()))?
        .with_root_certificates(roots(settings.ca.as_deref())?);
    let Some((certificate, key)) = &settings.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    let wrong = |error| Failure::lasting(format!("{} and {}: {error}", certificate.display(), key.display()));
    builder.with_client_auth_cert(chain, private).map_err(wrong)
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(Failure::lasting(format!(
                "this system has no certificate authorities{why}; name yours by `tls: {{ca: FILE}}`"
            )));
        }
        return Ok(roots);
    };
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| Failure::lasting(format!("{}: {error}", path.display())))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(path, &error))?;
    if certificates.is_empty() {
        return Err(Failure::lasting(format!("{} holds no certificate in PEM", path.display())));
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: &pem::Error) -> Failure {
    Failure::lasting(format!("{} cannot be read: {error}", path.display()))
}
