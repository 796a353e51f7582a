//! TLS of both sides: whom to trust and what to show, from files in PEM.
//!
//! The provider is named here and not taken from the process, where anyone may set it.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::ClientTls;

/// Why TLS cannot be set up. An operator has to act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// Reads what a connection needs, anew each time: certificates are renewed while we run. Blocks.
pub fn client(settings: &ClientTls) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error(error.to_string()))?
        .with_root_certificates(roots(settings.ca.as_deref())?);
    let Some((certificate, key)) = &settings.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    let wrong = |error| Error(format!("{} and {}: {error}", certificate.display(), key.display()));
    builder.with_client_auth_cert(chain, private).map_err(wrong)
}

/// Reads what a listener needs. With `client_ca`, clients must show a certificate that one of these signed.
pub fn acceptor(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<TlsAcceptor, Error> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error(error.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted(path)?), provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| Error(format!("{}: {error}", path.display())))?)
        }
    };
    let paths = format!("{} and {}", certificate.display(), key.display());
    let config = builder.with_single_cert(chain, private).map_err(|error| Error(format!("{paths}: {error}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, Error> {
    if let Some(path) = ca {
        return trusted(path);
    }
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(Error(format!(
            "this system has no certificate authorities{why}; name yours by `tls: {{ca: FILE}}`"
        )));
    }
    Ok(roots)
}

fn trusted(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| Error(format!("{}: {error}", path.display())))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(path, &error))?;
    if certificates.is_empty() {
        return Err(Error(format!("{} holds no certificate in PEM", path.display())));
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: &pem::Error) -> Error {
    Error(format!("{} cannot be read: {error}", path.display()))
}
